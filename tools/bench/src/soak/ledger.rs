//! What the ends of a stream, the wire between them and the watchdog share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::plan::{FaultPlan, Side};

/// The kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `send`
    Send,
    /// `send_vectored`
    SendVectored,
    /// `send_bytes`
    SendBytes,
    /// The traits' `write` and `write_vectored`.
    Write,
    /// `cork` and `uncork`.
    Cork,
    /// `flush`
    Flush,
    /// `close`
    Close,
    /// `read`
    Read,
    /// A pause in sending, in which deadlines come.
    Pause,
    /// Waiting until the other end has all that was sent so far, without a flush.
    AwaitPeer,
    /// Any of the above that could not go on at once; with async-std its future was dropped.
    Blocked,
    /// A pause in reading.
    Stall,
}

impl Operation {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Send,
        Self::SendVectored,
        Self::SendBytes,
        Self::Write,
        Self::Cork,
        Self::Flush,
        Self::Close,
        Self::Read,
        Self::Pause,
        Self::AwaitPeer,
        Self::Blocked,
        Self::Stall,
    ];
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// False until it is set.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// One end of a stream.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Bytes that the stream has accepted.
    pub(crate) accepted: Count,
    /// Bytes received and found right.
    pub(crate) received: Count,
    /// Accepted bytes that an abort gave up.
    pub(crate) discarded: Count,
    /// It has read to the end.
    pub(crate) read_ended: Flag,
    /// It has called `close` or `abort`.
    pub(crate) closed: Flag,
    /// It is gone.
    pub(crate) finished: Flag,
    operations: [Count; Operation::ALL.len()],
}

impl Account {
    pub(crate) fn count(&self, operation: Operation) {
        self.operations[operation as usize].add(1);
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    start: Instant,
    ends: [Account; 2],
    fault: OnceLock<FaultPlan>,
    /// When bytes moved last, in milliseconds since the start.
    moved: AtomicU64,
    /// The time is over: no new data.
    pub(crate) hurry: Flag,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            ends: Default::default(),
            fault: OnceLock::new(),
            moved: AtomicU64::new(0),
            hurry: Flag::default(),
        }
    }

    pub(crate) fn end(&self, side: Side) -> &Account {
        &self.ends[side as usize]
    }

    pub(crate) fn accept(&self, side: Side, bytes: usize) {
        self.end(side).accepted.add(bytes);
        self.note_movement();
    }

    pub(crate) fn receive(&self, side: Side, bytes: usize) {
        self.end(side).received.add(bytes);
        self.note_movement();
    }

    /// Bytes have moved.
    pub(crate) fn note_movement(&self) {
        self.moved.store(self.start.elapsed().as_millis() as u64, Ordering::SeqCst);
    }

    pub(crate) fn operations(&self, operation: Operation) -> u64 {
        self.ends.iter().map(|end| end.operations[operation as usize].get()).sum()
    }

    /// Records the stream's only fault, with its exact place. To be called before the fault takes
    /// effect, so that nobody sees the effect without it.
    pub(crate) fn happen(&self, fault: FaultPlan) {
        let first = self.fault.set(fault).is_ok();
        debug_assert!(first, "one fault for each stream");
    }

    pub(crate) fn fault(&self) -> Option<FaultPlan> {
        self.fault.get().copied()
    }

    /// How long the stream has run.
    pub(crate) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// How long nothing has moved.
    pub(crate) fn idle(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.moved.load(Ordering::SeqCst)))
    }
}
