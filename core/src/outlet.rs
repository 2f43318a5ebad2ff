//! `Outlet`: a sealer, its output, and the check that the sealer keeps its contract.

use std::io::{self, IoSlice};

use crate::batch::BatchSize;
use crate::gather;
use crate::hold::Batch;
use crate::{Seal, SealError, TransmitError};

/// The most wire bytes of output in a row, unless there is plaintext in it. No handshake comes near
/// this number.
const OUTPUT_MAX: usize = 64 << 20;
/// The most wire bytes for each plaintext byte in output over `OUTPUT_MAX`. No record comes near
/// this number.
const RECORD_OVERHEAD: usize = 512;

#[derive(Debug)]
pub(crate) struct Outlet<S> {
    seal: S,
    batch: BatchSize,
    /// Plaintext bytes of the sealed batch that waits for the transport.
    in_flight: usize,
    /// Wire bytes already transmitted of the output that waits.
    sent_of_output: usize,
    /// Whether the batch in flight is as large as batches may be now.
    whole_batch: bool,
    pushed_back: bool,
    /// Why nothing more may be transmitted; `None` while all is well.
    severed: Option<Severed>,
}

/// Why it is unknown how much of the output the peer has got.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Severed {
    /// The transport reported more bytes than it was offered.
    Overrun { offered: usize, reported: usize },
    /// The sealer broke its contract.
    Seal(&'static str),
}

impl Severed {
    pub(crate) fn error(self, discarded: usize) -> TransmitError {
        match self {
            Self::Overrun { offered, reported } => TransmitError::Overrun { offered, reported, discarded },
            Self::Seal(how) => TransmitError::Seal { error: SealError::Contract(how), discarded },
        }
    }
}

/// Why a send failed.
pub(crate) enum SendFault {
    Io(io::Error),
    Severed(Severed),
}

impl<S: Seal> Outlet<S> {
    pub(crate) fn new(seal: S, batch: BatchSize) -> Self {
        Self { seal, batch, in_flight: 0, sent_of_output: 0, whole_batch: false, pushed_back: false, severed: None }
    }

    #[inline]
    pub(crate) fn batch_size(&self) -> usize {
        self.batch.current()
    }

    #[inline]
    pub(crate) fn severed(&self) -> Option<Severed> {
        self.severed
    }

    /// Whether sealed plaintext waits for the transport.
    #[inline]
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// Whether there is output to offer to the transport.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        self.in_flight > 0 || self.seal.has_output()
    }

    /// Checks that the sealer still has the output of the batch in flight.
    pub(crate) fn check_in_flight(&self) -> Result<(), Severed> {
        if self.seal.has_output() { Ok(()) } else { Err(Severed::Seal("has_output became false without a transmit")) }
    }

    /// Seals `plaintext`, which is all of `batch`. Returns the part of `batch` that was sealed and
    /// the number of records.
    #[inline(always)] // the path of every small write
    pub(crate) fn seal(&mut self, plaintext: &[IoSlice<'_>], batch: Batch) -> Result<(Batch, usize), SealError> {
        let records = self.seal.seal(plaintext, batch.record_size)?;
        if records > batch.len {
            return Err(SealError::Contract("seal returned more records than it was given bytes"));
        }
        let sealed = batch.first(records);
        if sealed.len > 0 && !self.seal.has_output() {
            return Err(SealError::Contract("seal left no output"));
        }
        self.whole_batch = sealed.whole;
        self.in_flight = sealed.len;
        self.sent_of_output = 0;
        self.pushed_back = false;
        Ok((sealed, records))
    }

    /// R14: makes the sealer queue its control output.
    pub(crate) fn queue_control(&mut self) -> Result<(), Severed> {
        self.seal.queue_control();
        if self.seal.has_control() {
            return Err(Severed::Seal("has_control is still true after queue_control"));
        }
        Ok(())
    }

    /// Offers output to `send` once; returns the number of bytes it took, and whether output is left.
    /// `more` states whether further plaintext is released; the sealer adds whether output of its own
    /// waits behind.
    #[inline]
    pub(crate) fn send_once(
        &mut self,
        more: bool,
        send: &mut impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<(usize, bool), SendFault> {
        let (mut seen, mut severed) = (Sent::NotAsked, None);
        let done = self.seal.transmit(&mut |bufs, rest| {
            let result = seen.offer(bufs, &mut severed, |bufs| send(bufs, rest || more));
            if severed.is_some() { Err(io::ErrorKind::InvalidData.into()) } else { result }
        });
        if let Some(why) = severed {
            return Err(SendFault::Severed(why));
        }
        let sent = match (seen, done) {
            (Sent::Took(taken), Ok(sent)) if taken == sent => sent,
            (Sent::Failed(kind), Err(error)) if kind == error.kind() => return Err(SendFault::Io(error)),
            (Sent::NotAsked, _) => return contract("transmit did not call send"),
            _ => return contract("transmit did not return what send did"),
        };
        self.sent_of_output += sent;
        let rest = self.seal.has_output();
        if !rest {
            if self.sent_of_output < self.in_flight {
                return contract("the output was shorter than its plaintext");
            }
            if self.whole_batch && !self.pushed_back {
                self.batch.taken_whole();
            }
            self.whole_batch = false;
            self.in_flight = 0;
            self.sent_of_output = 0;
        } else if self.sent_of_output > OUTPUT_MAX && self.sent_of_output / RECORD_OVERHEAD > self.in_flight {
            return contract("transmit produced output without end");
        }
        Ok((sent, rest))
    }

    /// Records that the transport takes no more for now.
    #[inline]
    pub(crate) fn pushed_back(&mut self) {
        self.pushed_back = true;
        self.batch.pushed_back();
    }

    /// Offers nothing more from now on. Returns the plaintext bytes in flight, of which an unknown
    /// part has arrived.
    pub(crate) fn sever(&mut self, why: Severed) -> usize {
        self.severed = Some(why);
        std::mem::take(&mut self.in_flight)
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.seal
    }

    pub(crate) fn get_mut(&mut self) -> &mut S {
        &mut self.seal
    }
}

#[cold]
fn contract(how: &'static str) -> Result<(usize, bool), SendFault> {
    Err(SendFault::Severed(Severed::Seal(how)))
}

/// The outcome of the one `send` that a sealer makes in a transmit.
#[derive(Clone, Copy)]
enum Sent {
    NotAsked,
    Took(usize),
    Failed(io::ErrorKind),
}

impl Sent {
    /// Calls `send` and records the outcome. Refuses a second call in one transmit, and an empty
    /// offer.
    #[inline]
    fn offer(
        &mut self,
        bufs: &[IoSlice<'_>],
        severed: &mut Option<Severed>,
        send: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let offered = gather::total(bufs);
        if !matches!(self, Self::NotAsked) || offered == 0 {
            *severed = Some(Severed::Seal("transmit called send more than once, or without data"));
            return Ok(0);
        }
        let result = send(bufs);
        *self = match &result {
            Ok(taken) => Self::Took(*taken),
            Err(error) => Self::Failed(error.kind()),
        };
        if let Ok(reported) = result
            && reported > offered
        {
            *severed = Some(Severed::Overrun { offered, reported });
        }
        result
    }
}
