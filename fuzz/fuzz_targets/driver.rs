//! A mio `TlsStream` over a transport that does everything a transport may do: bytes arrive intact,
//! and nothing waits for an event that never comes.
#![no_main]

use std::collections::VecDeque;
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mio::event::Event;
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};
use tls_cork::SendFlags;
use tls_cork_fuzz::{Cork, Len, Rest, pair, peer_input, peer_output};
use tls_cork_mio::{TlsStream, Transport};
use tls_cork_testing::content::{is_stream, stream};

#[derive(Arbitrary, Debug)]
struct Input {
    tls13: bool,
    we_are_client: bool,
    shake_hands: bool,
    /// Whether every deadline has passed when it is checked. If not, none ever passes: the driver
    /// reads the real clock, which a run cannot set.
    impatient: bool,
    short_reads_tell: bool,
    cork: Cork,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Send(Len, bool),
    SendBytes(Len, bool),
    SendVectored([u8; 3], bool),
    Write(Len),
    Cork,
    Uncork,
    Flush,
    Close,
    Abort,
    Read(Len),
    BeforePoll,
    HandleTimeout,
    /// An event for the current readiness; none if the transport is not ready.
    Event,
    OnSend(Step),
    OnRead(Step),
    /// Sets the room in the transport.
    Room(u16),
    PeerTurn,
    PeerWrite(Len),
    PeerKeys,
    PeerClose,
    Turn,
}

/// The transport's answer to one call.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Take(u16),
    WouldBlock,
    Interrupted,
    NotConnected,
    Zero,
    Reset,
}

#[derive(Debug, Default)]
struct Script {
    sends: VecDeque<Step>,
    reads: VecDeque<Step>,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    room: Option<usize>,
    short_reads_tell: bool,
    /// Whether the transport has pushed back since the last event, so that a next event will come.
    send_blocked: bool,
    read_blocked: bool,
    /// Whether a read has returned the end.
    eof: bool,
    calls: usize,
}

impl Script {
    fn count(&mut self) {
        self.calls += 1;
        assert!(self.calls < 20_000, "a loop that does not end");
    }

    fn pushes_back(&mut self, kind: ErrorKind) -> io::Error {
        self.send_blocked = true;
        kind.into()
    }
}

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.count();
        if self.eof {
            return Ok(0);
        }
        let most = match self.reads.pop_front() {
            None => buf.len(),
            Some(Step::Take(n)) => buf.len().min(1 + usize::from(n)),
            Some(Step::WouldBlock) => 0,
            Some(Step::Interrupted) => return Err(ErrorKind::Interrupted.into()),
            Some(Step::NotConnected) => {
                self.read_blocked = true;
                return Err(ErrorKind::NotConnected.into());
            }
            Some(Step::Zero) => {
                self.eof = true;
                return Ok(0);
            }
            Some(Step::Reset) => return Err(ErrorKind::ConnectionReset.into()),
        };
        let taken = most.min(self.down.len());
        if taken == 0 && !buf.is_empty() {
            self.read_blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        for (slot, byte) in buf.iter_mut().zip(self.down.drain(..taken)) {
            *slot = byte;
        }
        self.read_blocked |= taken < buf.len();
        Ok(taken)
    }
}

impl Transport for Script {
    fn send(&mut self, bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
        self.count();
        let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
        assert!(offered > 0, "nothing to send");
        let most = match self.sends.pop_front() {
            None => offered,
            Some(Step::Take(n)) => 1 + usize::from(n),
            Some(Step::WouldBlock) => return Err(self.pushes_back(ErrorKind::WouldBlock)),
            Some(Step::Interrupted) => return Err(ErrorKind::Interrupted.into()),
            Some(Step::NotConnected) => return Err(self.pushes_back(ErrorKind::NotConnected)),
            Some(Step::Zero) => return Ok(0),
            Some(Step::Reset) => return Err(ErrorKind::ConnectionReset.into()),
        };
        let room = self.room.map_or(usize::MAX, |room| room.saturating_sub(self.up.len()));
        let taken = offered.min(most).min(room);
        if taken == 0 {
            return Err(self.pushes_back(ErrorKind::WouldBlock));
        }
        self.up.extend(bufs.iter().flat_map(|buf| buf.iter()).take(taken));
        Ok(taken)
    }

    fn is_drained_by_short_read(&self) -> bool {
        // A read that the script has cut short does not show that the transport is drained.
        self.short_reads_tell && self.reads.is_empty() && self.down.is_empty()
    }
}

