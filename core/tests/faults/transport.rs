//! A transport in memory whose calls fail as planned.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::time::Duration;

/// The behaviour of every call in a run, and the one fault in the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The most bytes that one call moves.
    pub(crate) window: usize,
    /// The number of times that a call returns `WouldBlock` before one goes through, in each
    /// direction.
    pub(crate) storm: usize,
    /// Whether a call returns `Interrupted` before each one that goes through.
    pub(crate) interrupts: bool,
    /// Whether time stands still.
    pub(crate) frozen: bool,
    pub(crate) fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The call with this index fails; sends and receives are counted together.
    Call(usize, Kind),
    /// Time jumps before the operation with this index. The faults below also take an operation's
    /// index.
    Jump(usize, Duration),
    Abort(usize),
    /// A record that cannot be decrypted is received.
    Garbage(usize),
    /// The transport blocks during this operation.
    Blocked(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    WouldBlock,
    Interrupted,
    /// An error once; the next call goes through.
    Error,
    /// `Ok(0)`: once for a send, for ever for a receive.
    Zero,
    /// All further calls fail.
    Reset,
    /// All further receives return the end.
    PeerGone,
    /// All further sends fail; receives go on.
    SendsFail,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::WouldBlock, Self::Interrupted, Self::Error, Self::Zero, Self::Reset, Self::PeerGone, Self::SendsFail];
}

impl Plan {
    /// A plan without a fault, whose calls move at most `window` bytes.
    pub(crate) fn calm(window: usize) -> Self {
        Self { window, storm: 0, interrupts: false, frozen: false, fault: Fault::None }
    }

    /// Whether one side may end the session with an alert. An abort without keys is such a case.
    pub(crate) fn ends_in_an_alert(self) -> bool {
        matches!(self.fault, Fault::Garbage(_) | Fault::Abort(_))
    }

    /// Whether all bytes arrive in spite of the fault.
    pub(crate) fn is_survivable(self) -> bool {
        matches!(
            self.fault,
            Fault::None | Fault::Jump(..) | Fault::Call(_, Kind::WouldBlock | Kind::Interrupted | Kind::Error)
        )
    }
}

#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) plan: Plan,
    /// Bytes for the peer; `down` has the bytes from the peer.
    pub(crate) up: VecDeque<u8>,
    down: VecDeque<u8>,
    /// The number of bytes that calls have moved.
    pub(crate) moved: usize,
    pub(crate) calls: usize,
    pub(crate) blocked: bool,
    fired: bool,
    failed: bool,
    sends_fail: bool,
    receives_end: bool,
    /// Whether a send has returned zero.
    pub(crate) took_zero: bool,
    weather: [Weather; 2],
}

/// The failed attempts of a direction since its last call that went through.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    blocked: usize,
    interrupted: bool,
}

impl Transport {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            up: VecDeque::new(),
            down: VecDeque::new(),
            moved: 0,
            calls: 0,
            blocked: false,
            fired: false,
            failed: false,
            sends_fail: false,
            receives_end: false,
            took_zero: false,
            weather: [Weather::default(); 2],
        }
    }

    pub(crate) fn send(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let window = self.call(true)?;
        let before = self.up.len();
        self.up.extend(bufs.iter().flat_map(|buf| buf.iter()).take(window));
        let taken = self.up.len() - before;
        self.moved += taken;
        Ok(taken)
    }

    pub(crate) fn deliver(&mut self, data: &[u8]) {
        self.down.extend(data);
    }

    /// Delivers a record such as a peer without keys may send.
    pub(crate) fn garbage(&mut self) {
        self.down.extend([23, 3, 3, 0, 64]);
        self.down.extend([0x5A; 64]);
    }

    pub(crate) fn is_readable(&self) -> bool {
        !self.down.is_empty() || self.is_ended()
    }

    /// Whether no further receive returns data.
    pub(crate) fn is_ended(&self) -> bool {
        self.receives_end || self.is_dead()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.failed
    }

    pub(crate) fn sends_failed(&self) -> bool {
        self.sends_fail || self.is_dead()
    }

    pub(crate) fn fired(&self) -> bool {
        self.fired
    }

    pub(crate) fn took_fault(&self, error: &io::Error) -> bool {
        self.fired && matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    }

    /// The number of turns in which the transport may move nothing and still go on.
    pub(crate) fn patience(&self) -> usize {
        2 + self.plan.storm + usize::from(self.plan.interrupts)
    }

    /// Counts a call; returns the number of bytes that it may move.
    fn call(&mut self, sending: bool) -> io::Result<usize> {
        if self.blocked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let call = self.calls;
        self.calls += 1;
        if let Fault::Call(at, kind) = self.plan.fault
            && at == call
        {
            self.fired = true;
            match kind {
                Kind::WouldBlock => return Err(io::ErrorKind::WouldBlock.into()),
                Kind::Interrupted => return Err(io::ErrorKind::Interrupted.into()),
                Kind::Error => return Err(io::ErrorKind::ConnectionReset.into()),
                Kind::Zero if sending => {
                    self.took_zero = true;
                    return Ok(0);
                }
                Kind::Zero | Kind::PeerGone => self.receives_end = true,
                Kind::Reset => self.failed = true,
                Kind::SendsFail => self.sends_fail = true,
            }
        }
        if self.failed {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if sending && self.sends_fail {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !sending && self.receives_end {
            return Ok(0);
        }
        let weather = &mut self.weather[usize::from(sending)];
        if self.plan.interrupts && !weather.interrupted {
            weather.interrupted = true;
            return Err(io::ErrorKind::Interrupted.into());
        }
        if weather.blocked < self.plan.storm {
            weather.blocked += 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *weather = Weather::default();
        Ok(self.plan.window)
    }
}

impl Read for Transport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let window = self.call(false)?.min(buf.len());
        let read = self.down.read(&mut buf[..window])?;
        self.moved += read;
        Ok(read)
    }
}
