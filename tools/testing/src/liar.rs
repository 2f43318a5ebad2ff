//! A sealer that works, and can give a wrong answer at any call; and random calls of a policy over
//! it.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tls_cork::{CorkConfig, CorkPolicy, FlushDecision, Seal, SealError, SendFlags, TransmitError, WriteError};

use crate::content::pattern;

/// A number of calls that no run of these tests reaches.
const CALLS_MAX: usize = 2_000_000;
/// The bytes that [`Lie::Endless`] offers each time.
static ENDLESS: [u8; 1 << 20] = [0xEE; 1 << 20];

/// A wrong answer of one method. `Truth` is the right answer of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    Truth,
    /// `is_ready`, `has_output` or `has_control` returns the opposite.
    Opposite,
    /// `seal` returns this number of records.
    Records(usize),
    /// `seal` fails.
    Fails,
    /// `transmit` returns this number without a call of `send`.
    Unasked(usize),
    /// `transmit` fails with this kind of error without a call of `send`.
    FailsUnasked(ErrorKind),
    /// `transmit` returns one byte more than `send` took, or one byte less (`Subtracts`).
    Adds,
    Subtracts,
    /// `transmit` calls `send` with an empty slice.
    OffersNothing,
    /// `transmit` calls `send` twice with the same slices.
    Twice,
    /// `transmit` returns `Ok` when `send` fails, or another error (`ChangesError`).
    HidesError,
    ChangesError(ErrorKind),
    /// `transmit` returns an error although `send` took bytes.
    HidesTaken,
    /// `transmit` offers bytes without end.
    Endless,
}

/// The lies of `is_ready`, `has_output` and `has_control`.
pub const OF_ANSWERS: &[Lie] = &[Lie::Opposite];
pub const OF_SEAL: &[Lie] = &[
    Lie::Records(0),
    Lie::Records(1),
    Lie::Records(1 << 20),
    Lie::Records(usize::MAX / 16),
    Lie::Records(usize::MAX),
    Lie::Fails,
];
pub const OF_TRANSMIT: &[Lie] = &[
    Lie::Unasked(0),
    Lie::Unasked(1),
    Lie::Unasked(usize::MAX),
    Lie::FailsUnasked(ErrorKind::Interrupted),
    Lie::FailsUnasked(ErrorKind::WouldBlock),
    Lie::FailsUnasked(ErrorKind::Other),
    Lie::Adds,
    Lie::Subtracts,
    Lie::OffersNothing,
    Lie::Twice,
    Lie::HidesError,
    Lie::ChangesError(ErrorKind::Interrupted),
    Lie::ChangesError(ErrorKind::WouldBlock),
    Lie::HidesTaken,
];

/// How a [`Liar`] chooses its next answer.
#[derive(Clone, Debug)]
pub enum Script {
    /// The same lie at each call of one method.
    Always(Method, Lie),
    /// The same lie after this number of true answers.
    After(Cell<usize>, Method, Lie),
    /// Numbers that choose among the lies of whichever method is called. After the last number,
    /// only the truth.
    Chosen(Rc<RefCell<Vec<u8>>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    IsReady,
    HasOutput,
    HasControl,
    Seal,
    Transmit,
}

#[derive(Debug)]
pub struct Liar {
    pub ready: Rc<Cell<bool>>,
    pub record_size: usize,
    /// The most bytes that it offers in one call.
    pub offer: usize,
    script: Script,
    output: Vec<u8>,
    calls: usize,
}

impl Liar {
    pub fn new(ready: bool, script: Script) -> Self {
        Self { ready: Rc::new(Cell::new(ready)), record_size: 64, offer: 150, script, output: Vec::new(), calls: 0 }
    }

    fn lie(&self, method: Method, lies: &[Lie]) -> Lie {
        match &self.script {
            Script::Always(of, lie) if *of == method => *lie,
            Script::After(left, of, lie) if *of == method => match left.get() {
                0 => *lie,
                n => {
                    left.set(n - 1);
                    Lie::Truth
                }
            },
            Script::Always(..) | Script::After(..) => Lie::Truth,
            Script::Chosen(numbers) => {
                let number = usize::from(numbers.borrow_mut().pop().unwrap_or(0));
                // Mostly the truth, so that runs get beyond the first calls.
                if number < 160 { Lie::Truth } else { lies[number % lies.len()] }
            }
        }
    }
}

impl Seal for Liar {
    fn is_ready(&self) -> bool {
        self.ready.get() != (self.lie(Method::IsReady, OF_ANSWERS) == Lie::Opposite)
    }