/// Returns an event of this readiness. Only an event loop can make events, so they are made once.
fn event(readable: bool, writable: bool) -> Option<&'static Event> {
    static EVENTS: OnceLock<[Event; 3]> = OnceLock::new();
    let [read, write, both] = EVENTS.get_or_init(|| {
        [(Interest::READABLE, true), (Interest::WRITABLE, false), (Interest::READABLE | Interest::WRITABLE, true)].map(
            |(interest, readable)| {
                let mut poll = Poll::new().expect("a poll");
                let (mut here, mut there) = UnixStream::pair().expect("sockets");
                if readable {
                    there.write_all(b"x").expect("room");
                }
                poll.registry().register(&mut here, Token(0), interest).expect("registering");
                let mut events = Events::with_capacity(4);
                poll.poll(&mut events, Some(Duration::from_secs(5))).expect("polling");
                let event = events.iter().next().expect("an event").clone();
                assert_eq!(event.is_readable(), readable);
                event
            },
        )
    });
    match (readable, writable) {
        (true, true) => Some(both),
        (true, false) => Some(read),
        (false, true) => Some(write),
        (false, false) => None,
    }
}

struct World {
    stream: TlsStream<Script>,
    peer: rustls::Connection,
    accepted: usize,
    lost: usize,
    peer_got: usize,
    peer_end: bool,
    peer_wrote: usize,
    peer_closed: bool,
    /// Whether either side has sent an end before keys existed. Such an end is not authenticated,
    /// and may be refused.
    early: bool,
    peer_keys: usize,
    got: usize,
    end: bool,
    closed: bool,
    broken: bool,
}

/// The most KeyUpdates in a row that rustls accepts.
const PEER_KEYS_MAX: usize = 32;

fuzz_target!(|input: Input| {
    let hold = if input.impatient { Duration::from_nanos(1) } else { Duration::from_secs(60) };
    let (ours, peer) = pair(input.tls13, input.we_are_client, input.cork.config().max_hold(hold));
    let script = Script { short_reads_tell: input.short_reads_tell, ..Script::default() };
    let mut world = World {
        stream: TlsStream::new(script, ours).expect("nothing to prepare"),
        peer,
        accepted: 0,
        lost: 0,
        peer_got: 0,
        peer_end: false,
        peer_wrote: 0,
        peer_closed: false,
        early: false,
        peer_keys: 0,
        got: 0,
        end: false,
        closed: false,
        broken: false,
    };
    if input.shake_hands {
        world.run();
        assert!(!world.stream.is_handshaking() && !world.peer.is_handshaking());
    }
    for op in input.ops.iter().take(60) {
        world.stream.get_mut().calls = 0;
        world.apply(op);
        world.check();
    }
    world.finish();
});

