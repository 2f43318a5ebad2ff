//! What the ends of a stream, the wire between them and the watchdog tell one another.

use std::array;
use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::plan::{Fault, Side};

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
    /// Every kind.
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

#[derive(Debug)]
pub(crate) struct Ledger {
    start: Instant,
    ends: [Account; 2],
    /// Bytes that the wire has delivered.
    delivered: AtomicU64,
    happened: AtomicU32,
    flip: OnceLock<Flip>,
    /// When something moved last, in milliseconds since the start.
    moved: AtomicU64,
    /// The time is over: no new data.
    hurry: AtomicBool,
}

/// A bit that the wire has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flip {
    pub(crate) sender: Side,
    /// Wire bytes of the sender before the changed one.
    pub(crate) at: u64,
}

#[derive(Debug)]
struct Account {
    accepted: AtomicU64,
    received: AtomicU64,
    discarded: AtomicU64,
    wire_read: AtomicU64,
    wire_written: AtomicU64,
    /// How many wire bytes there were with `close_notify`.
    wire_end: AtomicU64,
    read_ended: AtomicBool,
    closed: AtomicBool,
    finished: AtomicBool,
    operations: [AtomicU64; Operation::ALL.len()],
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            ends: array::from_fn(|_| Account {
                accepted: AtomicU64::new(0),
                received: AtomicU64::new(0),
                discarded: AtomicU64::new(0),
                wire_read: AtomicU64::new(0),
                wire_written: AtomicU64::new(0),
                wire_end: AtomicU64::new(u64::MAX),
                read_ended: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                finished: AtomicBool::new(false),
                operations: array::from_fn(|_| AtomicU64::new(0)),
            }),
            delivered: AtomicU64::new(0),
            happened: AtomicU32::new(0),
            flip: OnceLock::new(),
            moved: AtomicU64::new(0),
            hurry: AtomicBool::new(false),
        }
    }

    pub(crate) fn accept(&self, side: Side, bytes: usize) {
        self.ends[side as usize].accepted.fetch_add(bytes as u64, Ordering::SeqCst);
        self.move_on(bytes);
    }

    pub(crate) fn receive(&self, side: Side, bytes: usize) {
        self.ends[side as usize].received.fetch_add(bytes as u64, Ordering::SeqCst);
        self.move_on(bytes);
    }

    pub(crate) fn deliver(&self, bytes: usize) {
        self.delivered.fetch_add(bytes as u64, Ordering::SeqCst);
        self.move_on(bytes);
    }

    fn move_on(&self, bytes: usize) {
        if bytes > 0 {
            self.moved.store(self.start.elapsed().as_millis() as u64, Ordering::SeqCst);
        }
    }

    /// Bytes that were accepted of `side` for the other one.
    pub(crate) fn accepted(&self, side: Side) -> u64 {
        self.ends[side as usize].accepted.load(Ordering::SeqCst)
    }

    /// Bytes that `side` has received and found right.
    pub(crate) fn received(&self, side: Side) -> u64 {
        self.ends[side as usize].received.load(Ordering::SeqCst)
    }

    pub(crate) fn discard(&self, side: Side, bytes: usize) {
        self.ends[side as usize].discarded.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    pub(crate) fn discarded(&self, side: Side) -> u64 {
        self.ends[side as usize].discarded.load(Ordering::SeqCst)
    }

    /// `side` has called `close` or `abort`.
    pub(crate) fn set_closed(&self, side: Side) {
        self.ends[side as usize].closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self, side: Side) -> bool {
        self.ends[side as usize].closed.load(Ordering::SeqCst)
    }

    /// `side` has read to the end.
    pub(crate) fn set_read_ended(&self, side: Side) {
        self.ends[side as usize].read_ended.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_read_ended(&self, side: Side) -> bool {
        self.ends[side as usize].read_ended.load(Ordering::SeqCst)
    }

    /// `side` is gone.
    pub(crate) fn set_finished(&self, side: Side) {
        self.ends[side as usize].finished.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_finished(&self, side: Side) -> bool {
        self.ends[side as usize].finished.load(Ordering::SeqCst)
    }

    pub(crate) fn count(&self, side: Side, operation: Operation) {
        self.ends[side as usize].operations[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn operations(&self, operation: Operation) -> u64 {
        self.ends.iter().map(|end| end.operations[operation as usize].load(Ordering::Relaxed)).sum()
    }

    /// To be called before the fault is done, so that nobody sees its effect without it.
    pub(crate) fn happen(&self, fault: Fault) {
        self.happened.fetch_or(1 << fault as u32, Ordering::SeqCst);
    }

    pub(crate) fn has_happened(&self, fault: Fault) -> bool {
        self.happened.load(Ordering::SeqCst) & (1 << fault as u32) != 0
    }

    /// A [`Fault::BitFlip`], with its place.
    pub(crate) fn happen_to(&self, flip: Flip) {
        let first = self.flip.set(flip).is_ok();
        debug_assert!(first, "one fault for each stream");
        self.happen(Fault::BitFlip);
    }

    pub(crate) fn flip(&self) -> Option<Flip> {
        self.flip.get().copied()
    }

    /// `side` has read so many bytes from its socket.
    pub(crate) fn read_wire(&self, side: Side, bytes: usize) {
        self.ends[side as usize].wire_read.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// The socket of `side` has taken so many bytes.
    pub(crate) fn write_wire(&self, side: Side, bytes: usize) {
        self.ends[side as usize].wire_written.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// All that `side` had to send has left, `close_notify` too.
    pub(crate) fn end_wire(&self, side: Side) {
        let end = &self.ends[side as usize];
        end.wire_end.store(end.wire_written.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Whether the changed byte has come to the other end, as something to look at: its `read` has got it, and it is not behind the end of the
    /// stream.
    pub(crate) fn has_read(&self, flip: Flip) -> bool {
        let read = self.ends[flip.sender.other() as usize].wire_read.load(Ordering::SeqCst);
        let end = self.ends[flip.sender as usize].wire_end.load(Ordering::SeqCst);
        read > flip.at && flip.at < end
    }

    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_hurried(&self) -> bool {
        self.hurry.load(Ordering::SeqCst)
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
    pub(crate) sending: Result<(), Told>,
    /// Fine at the proper end of what the other end sent.
    pub(crate) receiving: Result<(), Told>,
    /// It caused the stream's fault itself, and left.
    pub(crate) left: bool,
    pub(crate) stats: tls_cork::Stats,
}

/// An error, as it was told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) kind: io::ErrorKind,
    pub(crate) text: String,
}

impl From<io::Error> for Told {
    fn from(error: io::Error) -> Self {
        Self { kind: error.kind(), text: error.to_string() }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.text, self.kind)
    }
}

/// All that an end has to say.
pub(crate) fn said(report: &EndReport) -> String {
    let told = [("sending", &report.sending), ("receiving", &report.receiving)];
    let told = told.map(|(what, told)| {
        format!("{what} {}", told.as_ref().map_or_else(ToString::to_string, |()| "fine".to_owned()))
    });
    format!("{}{}", told.join(", "), if report.left { ", left" } else { "" })
}

/// What an end's fate is called in the table of faults.
pub(crate) fn fate(report: &EndReport) -> Fate {
    if report.left {
        return Fate::Left;
    }
    // What reading said counts: sending learns less.
    match report.receiving.as_ref().and(report.sending.as_ref()) {
        Ok(()) => Fate::Clean,
        Err(told) => match told.kind {
            io::ErrorKind::ConnectionReset => Fate::Reset,
            io::ErrorKind::BrokenPipe => Fate::BrokenPipe,
            io::ErrorKind::UnexpectedEof => Fate::Truncated,
            io::ErrorKind::InvalidData => Fate::Tls,
            _ => Fate::Other,
        },
    }
}

/// What a fault was to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// All was through already.
    Clean,
    /// It was the one that left.
    Left,
    /// `ConnectionReset`
    Reset,
    /// `BrokenPipe`
    BrokenPipe,
    /// `UnexpectedEof`
    Truncated,
    /// `InvalidData`, with a rustls error
    Tls,
    /// Anything else, which is a failure.
    Other,
}

impl Fate {
    /// Those that are told in the table.
    pub const TOLD: [Self; 6] = [Self::Clean, Self::Left, Self::Reset, Self::BrokenPipe, Self::Truncated, Self::Tls];
}
