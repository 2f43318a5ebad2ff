//! The load: a queue of requests kept full, and what it cost.
//!
//! One turn of the loop takes in all replies there are, submits as many requests as the queue
//! depth then has room for, ends the turn and sleeps. Every strategy sees the same turns.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::content;
use crate::cpu_time::CpuTime;
use crate::failure::Failure;
use crate::link::Link;
use crate::nbd::negotiate::ExportFacts;
use crate::nbd::proto::{CMD_DISC, CMD_FLUSH, CMD_READ, CMD_WRITE, Request};
use crate::replies::{Completion, Outstanding, ReplyStream};
use crate::wire::{Counters, Outgoing};

/// A server that answers nothing for this long is taken for dead.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Replies to writes are 16 bytes; reads are for `--verify` only.
const READ_BUFFER: usize = 64 * 1024;

/// What to send, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Payload bytes of each write.
    pub block_size: u32,
    /// Requests kept outstanding.
    pub queue_depth: u32,
    /// No request is begun later than this.
    pub time: Duration,
    /// No more requests than this.
    pub max_requests: u64,
    /// Read everything back and compare.
    pub verify: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Writes answered.
    pub requests: u64,
    /// From before the first request to behind the last reply.
    pub elapsed: Duration,
    /// Records, sends and wire bytes of the writes alone.
    pub counters: Counters,
    /// CPU time this process took meanwhile.
    pub cpu: CpuTime,
    /// What was written has been read back, and was the same.
    pub verified: bool,
}

/// Runs `load` over `link`, and closes it.
///
/// # Errors
///
/// When the export does not suit the load, the connection fails, the server answers wrongly or
/// with an error, or data read back differs from what was written.
pub fn run(mut link: Link, facts: &ExportFacts, load: &Load) -> Result<Measured, Failure> {
    let measured = slice(&mut link, facts, load)?;
    finish(link)?;
    Ok(measured)
}

/// As [`run`], and leaves the connection open for more.
///
/// # Errors
///
/// As [`run`].
pub fn slice(link: &mut Link, facts: &ExportFacts, load: &Load) -> Result<Measured, Failure> {
    write(link, facts, load, None)
}

/// As [`run`], with what to write read from `file`, which holds at least one block; at its end it begins again.
///
/// # Errors
///
/// As [`run`], and when the file cannot be read.
pub fn copy(mut link: Link, facts: &ExportFacts, load: &Load, file: &File) -> Result<Measured, Failure> {
    let measured = write(&mut link, facts, load, Some(file))?;
    finish(link)?;
    Ok(measured)
}

/// Tells the server to disconnect, and closes.
///
/// # Errors
///
/// When that could not be sent.
pub fn finish(mut link: Link) -> Result<(), Failure> {
    let disconnect = request(CMD_DISC, 0, 0, 0);
    let sent = link.submit(Outgoing::request(disconnect, Bytes::new()), true).and_then(|()| link.end_turn());
    sent.map_err(|e| link.failure("NBD disconnect", e))?;
    link.close()
}

fn write(link: &mut Link, facts: &ExportFacts, load: &Load, file: Option<&File>) -> Result<Measured, Failure> {
    check_export(facts, load).map_err(|why| link.failure("use export", why))?;
    let seed = RandomState::new().hash_one(0);
    let mut engine = Engine {
        link,
        outstanding: Outstanding::new(load.queue_depth),
        replies: ReplyStream::default(),
        buffer: vec![0; READ_BUFFER],
        answered: 0,
    };

    let length = file.map_or(Ok(u64::MAX), |file| file.metadata().map(|data| data.len()));
    let length = length.map_err(|e| Failure::new("read file", "what to write", e))?;
    let blocks = facts.size.min(length) / u64::from(load.block_size);
    let mut writes = Writes {
        load,
        blocks,
        file,
        spare: Spare::default(),
        seed,
        begun: 0,
        payload: Bytes::new(),
        deadline: Instant::now(),
    };
    if !load.verify && file.is_none() {
        writes.payload = writes.content(0);
    }
    let counters = engine.link.counters();
    let cpu = CpuTime::now();
    let start = Instant::now();
    writes.deadline = start + load.time;
    engine.run("NBD write", &mut writes)?;
    let measured = Measured {
        requests: engine.answered,
        elapsed: start.elapsed(),
        cpu: CpuTime::now().since(cpu),
        counters: engine.link.counters().since(counters),
        verified: load.verify,
    };

    if load.verify {
        let written = measured.requests.min(blocks);
        if facts.can_flush {
            engine.run("NBD flush", &mut Flush { begun: false })?;
        }
        let mut reads = Reads { load, seed, written, begun: 0, expected: vec![0; load.block_size as usize] };
        engine.run("verify", &mut reads)?;
    }
    Ok(measured)
}