impl World {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Send(len, more) => {
                let data = stream(self.accepted, len.get());
                let sent = self.stream.send(&data, SendFlags::more_if(*more));
                self.sent(data.len(), sent);
            }
            Op::SendBytes(len, more) => {
                let mut data = Bytes::from(stream(self.accepted, len.get()));
                if len.get() % 2 == 0 {
                    let sent = self.stream.send_bytes(&mut data, SendFlags::more_if(*more));
                    if let Ok(sent) = sent {
                        assert_eq!(data.len() + sent, len.get(), "exactly what was accepted is split off");
                    }
                    self.sent(len.get(), sent);
                } else {
                    let sent = self.stream.send_all_bytes(&mut data, SendFlags::more_if(*more));
                    assert_eq!(sent.is_ok(), data.is_empty());
                    if data.len() < len.get() {
                        self.sent(len.get(), Ok(len.get() - data.len()));
                    }
                    self.done(sent);
                }
            }
            Op::SendVectored(lens, more) => {
                let [first, second, third] = lens.map(|len| usize::from(len) * 70);
                let data = stream(self.accepted, first + second + third);
                let bufs = [&data[..first], &data[first..first + second], &data[first + second..]].map(IoSlice::new);
                let sent = self.stream.send_vectored(&bufs, SendFlags::more_if(*more));
                self.sent(data.len(), sent);
            }
            Op::Write(len) => {
                let data = stream(self.accepted, len.get());
                let sent = self.stream.write(&data);
                self.sent(data.len(), sent);
            }
            Op::Cork => self.stream.cork(),
            Op::Uncork => {
                let done = self.stream.uncork();
                self.done(done);
            }
            Op::Flush => match self.stream.flush() {
                Ok(()) => assert_eq!((self.stream.connection().waiting(), self.stream.wants_transmit()), (0, false)),
                done => self.done(done),
            },
            Op::Close => {
                let done = self.stream.close();
                // The call may have returned an earlier failure, and done nothing else.
                self.closed |= done.is_ok() || self.stream.connection().is_write_closed();
                self.done(done);
            }
            Op::Abort => {
                let waiting = self.stream.connection().waiting();
                self.early |= self.stream.is_handshaking();
                let done = self.stream.abort();
                if let Ok(discarded) = done {
                    assert_eq!(discarded, waiting);
                }
                assert_eq!(self.stream.connection().waiting(), 0);
                self.lost += waiting;
                self.closed = true;
                self.done(done.map(drop));
            }
            Op::Read(most) => _ = self.read(most.get()),
            Op::BeforePoll => self.before_poll(),
            Op::HandleTimeout => match self.stream.handle_timeout() {
                Ok(()) => self.promised(),
                Err(error) => self.turn_failed(error),
            },
            Op::Event => self.event(),
            Op::OnSend(step) => self.stream.get_mut().sends.push_back(*step),
            Op::OnRead(step) => self.stream.get_mut().reads.push_back(*step),
            Op::Room(room) => self.stream.get_mut().room = Some((*room).into()),
            Op::PeerTurn => _ = self.peer_turn(),
            Op::PeerWrite(len) => {
                if !self.peer_closed && self.peer_wrote < 400_000 {
                    let data = stream(self.peer_wrote, len.get());
                    self.peer.writer().write_all(&data).expect("no limit");
                    self.peer_wrote += data.len();
                }
            }
            Op::PeerKeys => {
                if !self.peer_closed && self.peer_keys < PEER_KEYS_MAX {
                    self.peer_keys += 1;
                    let _ = self.peer.refresh_traffic_keys();
                }
            }
            Op::PeerClose => {
                self.early |= self.peer.is_handshaking();
                self.peer.send_close_notify();
                self.peer_closed = true;
            }
            Op::Turn => _ = self.turn(),
        }
    }

    fn sent(&mut self, offered: usize, sent: io::Result<usize>) {
        match sent {
            Ok(sent) => {
                assert!(sent <= offered && (sent > 0 || offered == 0), "Ok(0)");
                assert!(!self.closed && !self.broken, "accepted after the end");
                self.accepted += sent;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(self.stream.connection().send_capacity() == 0, "WouldBlock with room left");
                self.promised_or_failed();
            }
            Err(error) => self.done(Err(error)),
        }
    }

    /// Checks the result of a call that sends.
    fn done(&mut self, done: io::Result<()>) {
        let Err(error) = done else {
            return self.promised();
        };
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::WriteZero => {}
            ErrorKind::WouldBlock => {}
            ErrorKind::BrokenPipe => assert!(self.closed || self.broken, "{error}"),
            _ => panic!("{error:?}"),
        }
    }

    /// Checks after a call: output that waits is for an event that will come, or the loop must not
    /// sleep.
    fn promised(&self) {
        let waits = self.stream.wants_transmit() && !self.stream.get_ref().send_blocked;
        let pressing = || self.stream.poll_timeout().is_some_and(|due| due <= Instant::now());
        assert!(!waits || pressing(), "output waits, and nobody pushed back");
    }

    fn promised_or_failed(&self) {
        self.promised();
    }

    fn read(&mut self, most: usize) -> usize {
        let mut buf = vec![0; most.clamp(1, 20_000)];
        let read = if most % 2 == 0 { self.stream.read(&mut buf) } else { take_shown(&mut self.stream, &mut buf) };
        match read {
            Ok(0) => {
                let all = self.got == self.peer_wrote || self.early;
                assert!(self.peer_closed && all, "a proper end before the last byte");
                self.end = true;
                0
            }
            Ok(n) => {
                assert!(is_stream(&buf[..n], self.got), "content and order at {}", self.got);
                self.got += n;
                assert!(self.got <= self.peer_wrote);
                n
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::WouldBlock => {
                        assert!(self.stream.get_ref().read_blocked, "WouldBlock, and no event will come");
                    }
                    ErrorKind::UnexpectedEof => assert!(self.stream.get_ref().eof),
                    ErrorKind::ConnectionReset | ErrorKind::WriteZero => {}
                    ErrorKind::InvalidData => self.breaks(&error),
                    _ => panic!("{error:?}"),
                }
                self.lost_in_handshake();
                0
            }
        }
    }

    fn breaks(&mut self, error: &io::Error) {
        assert!(self.early, "what an honest peer said: {error}");
        self.broken = true;
        self.lost_in_handshake();
    }

    /// Counts the bytes that a failure has discarded.
    fn lost_in_handshake(&mut self) {
        let stats = self.stream.stats();
        if self.stream.connection().is_write_closed() && !self.closed {
            assert!(self.early || self.stream.get_ref().eof);
            self.broken = true;
        }
        if self.broken || (self.closed && self.stream.get_ref().eof) {
            self.lost = self.accepted - stats.plaintext_bytes as usize - self.stream.connection().waiting();
        }
    }

    fn before_poll(&mut self) {
        match self.stream.before_poll() {
            Ok(timeout) => {
                self.promised();
                let held = self.stream.connection().waiting();
                assert!(held == 0 || timeout.is_some() || self.stream.is_handshaking() || self.stream.wants_transmit());
            }
            Err(error) => self.turn_failed(error),
        }
    }

    /// Checks the error of a call that sends and receives.
    fn turn_failed(&mut self, error: io::Error) {
        match error.kind() {
            ErrorKind::UnexpectedEof => assert!(self.stream.get_ref().eof),
            ErrorKind::InvalidData => self.breaks(&error),
            _ => self.done(Err(error)),
        }
        self.lost_in_handshake();
    }

    /// Gives the stream an event for the transport's current readiness.
    fn event(&mut self) {
        let script = self.stream.get_mut();
        let readable = !script.down.is_empty() || script.eof;
        let writable = script.room.is_none_or(|room| script.up.len() < room);
        if let Some(event) = event(readable, writable) {
            script.read_blocked &= !readable;
            script.send_blocked &= !writable;
            if let Err(error) = self.stream.handle_event(event) {
                match error.kind() {
                    ErrorKind::ConnectionReset | ErrorKind::WriteZero => {}
                    ErrorKind::UnexpectedEof => assert!(self.stream.get_ref().eof),
                    ErrorKind::InvalidData => self.breaks(&error),
                    _ => panic!("{error:?}"),
                }
                self.lost_in_handshake();
            }
        }
    }

    fn peer_turn(&mut self) -> usize {
        let script = self.stream.get_mut();
        let up: Vec<u8> = script.up.drain(..).collect();
        match peer_input(&mut self.peer, &up, &mut self.peer_got) {
            Ok(Rest::End) => {
                assert!(self.closed && self.lost == 0 && self.peer_got == self.accepted, "an end, and data is lost");
                self.peer_end = true;
            }
            Ok(rest) => assert_eq!(rest, Rest::Open),
            Err(error) => {
                assert!(self.early || self.broken, "what we said: {error}");
                self.early = true;
                self.peer_closed = true;
            }
        }
        assert!(self.peer_got <= self.accepted);
        let mut down = Vec::new();
        let sent = peer_output(&mut self.peer, &mut down);
        script.down.extend(down);
        up.len() + sent
    }

    /// Makes one turn of a loop; returns the number of bytes that moved.
    fn turn(&mut self) -> usize {
        self.stream.get_mut().calls = 0;
        self.before_poll();
        let mut moved = self.peer_turn();
        self.event();
        loop {
            match self.read(20_000) {
                0 => return moved,
                n => moved += n,
            }
        }
    }

    /// Makes turns until nothing moves.
    fn run(&mut self) {
        let mut idle = 0;
        for _ in 0..2000 {
            idle = if self.turn() > 0 { 0 } else { idle + 1 };
            if idle == 3 {
                return;
            }
        }
        panic!("they never come to rest");
    }

    fn check(&self) {
        let stats = self.stream.stats();
        let waiting = self.stream.connection().waiting();
        assert_eq!(self.accepted, stats.plaintext_bytes as usize + waiting + self.lost, "every byte is somewhere");
    }

    fn finish(mut self) {
        let script = self.stream.get_mut();
        script.sends.clear();
        script.reads.clear();
        script.room = None;
        self.run();
        self.check();
        for _ in 0..2 {
            // The first close may return an earlier failure.
            self.stream.get_mut().calls = 0;
            let done = self.stream.close();
            self.closed |= done.is_ok();
            self.done(done);
        }
        self.run();
        self.check();
        let open = !self.stream.is_handshaking() && !self.peer.is_handshaking();
        if !self.broken && !self.early && !self.stream.get_ref().eof {
            assert!(open, "the handshake got stuck");
            assert!(self.stream.is_finished(), "the close is through");
            assert_eq!(self.peer_end, self.lost == 0, "the peer sees the end that it should");
            assert_eq!(self.peer_got + self.lost, self.accepted);
            assert_eq!((self.got, self.end), (self.peer_wrote, self.peer_closed));
        }
    }
}

/// A read through `BufRead`.
fn take_shown(stream: &mut TlsStream<Script>, buf: &mut [u8]) -> io::Result<usize> {
    let shown = stream.fill_buf()?;
    let len = shown.len().min(buf.len());
    buf[..len].copy_from_slice(&shown[..len]);
    stream.consume(len);
    Ok(len)
}
