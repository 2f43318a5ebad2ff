//! One run of the script: a stream over a scripted wire, its peer, and what must come out.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tls_cork::{Connection, CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;
use tls_cork_testing::content::stream;
use tls_cork_testing::script::{Fault, Lasting, Op, Peer, Plan, Way, arrived};
use tls_cork_testing::sessions::Configs;
use tls_cork_testing::sessions::name;

use super::wire::Wire;

pub(crate) struct World {
    plan: Plan,
    stream: TlsStream<Wire>,
    peer: Peer,
    accepted: usize,
    got: usize,
    end: bool,
    /// The transport has failed under a call that could not tell.
    owed: bool,
    told: Vec<ErrorKind>,
    /// What a failure cost, as an error said.
    lost: usize,
    /// No record leaves, or none is received, any more.
    sends_fail: bool,
    reads_fail: bool,
    broken: bool,
    turns: usize,
    idle_turns: usize,
    /// A read may have left something, of which no event will tell: the loop is not to sleep once.
    left_unread: bool,
    /// Before which step of the script time jumps.
    jump: Option<(usize, Duration)>,
}

/// What a run took.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) sends: usize,
    pub(crate) receives: usize,
    pub(crate) receives_before_close: usize,
    pub(crate) hits: usize,
    pub(crate) turns: usize,
}

enum Said<R> {
    Did(R),
    Later,
    Told,
}

impl World {
    pub(crate) fn new(plan: Plan, configs: &Configs, is_client: bool, cork: CorkConfig) -> Self {
        let connection = if is_client {
            Connection::client(configs.0.clone(), name(), cork)
        } else {
            Connection::server(configs.1.clone(), cork)
        };
        Self {
            plan,
            stream: TlsStream::new(Wire::new(plan), connection.expect("a valid configuration")).expect("a stream"),
            peer: Peer::new(configs, !is_client),
            accepted: 0,
            got: 0,
            end: false,
            owed: false,
            told: Vec::new(),
            lost: 0,
            sends_fail: false,
            reads_fail: false,
            broken: false,
            turns: 0,
            idle_turns: 0,
            left_unread: true,
            jump: None,
        }
    }

    /// Time jumps by `by` before step `step`.
    pub(crate) fn jumping(mut self, step: usize, by: Duration) -> Self {
        self.jump = Some((step, by));
        self
    }

    pub(crate) fn run(mut self, script: &[Op]) -> Run {
        let mut before_close = 0;
        for (step, op) in script.iter().enumerate() {
            if *op == Op::Close {
                before_close = self.stream.get_ref().faults.calls(Way::Receive);
            }
            if self.jump.is_some_and(|(at, _)| at == step) {
                self.jumps();
            }
            self.apply(*op);
            if !self.shook_hands() && (self.sends_fail || self.reads_fail) {
                break;
            }
        }
        self.ends(script);
        let faults = &self.stream.get_ref().faults;
        Run {
            sends: faults.calls(Way::Send),
            receives: faults.calls(Way::Receive),
            receives_before_close: before_close,
            hits: faults.hits,
            turns: self.turns,
        }
    }

