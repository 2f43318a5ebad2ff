//! How output leaves: the transmits of a `CorkPolicy`, and what makes output ready for them.

use std::io::{self, IoSlice};

use super::{CorkPolicy, State};
use crate::outlet::SendFault;
use crate::{Output, Seal, TransmitError, Transmitted, gather};

/// Output, in the three forms that loops need.
impl<S: Seal> CorkPolicy<S> {
    /// Offers output to `send` until nothing is left or it returns `WouldBlock`.
    ///
    /// `send` gets slices of encrypted output, not copied, and whether further bytes are already waiting behind them (`MSG_MORE`);
    /// it returns how many bytes the transport took. `Interrupted` is tried again.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Io`] and [`TransmitError::WriteZero`] leave everything waiting.
    /// [`TransmitError::Seal`] is final: the plaintext that waited is discarded, and counted; an
    /// alert may still wait to be transmitted. [`TransmitError::Overrun`] is final too, nothing
    /// more is offered, and further calls return it again.
    pub fn transmit_with(
        &mut self,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        self.transmit_up_to(usize::MAX, send)
    }

    /// As [`transmit_with`](Self::transmit_with), but starts no further send after `limit` wire bytes.
    ///
    /// For drivers that must not be kept busy by one stream, however much waits in it. If the result is not `blocked` and
    /// [`wants_transmit`](Self::wants_transmit) still holds, the limit was reached: call again in the next turn, without waiting for the
    /// transport.
    ///
    /// # Errors
    ///
    /// As [`transmit_with`](Self::transmit_with).
    pub fn transmit_up_to(
        &mut self,
        limit: usize,
        mut send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        let mut bytes = 0;
        loop {
            if bytes >= limit {
                return Ok(Transmitted { bytes, blocked: false });
            }
            self.prepare()?;
            if !self.outlet.has_output() {
                return Ok(Transmitted { bytes, blocked: false });
            }
            match self.send_once(&mut send) {
                Ok(0) => return Err(TransmitError::WriteZero),
                Ok(n) => bytes += n,
                Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outlet.pushed_back();
                    return Ok(Transmitted { bytes, blocked: true });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends all output that can leave now to `out`; returns how many bytes that was. For tests, simulators and memory transports.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`], as [`transmit_with`](Self::transmit_with).
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Result<usize, TransmitError> {
        let done = self.transmit_with(|bufs, _more| {
            bufs.iter().for_each(|buf| out.extend_from_slice(buf));
            Ok(gather::total(bufs))
        })?;
        Ok(done.bytes)
    }

    /// Takes one batch of output as an owned buffer, for loops whose sends own their buffers until they complete.
    ///
    /// `None` if nothing can leave now. Take the next when this one has been sent: plaintext that waits meanwhile shares records.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`], as [`transmit_with`](Self::transmit_with).
    pub fn take_transmit(&mut self) -> Result<Option<Output>, TransmitError> {
        self.prepare()?;
        if !self.outlet.has_output() {
            return Ok(None);
        }
        let mut data = self.spare.take();
        let earlier = self.stats.transmits;
        loop {
            let sent = self.send_once(&mut |bufs, _more| {
                data.reserve(gather::total(bufs));
                bufs.iter().for_each(|buf| data.extend_from_slice(buf));
                Ok(gather::total(bufs))
            });
            match sent {
                Ok(_) if self.outlet.has_output() => {}
                Ok(_) => break,
                Err(error) if data.is_empty() => return Err(error),
                // What was taken before it is the caller's.
                Err(error) => {
                    self.deferred = Some(error);
                    break;
                }
            }
        }
        self.stats.transmits = earlier + 1; // one send, however often the sealer was asked
        Ok(Some(Output { data: self.spare.freeze(data), more: self.hold.unsealed() > 0 }))
    }

    /// Has output ready if anything may leave: a batch, the end of the stream, or what the session itself has to say.
    fn prepare(&mut self) -> Result<(), TransmitError> {
        if let Some(error) = self.deferred.take() {
            return Err(error);
        }
        if let Some(severed) = self.outlet.severed() {
            return Err(severed.error(0));
        }
        if self.outlet.is_in_flight() {
            return self.outlet.check_in_flight().map_err(|why| self.sever(why));
        }
        if !self.hold.is_ready() {
            return Ok(());
        }
        if self.hold.unsealed() > 0 {
            self.seal_queued()?;
        }
        if self.state == State::Closing && self.hold.waiting() == 0 {
            self.outlet.get_mut().close_notify();
            self.state = State::Closed;
        }
        if !self.outlet.has_output() && self.has_control() {
            self.outlet.queue_control().map_err(|why| self.sever(why))?;
        }
        Ok(())
    }

    fn seal_queued(&mut self) -> Result<(), TransmitError> {
        let batch = self.hold.next_batch(self.outlet.batch_size());
        self.seal_batch(batch, &[]).map_err(|(_, error)| self.seal_failed(error))
    }

    fn send_once(
        &mut self,
        send: &mut impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<usize, TransmitError> {
        // R8: the kernel may wait for more exactly if more is already waiting here; held bytes do not count.
        match self.outlet.send_once(self.hold.unsealed() > 0, send) {
            Ok(sent) => {
                self.stats.count_sent(sent);
                Ok(sent)
            }
            Err(SendFault::Io(error)) => Err(TransmitError::Io(error)),
            Err(SendFault::Severed(why)) => Err(self.sever(why)),
        }
    }
}
