//! What a policy needs of a TLS session's outbound half.

use std::fmt;
use std::io::{self, IoSlice};

use crate::config::MAX_RECORD_SIZE;
use crate::{SealError, gather};

/// The outbound half of a record protocol: turns plaintext into output and hands the output to a transport.
///
/// A [`CorkPolicy`](crate::CorkPolicy) asks for one batch at a time and seals nothing while the
/// last one still waits. An answer that contradicts this documentation ends the session with
/// [`SealError::Contract`], as far as the policy can see it.
pub trait Seal {
    /// Whether keys exist, so that [`seal`](Self::seal) may be called. Asked no more once it was
    /// true.
    fn is_ready(&self) -> bool;

    /// Largest plaintext of one record, in bytes, over zero. Asked once, when the policy is made.
    fn max_record_size(&self) -> usize;

    /// Seals the concatenation of `plaintext` into records of `record_size` bytes, the last one
    /// possibly shorter, and queues them behind earlier output. Returns how many records that made:
    /// fewer than `plaintext` needs if the keys are used up, and then no more will be made; never
    /// more than one for each byte. Their output is no shorter than their plaintext.
    ///
    /// # Errors
    ///
    /// Nothing of `plaintext` was sealed, and never will be.
    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError>;

    /// Whether output waits for the transport. Once true, only [`transmit`](Self::transmit) makes
    /// it false.
    fn has_output(&self) -> bool;

    /// Offers waiting output to `send`, and forgets and returns as many bytes as it returns. Called
    /// while there is output; calls `send` once, with at least one byte.
    ///
    /// The flag says whether further output waits behind these slices. A policy's `send` never
    /// returns more than it was offered: it fails then.
    ///
    /// # Errors
    ///
    /// Those of `send`, unchanged; nothing was forgotten then.
    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize>;

    /// Queues the end of the stream (`close_notify`, RFC 8446, section 6.1) behind earlier output.
    fn close_notify(&mut self);

    /// Whether [`queue_control`](Self::queue_control) might produce output, such as a reply to a
    /// KeyUpdate. False right behind that call.
    fn has_control(&self) -> bool {
        false
    }

    /// Queues what the session has to say of its own accord, such as the answer to a KeyUpdate.
    ///
    /// Called only when nothing else waits: any record sealed brings it along.
    fn queue_control(&mut self) {}
}

/// Passes plaintext through as it is: for transports without TLS, and for tests.
///
/// Sizes and deadlines work as over TLS; records are not visible in the output, and closing adds nothing to it.
#[derive(Default)]
pub struct Passthrough {
    output: Vec<u8>,
    sent: usize,
}

impl fmt::Debug for Passthrough {
    /// Plaintext does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passthrough").field("waiting", &(self.output.len() - self.sent)).finish()
    }
}

impl Passthrough {
    /// A sealer that is ready at once.
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
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes taken than offered"));
        }
        self.sent += taken;
        if self.sent == self.output.len() {
            self.output = Vec::new();
            self.sent = 0;
        }
        Ok(taken)
    }

    fn close_notify(&mut self) {}
}