    fn max_record_size(&self) -> usize {
        self.record_size
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        let data: Vec<u8> = plaintext.iter().flat_map(|piece| piece.iter().copied()).collect();
        match self.lie(Method::Seal, OF_SEAL) {
            Lie::Fails => return Err(SealError::Session(Arc::new(io::Error::other("it does not want to")))),
            // A short count is not a lie: only that many records are sealed then.
            Lie::Records(records) => {
                let len = records.saturating_mul(record_size).min(data.len());
                self.output.extend(&data[..len]);
                return Ok(records);
            }
            _ => self.output.extend(&data),
        }
        Ok(data.len().div_ceil(record_size))
    }

    fn has_output(&self) -> bool {
        self.output.is_empty() == (self.lie(Method::HasOutput, OF_ANSWERS) == Lie::Opposite)
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        self.calls += 1;
        assert!(self.calls < CALLS_MAX, "a loop without an end");
        let lie = self.lie(Method::Transmit, OF_TRANSMIT);
        match lie {
            Lie::Unasked(sent) => return Ok(sent),
            Lie::FailsUnasked(kind) => return Err(kind.into()),
            Lie::OffersNothing => return send(&[IoSlice::new(&[])], false),
            Lie::Endless => return send(&[IoSlice::new(&ENDLESS)], false),
            _ => {}
        }
        if self.output.is_empty() {
            return Ok(0);
        }
        let offer = &self.output[..self.output.len().min(self.offer)];
        let (first, second) = offer.split_at(offer.len() / 2);
        let (offer, rest) = ([IoSlice::new(first), IoSlice::new(second)], offer.len() < self.output.len());
        let result = send(&offer, rest);
        if lie == Lie::Twice {
            let _ = send(&offer, rest);
        }
        let taken = match (result, lie) {
            (Ok(_), Lie::HidesTaken) => return Err(ErrorKind::WouldBlock.into()),
            (Err(_), Lie::HidesError) => return Ok(0),
            (Err(_), Lie::ChangesError(kind)) => return Err(kind.into()),
            (result, _) => result?,
        };
        self.output.drain(..taken);
        match lie {
            Lie::Adds => Ok(taken + 1),
            Lie::Subtracts => Ok(taken.wrapping_sub(1)),
            _ => Ok(taken),
        }
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        Ok(())
    }

