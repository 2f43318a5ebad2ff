//! A transport in memory that obeys a plan, and the events that it would cause.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::OnceLock;
use std::time::Duration;

use mio::event::Event;
use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};
use tls_cork_mio::Transport;
use tls_cork_testing::content::GARBAGE;
use tls_cork_testing::script::{Fault, Faults, Plan, ROOM, SEGMENT, Way};

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) faults: Faults,
    pub(crate) up: VecDeque<u8>,
    pub(crate) down: VecDeque<u8>,
    /// It has pushed back: the next event is promised, and until then no call.
    pub(crate) send_blocked: bool,
    pub(crate) read_blocked: bool,
    /// There is room, or something to read, whatever the queues say.
    send_owed: bool,
    read_owed: bool,
    /// Nothing has arrived yet: the first bytes cause an event, whether somebody has tried to read or not.
    fresh: bool,
    /// The peer's end has been said to be cut off.
    hung_up: Hangup,
    drained: bool,
    /// Calls since [`begin`](Self::begin) that moved something, and others.
    pub(crate) moving: usize,
    pub(crate) idle: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hangup {
    No,
    Due,
    Told,
}

impl Wire {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            faults: Faults::new(plan),
            up: VecDeque::new(),
            down: VecDeque::new(),
            send_blocked: false,
            read_blocked: false,
            send_owed: false,
            read_owed: false,
            fresh: true,
            hung_up: Hangup::No,
            drained: false,
            moving: 0,
            idle: 0,
        }
    }

    /// A call of the driver begins.
    pub(crate) fn begin(&mut self) {
        (self.moving, self.idle) = (0, 0);
    }

    /// The event that an edge-triggered poll would give now.
    pub(crate) fn event(&mut self) -> Option<&'static Event> {
        let readable = (self.read_blocked || self.fresh) && (self.read_owed || !self.down.is_empty());
        let writable = self.send_blocked && (self.send_owed || self.up.len() < ROOM);
        if self.hung_up == Hangup::Due {
            self.hung_up = Hangup::Told;
            self.read_blocked = false;
            return Some(&events().read_closed);
        }
        self.fresh &= !readable;
        self.read_blocked &= !readable;
        self.send_blocked &= !writable;
        self.read_owed &= !readable;
        self.send_owed &= !writable;
        match (readable, writable) {
            (true, true) => Some(&events().both),
            (true, false) => Some(&events().read),
            (false, true) => Some(&events().write),
            (false, false) => None,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.idle += 1;
        self.drained = false;
        assert!(!self.read_blocked, "a read before the event that it was told to wait for");
        let mut most = buf.len().min(SEGMENT);
        match self.faults.next(Way::Receive) {
            None => self.drained = self.down.len() < most,
            Some(Fault::OneByte) => most = 1,
            Some(Fault::Block(_)) => {
                (self.read_blocked, self.read_owed) = (true, true);
                return Err(ErrorKind::WouldBlock.into());
            }
            Some(Fault::Interrupt) => return Err(ErrorKind::Interrupted.into()),
            Some(Fault::Fail(ErrorKind::UnexpectedEof, _)) => {
                if self.hung_up == Hangup::No {
                    self.hung_up = Hangup::Due;
                }
                return Ok(0);
            }
            Some(Fault::Fail(ErrorKind::InvalidData, _)) => {
                buf[..GARBAGE.len()].copy_from_slice(&GARBAGE);
                return Ok(GARBAGE.len());
            }
            Some(Fault::Fail(kind, _)) => return Err(kind.into()),
        }
        let taken = most.min(self.down.len());
        self.read_blocked = taken == 0 || self.drained;
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        for (slot, byte) in buf.iter_mut().zip(self.down.drain(..taken)) {
            *slot = byte;
        }
        (self.idle, self.moving) = (self.idle - 1, self.moving + 1);
        Ok(taken)
    }
}

impl Transport for Wire {
    fn send(&mut self, bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
        self.idle += 1;
        assert!(!self.send_blocked, "a send before the event that it was told to wait for");
        assert!(bufs.iter().any(|buf| !buf.is_empty()), "nothing to send");
        let mut most = usize::MAX;
        match self.faults.next(Way::Send) {
            None => {}
            Some(Fault::OneByte) => most = 1,
            Some(Fault::Block(_)) => {
                (self.send_blocked, self.send_owed) = (true, true);
                return Err(ErrorKind::WouldBlock.into());
            }
            Some(Fault::Interrupt) => return Err(ErrorKind::Interrupted.into()),
            Some(Fault::Fail(ErrorKind::WriteZero, _)) => return Ok(0),
            Some(Fault::Fail(kind, _)) => return Err(kind.into()),
        }
        let most = most.min(ROOM.saturating_sub(self.up.len()));
        if most == 0 {
            self.send_blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let before = self.up.len();
        self.up.extend(bufs.iter().flat_map(|buf| buf.iter()).take(most));
        (self.idle, self.moving) = (self.idle - 1, self.moving + 1);
        Ok(self.up.len() - before)
    }

    fn is_drained_by_short_read(&self) -> bool {
        self.drained
    }
}

struct Made {
    read: Event,
    write: Event,
    both: Event,
    read_closed: Event,
}

/// One event of each kind: only an event loop can make them.
fn events() -> &'static Made {
    static EVENTS: OnceLock<Made> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let both = Interest::READABLE | Interest::WRITABLE;
        let made = Made {
            read: event(Interest::READABLE, |there| there.write_all(b"x")),
            write: event(Interest::WRITABLE, |_| Ok(())),
            both: event(both, |there| there.write_all(b"x")),
            read_closed: event(Interest::READABLE, |there| there.shutdown(Shutdown::Write)),
        };
        assert!(made.read.is_readable() && !made.read.is_writable() && !made.read.is_read_closed());
        assert!(made.write.is_writable() && !made.write.is_readable());
        assert!(made.both.is_readable() && made.both.is_writable() && !made.both.is_read_closed());
        assert!(made.read_closed.is_read_closed());
        made
    })
}

fn event(interest: Interest, cause: impl Fn(&mut UnixStream) -> io::Result<()>) -> Event {
    let mut poll = Poll::new().expect("a poll");
    let (mut here, mut there) = UnixStream::pair().expect("sockets");
    cause(&mut there).expect("a fresh socket");
    poll.registry().register(&mut here, Token(0), interest).expect("registering");
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(Duration::from_secs(5))).expect("polling");
    events.iter().next().expect("an event").clone()
}
