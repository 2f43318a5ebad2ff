//! What the ends of a stream, the wire between them and the watchdog share.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tls_cork::Stats;

use super::plan::{FaultPlan, Side};

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
    /// Calls of its stream, pauses and waits.
    pub(crate) operations: Count,
    /// Of these, the ones in sending that could not go on at once.
    pub(crate) blocked: Count,
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

/// How an end's stream ended.
#[derive(Debug)]
pub(crate) struct EndReport {
    pub(crate) sending: io::Result<()>,
    /// Fine at the proper end of what the other end sent.
    pub(crate) receiving: io::Result<()>,
    /// This end caused the stream's fault itself, and left.
    pub(crate) left: bool,
    pub(crate) stats: Stats,
}