fn check_export(facts: &ExportFacts, load: &Load) -> Result<(), String> {
    let block_size = load.block_size;
    if facts.read_only {
        return Err("it is read-only, and this program writes".to_owned());
    }
    if facts.size < u64::from(block_size) {
        return Err(format!("export too small: it holds {} bytes, one block is {block_size}", facts.size));
    }
    if !block_size.is_multiple_of(facts.minimum_block) {
        return Err(format!("the server wants multiples of {} bytes, one block is {block_size}", facts.minimum_block));
    }
    if block_size > facts.maximum_payload {
        return Err(format!(
            "the server takes at most {} bytes at a time, one block is {block_size}",
            facts.maximum_payload
        ));
    }
    Ok(())
}

fn request(command: u16, cookie: u64, offset: u64, length: u32) -> [u8; 28] {
    Request { command, flags: 0, cookie, offset, length }.encode()
}

/// A request to make.
struct Next {
    command: u16,
    offset: u64,
    length: u32,
    payload: Bytes,
}

/// Where requests come from.
trait Source {
    /// How many requests there are now, up to `room`; zero when there will be no more.
    fn available(&mut self, room: usize) -> usize;
    /// The next request; called only when one is available.
    fn next(&mut self) -> io::Result<Next>;
    /// Looks at the data of an answered read.
    fn check(&mut self, _offset: u64, _data: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

struct Engine<'a> {
    link: &'a mut Link,
    outstanding: Outstanding,
    replies: ReplyStream,
    buffer: Vec<u8>,
    answered: u64,
}

impl Engine<'_> {
    /// Makes every request of `source` and waits for every reply.
    fn run(&mut self, what: &str, source: &mut dyn Source) -> Result<(), Failure> {
        self.answered = 0;
        let mut stalled_at = Instant::now() + STALL_LIMIT;
        loop {
            let answered_before = self.answered;
            self.take_replies(what, source)?;
            let count = source.available(self.outstanding.room());
            if count == 0 && self.outstanding.is_empty() {
                return Ok(());
            }
            if self.answered > answered_before {
                stalled_at = Instant::now() + STALL_LIMIT;
            }
            if let Err(error) = self.submit(source, count) {
                return Err(self.lost(what, &error));
            }
            match self.link.wait(stalled_at) {
                Ok(true) => {}
                Ok(false) => {
                    let why = format!("no reply for {} s", STALL_LIMIT.as_secs());
                    return Err(self.link.failure(what, why));
                }
                Err(error) => return Err(self.lost(what, &error)),
            }
        }
    }

    fn submit(&mut self, source: &mut dyn Source, count: usize) -> io::Result<()> {
        for i in 0..count {
            let Next { command, offset, length, payload } = source.next()?;
            let read_length = if command == CMD_READ { length } else { 0 };
            let cookie = self.outstanding.add(offset, read_length);
            let header = request(command, cookie, offset, length);
            let last = i + 1 == count;
            self.link.submit(Outgoing::request(header, payload), last)?;
        }
        self.link.end_turn()
    }

