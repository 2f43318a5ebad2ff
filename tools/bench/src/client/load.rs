//! The load: a queue of requests kept full, and what it cost.
//!
//! One turn of the loop takes in all replies there are, submits as many requests as the queue
//! depth then has room for, ends the turn and sleeps. Every strategy sees the same turns.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tls_cork_nbd::client::ExportFacts;
use tls_cork_nbd::{CMD_DISC, CMD_FLUSH, CMD_READ, CMD_WRITE, Request};
use tls_cork_nbd::{Completion, Outstanding, ReplyStream};
use tls_cork_programs::Failure;
use tls_cork_testing::content;

use crate::client::link::Link;
use crate::client::wire::Outgoing;
use crate::shared::cpu_time::CpuTime;
use crate::shared::socket::Counters;

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
pub fn run(mut link: Link, facts: &ExportFacts, load: &Load) -> Result<Measured, Failure> {
    let measured = slice(&mut link, facts, load)?;
    finish(link)?;
    Ok(measured)
}

/// Tells the server to disconnect, and closes.
pub fn finish(mut link: Link) -> Result<(), Failure> {
    let disconnect = request(CMD_DISC, 0, 0, 0);
    let sent = link.submit(Outgoing::request(disconnect, Bytes::new()), true).and_then(|()| link.end_turn());
    sent.map_err(|e| link.failure("NBD disconnect", e))?;
    link.close()
}

/// As [`run`], and leaves the connection open for more.
pub fn slice(link: &mut Link, facts: &ExportFacts, load: &Load) -> Result<Measured, Failure> {
    check_export(facts, load).map_err(|why| link.failure("use export", why))?;
    let seed = RandomState::new().hash_one(0);
    let mut engine = Engine {
        link,
        outstanding: Outstanding::new(load.queue_depth),
        replies: ReplyStream::default(),
        buffer: vec![0; READ_BUFFER],
        answered: 0,
    };

    let blocks = facts.size / u64::from(load.block_size);
    let requests =
        |command, most| Requests { load, command, blocks, most, begun: 0, deadline: None, seed, payload: Bytes::new() };
    let mut writes = requests(CMD_WRITE, load.max_requests);
    writes.payload = writes.content(0).into();
    let counters = engine.link.counters();
    let cpu = CpuTime::now();
    let start = Instant::now();
    writes.deadline = Some(start + load.time);
    engine.run("NBD write", &mut writes)?;
    let measured = Measured {
        requests: engine.answered,
        elapsed: start.elapsed(),
        cpu: CpuTime::now().since(cpu),
        counters: engine.link.counters().since(counters),
        verified: load.verify,
    };

    if load.verify {
        if facts.can_flush {
            engine.run("NBD flush", &mut requests(CMD_FLUSH, 1))?;
        }
        engine.run("verify", &mut requests(CMD_READ, measured.requests.min(blocks)))?;
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

struct Engine<'a> {
    link: &'a mut Link,
    outstanding: Outstanding,
    replies: ReplyStream,
    buffer: Vec<u8>,
    answered: u64,
}

impl Engine<'_> {
    /// Makes every request of `source` and waits for every reply.
    fn run(&mut self, what: &str, source: &mut Requests<'_>) -> Result<(), Failure> {
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

    fn submit(&mut self, source: &mut Requests<'_>, count: usize) -> io::Result<()> {
        for i in 0..count {
            let (offset, length, payload) = source.next();
            let read_length = if source.command == CMD_READ { length } else { 0 };
            let cookie = self.outstanding.add(offset, read_length);
            let header = request(source.command, cookie, offset, length);
            let last = i + 1 == count;
            self.link.submit(Outgoing::request(header, payload), last)?;
        }
        self.link.end_turn()
    }

    fn take_replies(&mut self, what: &str, source: &Requests<'_>) -> Result<(), Failure> {
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

/// Requests of one kind for one block after another, from the export's start again after `blocks`.
struct Requests<'a> {
    load: &'a Load,
    command: u16,
    blocks: u64,
    /// How many at most, and how many there were.
    most: u64,
    begun: u64,
    deadline: Option<Instant>,
    seed: u64,
    /// What every write carries, unless what is written is to be verified.
    payload: Bytes,
}

impl Requests<'_> {
    /// How many requests there are now, up to `room`; zero when there will be no more.
    fn available(&self, room: usize) -> usize {
        // At least one, however short the time: a cell without a request has no figures.
        if self.begun > 0 && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return 0;
        }
        room.min(usize::try_from(self.most - self.begun).unwrap_or(usize::MAX))
    }

    /// Offset, length and payload of the next; called only when one is available.
    fn next(&mut self) -> (u64, u32, Bytes) {
        let length = if self.command == CMD_FLUSH { 0 } else { self.load.block_size };
        let offset = (self.begun % self.blocks) * u64::from(length);
        self.begun += 1;
        let payload = match self.command {
            CMD_WRITE if self.load.verify => self.content(offset).into(),
            CMD_WRITE => self.payload.clone(),
            _ => Bytes::new(),
        };
        (offset, length, payload)
    }

    fn content(&self, offset: u64) -> Vec<u8> {
        let mut block = vec![0; self.load.block_size as usize];
        content::fill(self.seed, offset, &mut block);
        block
    }

    /// Looks at the data of an answered read.
    fn check(&self, offset: u64, data: &[u8]) -> Result<(), String> {
        if self.command != CMD_READ {
            return Ok(());
        }
        let expected = self.content(offset);
        match content::first_difference(&expected, data) {
            None => Ok(()),
            Some(at) => Err(format!(
                "data read back differs at offset {}: wrote {:#04x}, read {:#04x} (block at {offset}, {} bytes)",
                offset + at as u64,
                expected[at],
                data[at],
                expected.len()
            )),
        }
    }
}