    fn has_control(&self) -> bool {
        self.lie(Method::HasControl, OF_ANSWERS) == Lie::Opposite
    }
}

/// Makes the calls that `ops` encodes over a [`Liar`] that chooses its answers by `lies`. Checks
/// that every call ends without a panic, that the arrived bytes are a prefix of the accepted ones,
/// and that errors report the rest as lost.
pub fn run(ready: bool, ops: &[(u8, u8)], lies: &[u8]) {
    let numbers = Rc::new(RefCell::new(lies.iter().rev().copied().collect::<Vec<u8>>()));
    let liar = Liar::new(ready, Script::Chosen(Rc::clone(&numbers)));
    let keys = Rc::clone(&liar.ready);
    let config = CorkConfig::default().record_size(100).send_buffer_limit(700).batch_size(100..=300);
    let mut world = World {
        policy: CorkPolicy::new(liar, config).expect("a valid configuration"),
        now: Instant::now(),
        accepted: 0,
        arrived: 0,
        lost: 0,
        failed: false,
    };
    for (op, size) in ops {
        world.now += Duration::from_millis(1);
        world.apply(*op, usize::from(*size), &keys);
    }
    // From now on the sealer gives right answers only.
    numbers.borrow_mut().clear();
    keys.set(true);
    world.apply(HANDSHAKE_DONE, 0, &keys);
    world.apply(CLOSE, 0, &keys);
    for _ in 0..5 {
        if world.policy.wants_transmit() {
            world.transmit(None);
        }
    }
    assert!(!world.policy.wants_transmit() && world.policy.is_finished(), "{world:?}");
    assert!(world.failed || world.lost == 0);
    assert!(world.arrived + world.lost >= world.accepted, "bytes are lost, and no error reported it: {world:?}");
}

const HANDSHAKE_DONE: u8 = 10;
const CLOSE: u8 = 11;

#[derive(Debug)]
struct World {
    policy: CorkPolicy<Liar>,
    now: Instant,
    accepted: usize,
    /// The number of bytes that the transport took.
    arrived: usize,
    /// The number of lost bytes that errors and `abort` reported.
    lost: usize,
    failed: bool,
}

impl World {
    fn apply(&mut self, op: u8, size: usize, keys: &Cell<bool>) {
        let (now, policy) = (self.now, &mut self.policy);
        let flags = SendFlags::more_if(size % 2 == 1);
        let data: Vec<u8> = (self.accepted..self.accepted + size * 4).map(pattern).collect();
        let room = policy.send_capacity();
        let written = match op % 16 {
            0..=2 => policy.write(now, &[IoSlice::new(&data)], flags).map(|written| written.accepted),
            3 => policy.write_bytes(now, &mut Bytes::from(data), flags).map(|written| written.accepted),
            4 => Ok(if policy.join_held(&data, flags) { data.len() } else { 0 }),
            5 => return policy.cork(now),
            6 => return ignore(policy.uncork(now)),
            7 => return ignore(policy.flush(now)),
            8 => return ignore(policy.handle_read_wait(now)),
            9 => return ignore(policy.handle_timeout(now + Duration::from_millis(20))),
            HANDSHAKE_DONE => {
                keys.set(true);
                return ignore(policy.handle_handshake_done(now));
            }
            CLOSE => return ignore(policy.close(now)),
            12 if size > 200 => {
                self.lost += policy.abort();
                self.failed = true;
                return;
            }
            12 | 13 => return self.take(),
            _ => return self.transmit(Some(size)),
        };
        match written {
            Ok(accepted) => self.accepted += accepted,
            Err(error) => assert_eq!(error == WriteError::Blocked, room == 0 && !self.policy.is_write_closed()),
        }
    }

    /// Transmits to a transport that answers by `answer`, or that takes everything.
    fn transmit(&mut self, answer: Option<usize>) {
        let (mut calls, accepted, arrived) = (0, self.accepted, &mut self.arrived);
        let done = self.policy.transmit_with(|bufs, _more| {
            calls += 1;
            let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
            assert!(offered > 0, "a send of nothing");
            let taken = match answer {
                Some(answer) if calls == 1 + answer % 3 => match answer % 7 {
                    0 => return Err(ErrorKind::WouldBlock.into()),
                    1 => return Err(ErrorKind::ConnectionReset.into()),
                    2 => return Err(ErrorKind::Interrupted.into()),
                    3 => return Ok(0),
                    4 if answer > 220 => return Ok(offered + answer),
                    _ => offered.min(answer),
                },
                _ => offered,
            };
            let content = bufs.iter().flat_map(|buf| buf.iter()).take(taken);
            assert!(content.copied().eq((*arrived..*arrived + taken).map(pattern)), "content and order");
            *arrived += taken;
            assert!(*arrived <= accepted);
            Ok(taken)
        });
        if let Err(error) = done {
            self.told(&error);
        }
    }

    fn take(&mut self) {
        match self.policy.take_transmit() {
            Ok(Some(output)) => {
                assert!(!output.data.is_empty());
                let content = output.data.iter().copied();
                assert!(content.eq((self.arrived..self.arrived + output.data.len()).map(pattern)), "content and order");
                self.arrived += output.data.len();
            }
            Ok(None) => {}
            Err(error) => self.told(&error),
        }
    }

    fn told(&mut self, error: &TransmitError) {
        match error {
            TransmitError::Seal { discarded, .. } | TransmitError::Overrun { discarded, .. } => {
                self.lost += discarded;
                self.failed = true;
                assert!(self.policy.is_write_closed() && self.policy.waiting() == 0);
            }
            _ => {}
        }
    }
}

/// Ignores a decision: these tests look at [`CorkPolicy::wants_transmit`] instead.
fn ignore(_: FlushDecision) {}