    fn take_replies(&mut self, what: &str, source: &mut dyn Source) -> Result<(), Failure> {
        loop {
            let n = match self.link.read(&mut self.buffer) {
                Ok(0) => return Err(self.lost(what, &io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(self.lost(what, &e)),
            };
            let answered = &mut self.answered;
            let result = self.replies.feed(&self.buffer[..n], &mut self.outstanding, &mut |done: Completion<'_>| {
                *answered += 1;
                source.check(done.offset, done.data)
            });
            result.map_err(|why| self.link.failure(what, why))?;
        }
    }

    /// The connection is gone: what happened to it, and what was under way.
    fn lost(&self, what: &str, error: &io::Error) -> Failure {
        let how = if error.kind() == io::ErrorKind::UnexpectedEof {
            "the server closed the connection".to_owned()
        } else {
            error.to_string()
        };
        let why =
            format!("{how}; {} requests were unanswered, {} had been answered", self.outstanding.len(), self.answered);
        self.link.failure(what, why)
    }
}

/// Sequential writes that begin again at the end of the export.
struct Writes<'a> {
    load: &'a Load,
    blocks: u64,
    file: Option<&'a File>,
    spare: Spare,
    seed: u64,
    begun: u64,
    payload: Bytes,
    deadline: Instant,
}

impl Writes<'_> {
    fn content(&self, offset: u64) -> Bytes {
        let mut block = vec![0; self.load.block_size as usize];
        content::fill(self.seed, offset, &mut block);
        block.into()
    }
}

impl Source for Writes<'_> {
    fn available(&mut self, room: usize) -> usize {
        // At least one, however short the time: a cell without a request has no figures.
        if room == 0 || (self.begun > 0 && Instant::now() >= self.deadline) {
            return 0;
        }
        let left = self.load.max_requests - self.begun;
        room.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn next(&mut self) -> io::Result<Next> {
        let length = self.load.block_size;
        let offset = (self.begun % self.blocks) * u64::from(length);
        self.begun += 1;
        let payload = match self.file {
            Some(file) => {
                let mut block = self.spare.take(length as usize);
                file.read_exact_at(&mut block, offset)?;
                self.spare.give(block.freeze())
            }
            None if self.load.verify => self.content(offset),
            None => self.payload.clone(),
        };
        Ok(Next { command: CMD_WRITE, offset, length, payload })
    }
}

/// Payload buffers, which are used again once nobody else has a share in them.
#[derive(Default)]
struct Spare(VecDeque<Bytes>);

impl Spare {
    fn take(&mut self, length: usize) -> BytesMut {
        if self.0.front().is_some_and(Bytes::is_unique)
            && let Some(Ok(buffer)) = self.0.pop_front().map(Bytes::try_into_mut)
        {
            return buffer;
        }
        BytesMut::zeroed(length)
    }

    fn give(&mut self, buffer: Bytes) -> Bytes {
        self.0.push_back(buffer.clone());
        buffer
    }
}

struct Flush {
    begun: bool,
}

impl Source for Flush {
    fn available(&mut self, _room: usize) -> usize {
        usize::from(!self.begun)
    }

    fn next(&mut self) -> io::Result<Next> {
        self.begun = true;
        Ok(Next { command: CMD_FLUSH, offset: 0, length: 0, payload: Bytes::new() })
    }
}

/// Reads every block that was written and compares.
struct Reads<'a> {
    load: &'a Load,
    seed: u64,
    written: u64,
    begun: u64,
    expected: Vec<u8>,
}

impl Source for Reads<'_> {
    fn available(&mut self, room: usize) -> usize {
        let left = self.written - self.begun;
        room.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn next(&mut self) -> io::Result<Next> {
        let length = self.load.block_size;
        let offset = self.begun * u64::from(length);
        self.begun += 1;
        Ok(Next { command: CMD_READ, offset, length, payload: Bytes::new() })
    }

    fn check(&mut self, offset: u64, data: &[u8]) -> Result<(), String> {
        content::fill(self.seed, offset, &mut self.expected);
        match content::first_difference(&self.expected, data) {
            None => Ok(()),
            Some(at) => Err(format!(
                "data read back differs at offset {}: wrote {:#04x}, read {:#04x} \
                 (block at {offset}, {} bytes)",
                offset + at as u64,
                self.expected[at],
                data[at],
                self.load.block_size
            )),
        }
    }
}