    fn shook_hands(&self) -> bool {
        !self.stream.is_handshaking() && !self.peer.is_handshaking()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Send(len, more) => {
                let data = stream(self.accepted, len);
                self.send(len, |stream, done| stream.send(&data[done..], SendFlags::more_if(more)));
            }
            Op::SendBytes(len, more) => {
                let mut data = Bytes::from(stream(self.accepted, len));
                self.send(len, |stream, done| {
                    assert_eq!(data.len(), len - done, "exactly what was accepted is split off");
                    stream.send_bytes(&mut data, SendFlags::more_if(more))
                });
            }
            Op::SendVectored([first, second, third], more) => {
                let data = stream(self.accepted, first + second + third);
                self.send(data.len(), |stream, done| {
                    let ends = [0, first, first + second, data.len()].map(|end| end.max(done));
                    let bufs = [0, 1, 2].map(|n| IoSlice::new(&data[ends[n]..ends[n + 1]]));
                    stream.send_vectored(&bufs, SendFlags::more_if(more))
                });
            }
            Op::Cork => self.stream.cork(),
            Op::Uncork => self.until_done(TlsStream::uncork),
            Op::Flush => {
                self.until_done(Write::flush);
                let left = (self.stream.connection().waiting(), self.stream.wants_transmit());
                assert!(self.sends_fail || self.broken || left == (0, false), "flushed, and not all has left");
            }
            Op::Shake => {
                while !self.shook_hands() && !self.sends_fail && !self.reads_fail {
                    self.turn();
                }
            }
            Op::PeerSays(len) => self.peer.says(len),
            Op::PeerAnswers(len) => self.peer.answers(len, self.accepted),
            Op::PeerKeys => self.peer.keys(),
            Op::PeerCloses => self.peer.closes(),
            // The answer to what cannot be sent never comes.
            Op::Read => self.read_until(|world| {
                let all = if world.sends_fail { world.peer.wrote } else { world.peer.will_have_said() };
                world.got == all
            }),
            Op::ReadEnd => self.read_until(|world| world.end),
            Op::Close => {
                self.until_done(TlsStream::close);
                while !self.stream.is_finished() && !self.sends_fail {
                    self.turn();
                }
            }
            Op::SendLate => {
                let error = loop {
                    match self.stream.send(b"late", SendFlags::NONE) {
                        Err(error) if self.sends_fail && error.kind() != ErrorKind::BrokenPipe => {}
                        done => break done.expect_err("closed"),
                    }
                };
                assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
            }
        }
    }

    fn send(&mut self, len: usize, mut call: impl FnMut(&mut TlsStream<Wire>, usize) -> io::Result<usize>) {
        let mut done = 0;
        while done < len {
            match self.call(|stream| call(stream, done)) {
                Said::Did(taken) => {
                    assert!(taken > 0 && done + taken <= len, "{taken} bytes accepted");
                    done += taken;
                    self.accepted += taken;
                }
                Said::Later => {
                    assert_eq!(self.stream.connection().send_capacity(), 0, "WouldBlock, and there is room");
                    self.turn();
                }
                Said::Told if self.sends_fail || self.broken => break,
                Said::Told => {}
            }
        }
    }

    fn until_done(&mut self, mut call: impl FnMut(&mut TlsStream<Wire>) -> io::Result<()>) {
        loop {
            match self.call(&mut call) {
                Said::Did(()) => {
                    let lost = self.lost > 0;
                    assert!(!lost, "went through, although accepted bytes were lost");
                    return;
                }
                Said::Later => self.turn(),
                Said::Told if self.sends_fail || self.broken => return,
                Said::Told => {}
            }
        }
    }

    /// A call that sends, and so has to tell a failure that it meets, or that an earlier call met.
    fn call<R>(&mut self, call: impl FnOnce(&mut TlsStream<Wire>) -> io::Result<R>) -> Said<R> {
        let owed = self.owed;
        let (done, met) = self.watched(call);
        let met = met && self.is_send_plan();
        match done {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                self.tell(&error);
                self.owed = false;
                Said::Told
            }
            done => {
                assert!(!owed, "an earlier failure was not told");
                self.owed = met;
                done.map_or(Said::Later, Said::Did)
            }
        }
    }

    /// Whether the transport failed under `call`, which may not spin.
    fn watched<R>(&mut self, call: impl FnOnce(&mut TlsStream<Wire>) -> R) -> (R, bool) {
        self.stream.get_mut().begin();
        let before = self.stream.get_ref().faults.failures;
        let done = call(&mut self.stream);
        let wire = self.stream.get_ref();
        assert!(wire.idle <= wire.moving + 2, "{} calls in vain beside {}", wire.idle, wire.moving);
        (done, wire.faults.failures > before)
    }

    fn is_send_plan(&self) -> bool {
        matches!(self.plan, Plan::At(Way::Send, ..))
    }

    /// Checks what an error says.
    fn tell(&mut self, error: &io::Error) {
        let Plan::At(way, _, Fault::Fail(kind, lasting)) = self.plan else {
            panic!("nothing failed, but: {error:?}");
        };
        self.told.push(error.kind());
        if way == Way::Send {
            assert_eq!(error.kind(), kind, "{error}");
            self.sends_fail = lasting == Lasting::Ever;
            return;
        }
        if self.broken && error.kind() == ErrorKind::BrokenPipe {
            return;
        }
        assert_eq!(error.kind(), kind, "{error}");
        self.reads_fail = true;
        let final_for_tls =
            kind == ErrorKind::InvalidData || kind == ErrorKind::UnexpectedEof && self.stream.is_handshaking();
        if final_for_tls && !self.broken {
            self.broken = true;
            assert_eq!(self.stream.connection().waiting(), 0);
            self.lost = self.accepted - self.stream.stats().plaintext_bytes as usize;
            let says = format!("{} bytes that were accepted are lost", self.lost);
            assert_eq!(error.to_string().contains(&says), self.lost > 0, "{} bytes are lost: {error}", self.lost);
        }
    }

    fn read_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) && !self.reads_fail {
            if !self.read() {
                self.turn();
            }
        }
        if self.reads_fail {
            self.read(); // and it says so again
        }
    }

    /// Whether there is something, be it an end or an error.
    fn read(&mut self) -> bool {
        let mut buf = [0; 1500];
        let (done, met) = self.watched(|stream| stream.read(&mut buf));
        match done {
            Ok(0) => {
                assert_eq!(self.got, self.peer.wrote, "an end before the last byte");
                self.end = true;
            }
            Ok(n) => {
                arrived(&buf[..n], &mut self.got);
                self.left_unread = true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.left_unread = false;
                let garbage = matches!(self.plan, Plan::At(_, _, Fault::Fail(ErrorKind::InvalidData, _)));
                assert!(self.is_send_plan() || !met || garbage, "the transport has failed, and read says WouldBlock");
                assert!(self.stream.get_ref().read_blocked, "WouldBlock, and no event will come");
                return false;
            }
            Err(error) => {
                assert!(!self.is_send_plan(), "sending fails, and reading with it: {error}");
                self.tell(&error);
                return true;
            }
        }
        self.owed |= met && self.is_send_plan();
        true
    }

    /// One turn of a loop; fails if no event will come and nothing moves.
    fn turn(&mut self) {
        self.turns += 1;
        let before = Instant::now();
        if let Said::Did(timeout) = self.call(TlsStream::before_poll) {
            let blocked = self.stream.get_ref().send_blocked;
            assert!(!self.stream.wants_transmit() || blocked || self.owed, "output waits, and nobody pushed back");
            // Unless the deadline has come during this call.
            let come = self.stream.connection().poll_timeout().is_some_and(|due| due > before);
            let waits = timeout != Some(Duration::ZERO) || come;
            assert!(waits || std::mem::take(&mut self.left_unread), "a poll that does not wait, and nothing to do");
        }
        let wire = self.stream.get_mut();
        let mut moved = self.peer.turn(&mut wire.up, &mut wire.down) > 0;
        if let Some(event) = wire.event() {
            moved = true;
            let (done, met) = self.watched(|stream| stream.handle_event(event));
            match done {
                Err(error) => self.tell(&error),
                Ok(()) => self.owed |= met && self.is_send_plan(),
            }
        }
        self.idle_turns = if moved { 0 } else { self.idle_turns + 1 };
        assert!(self.idle_turns < 4, "stuck: nothing moves, and no event will come");
    }

    fn jumps(&mut self) {
        let (_, by) = self.jump.expect("asked for");
        std::thread::sleep(by);
        let due = self.stream.connection().poll_timeout().filter(|due| *due <= Instant::now());
        assert!(matches!(self.call(TlsStream::before_poll), Said::Did(_)));
        if due.is_some() {
            // A deadline that has passed is over, whether the transport takes the bytes or not.
            let next = self.stream.connection().poll_timeout();
            assert!(next > due || next.is_none(), "the deadline is still to come");
            assert!(self.stream.connection().waiting() == 0 || self.stream.get_ref().send_blocked);
        }
    }

    fn ends(&mut self, script: &[Op]) {
        let all = tls_cork_testing::script::total(script);
        let wire = self.stream.get_mut();
        self.peer.turn(&mut wire.up, &mut wire.down);
        assert!(!self.owed, "a failure that nobody told");
        assert!(self.peer.got <= self.accepted);
        assert!(self.broken || self.peer.failed.is_none(), "what the peer got was wrong: {:?}", self.peer.failed);
        if self.peer.end {
            assert_eq!((self.peer.got, self.lost), (self.accepted, 0), "a proper end, and data is lost");
        }
        let failed_once = matches!(self.plan, Plan::At(_, _, Fault::Fail(_, Lasting::Once))) && !self.broken;
        if self.plan.is_transient() || failed_once {
            assert_eq!((self.accepted, self.peer.got, self.peer.end), (all, all, true));
            assert_eq!((self.got, self.end), (self.peer.wrote, true));
            assert_eq!(self.told.len(), usize::from(failed_once), "told once: {:?}", self.told);
            return;
        }
        assert!(!self.told.is_empty(), "a failure that nobody told");
        let shook_hands = self.shook_hands();
        if self.broken {
            let refused = self.stream.send(b"more", SendFlags::NONE).expect_err("TLS has failed");
            assert_eq!(refused.kind(), ErrorKind::BrokenPipe, "{refused}");
            assert_eq!(self.stream.flush().is_err(), self.lost > 0, "flush and loss");
            assert_eq!(self.stream.close().is_err(), self.lost > 0, "close and loss");
            assert!(!self.peer.end || self.lost == 0);
        } else if self.sends_fail {
            assert!(!self.peer.end && !self.stream.is_finished());
            assert!(self.stream.flush().is_err() && self.stream.close().is_err(), "nothing leaves");
            assert!(!shook_hands || (self.got, self.end) == (self.peer.wrote, true), "reading goes on");
        } else if shook_hands {
            assert!(self.reads_fail);
            assert_eq!((self.accepted, self.peer.got, self.peer.end), (all, all, true), "sending goes on");
        } else {
            assert!(self.stream.flush().is_err() || self.accepted == 0);
            assert_eq!(self.stream.abort().expect("nothing leaves"), self.accepted, "abort says what is lost");
        }
    }
}
