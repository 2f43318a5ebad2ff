//! The trait `Seal`: what a policy needs of a TLS session's outbound half.

use std::fmt;
use std::io::{self, IoSlice};

use crate::config::MAX_RECORD_SIZE;
use crate::{SealError, gather};

/// The outbound half of a record protocol: turns plaintext into output, and gives the output to a
/// transport.
///
/// A [`CorkPolicy`](crate::CorkPolicy) gives it one batch at a time, and seals nothing while the
/// last batch waits. An implementation that contradicts this documentation ends the session with
/// [`SealError::Contract`], as far as the policy can detect the contradiction.
pub trait Seal {
    /// Whether keys exist, so that [`seal`](Self::seal) may be called. Not called again after it
    /// has returned true.
    fn is_ready(&self) -> bool;

    /// The largest plaintext of one record, in bytes, over zero. Called once, when the policy is
    /// created.
    fn max_record_size(&self) -> usize;

    /// Seals the concatenation of `plaintext` into records of `record_size` bytes, the last one
    /// possibly shorter, and queues them behind earlier output. Returns the number of records.
    ///
    /// Fewer records than `plaintext` needs mean that the keys are used up, and that no more
    /// records will be made. There is never more than one record for each byte. The output of
    /// records is no shorter than their plaintext.
    ///
    /// # Errors
    ///
    /// Nothing of `plaintext` was sealed, and nothing of it will be.
    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError>;

    /// Whether output waits for the transport. Once true, only [`transmit`](Self::transmit) makes
    /// it false.
    fn has_output(&self) -> bool;

    /// Offers waiting output to `send`. Forgets, and returns, as many bytes as `send` returns.
    /// Called only while there is output; must call `send` exactly once, with at least one byte.
    ///
    /// The flag states whether further output waits behind these slices. The `send` of a policy
    /// never returns more than it was offered: it fails instead.
    ///
    /// # Errors
    ///
    /// Those of `send`, unchanged; nothing was forgotten then.
    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize>;

    /// Queues the end of the stream (`close_notify`, RFC 8446, section 6.1) behind earlier output.
    ///
    /// # Errors
    ///
    /// Nothing of it was queued, so the peer will see that the stream was cut.
    fn close_notify(&mut self) -> Result<(), SealError>;

    /// Whether [`queue_control`](Self::queue_control) might produce output, such as a reply to a
    /// KeyUpdate. False directly after that call.
    fn has_control(&self) -> bool {
        false
    }

    /// Queues control output of the session, such as the reply to a KeyUpdate (RFC 8446, section
    /// 4.6.3).
    ///
    /// Called only when no other output waits: sealing a record has to bring control output along.
    fn queue_control(&mut self) {}
}

/// Passes plaintext through unchanged: for transports without TLS, and for tests.
///
/// Sizes and deadlines work as over TLS. Records are not visible in the output, and a close adds
/// nothing to it.
#[derive(Default)]
pub struct Passthrough {
    output: Vec<u8>,
    sent: usize,
}

impl fmt::Debug for Passthrough {
    /// Omits the plaintext, which does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passthrough").field("waiting", &(self.output.len() - self.sent)).finish()
    }
}

impl Passthrough {
    /// Creates a sealer that is ready at once.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Seal for Passthrough {
    fn is_ready(&self) -> bool {
        true
    }

    fn max_record_size(&self) -> usize {
        MAX_RECORD_SIZE
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        for piece in plaintext {
            self.output.extend_from_slice(piece);
        }
        Ok(gather::total(plaintext).div_ceil(record_size))
    }

    fn has_output(&self) -> bool {
        self.sent < self.output.len()
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        let rest = &self.output[self.sent..];
        let taken = send(&[IoSlice::new(rest)], false)?;
        if taken > rest.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the transport reported more bytes sent than it was offered",
            ));
        }
        self.sent += taken;
        if self.sent == self.output.len() {
            self.output = Vec::new();
            self.sent = 0;
        }
        Ok(taken)
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        Ok(())
    }
}
