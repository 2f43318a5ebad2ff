//! The transmits of a `CorkPolicy`: how output is made ready and how it leaves.

use std::io::{self, IoSlice};

use super::{CorkPolicy, State};
use crate::outlet::SendFault;
use crate::{Output, Seal, TransmitError, Transmitted, gather};

/// Output, in the three forms that event loops need.
impl<S: Seal> CorkPolicy<S> {
    /// Offers output to `send` until nothing may leave any more, or `send` returns `WouldBlock`.
    ///
    /// `send` gets slices of encrypted output, which are not copied, and whether further output
    /// waits behind them (`MSG_MORE` of send(2)). It returns the number of bytes that the transport
    /// took. A `send` that returns `Interrupted` is repeated.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Io`] and [`TransmitError::WriteZero`] lose nothing: all output still waits.
    /// [`TransmitError::Seal`] is final; its `discarded` counts the plaintext bytes lost. An alert
    /// may still wait; transmit once more. [`TransmitError::Overrun`] and
    /// [`SealError::Contract`](crate::SealError::Contract) are final too: nothing more is offered,
    /// and further calls return the error again.
    pub fn transmit_with(
        &mut self,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        self.transmit_up_to(usize::MAX, send)
    }

    /// Same as [`transmit_with`](Self::transmit_with), but starts no further send after `limit`
    /// wire bytes (R16).
    ///
    /// For drivers that must not stay busy with one stream. The limit was reached if the result is
    /// not `blocked` and [`wants_transmit`](Self::wants_transmit) is still true: call again in the
    /// next turn, without waiting for the transport.
    ///
    /// # Errors
    ///
    /// Those of [`transmit_with`](Self::transmit_with).
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
                Ok((0, _)) => return Err(TransmitError::WriteZero),
                Ok((n, rest)) => {
                    bytes += n;
                    if !rest && !self.can_make_output() {
                        return Ok(Transmitted { bytes, blocked: false });
                    }
                }
                Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outlet.pushed_back();
                    return Ok(Transmitted { bytes, blocked: true });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends all output that may leave now to `out`; returns the number of bytes appended. For
    /// tests, simulators and transports in memory.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`] and [`TransmitError::Overrun`], as
    /// [`transmit_with`](Self::transmit_with).
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Result<usize, TransmitError> {
        let done = self.transmit_with(|bufs, _more| {
            bufs.iter().for_each(|buf| out.extend_from_slice(buf));
            Ok(gather::total(bufs))
        })?;
        Ok(done.bytes)
    }

    /// Takes one batch of output as an owned buffer, for completion-based loops, whose sends own
    /// their buffers.
    ///
    /// Returns `None` if nothing may leave now. Take the next buffer when this one has been sent:
    /// plaintext written meanwhile shares records.
    ///
    /// # Errors
    ///
    /// [`TransmitError::Seal`] and [`TransmitError::Overrun`], as
    /// [`transmit_with`](Self::transmit_with).
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
                Ok((_, true)) => {}
                Ok(_) => break,
                Err(error) if data.is_empty() => return Err(error),
                // The caller gets the bytes taken before the error; the next transmit returns the
                // error.
                Err(error) => {
                    self.deferred = Some(error);
                    break;
                }
            }
        }
        self.stats.transmits = earlier + 1; // counts as one send
        Ok(Some(Output { data: self.spare.freeze(data), more: self.hold.unsealed() > 0 }))
    }

    /// R7: makes output ready if anything may leave: a batch, the end of the stream (R11), or
    /// control output of the session (R14).
    #[inline(always)] // the path of every small write
    fn prepare(&mut self) -> Result<(), TransmitError> {
        if self.deferred.is_some() || self.outlet.severed().is_some() {
            return self.earlier_error();
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
            self.state = State::Closed;
            self.outlet.get_mut().close_notify().map_err(|error| self.seal_failed(error))?;
        }
        if !self.outlet.has_output() && self.has_control() {
            self.outlet.queue_control().map_err(|why| self.sever(why))?;
        }
        Ok(())
    }

    #[cold]
    fn earlier_error(&mut self) -> Result<(), TransmitError> {
        let severed = self.outlet.severed().map(|severed| severed.error(0));
        self.deferred.take().or(severed).map_or(Ok(()), Err)
    }

    #[inline(always)]
    fn seal_queued(&mut self) -> Result<(), TransmitError> {
        let batch = self.hold.next_batch(self.outlet.batch_size());
        self.seal_batch(batch, &[]).map_err(|(_, error)| self.seal_failed(error))
    }

    /// Returns the number of bytes that left, and whether output waits behind them.
    #[inline]
    fn send_once(
        &mut self,
        send: &mut impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<(usize, bool), TransmitError> {
        // R8: `more` is set exactly if released or sealed bytes wait behind; held bytes do not
        // count.
        match self.outlet.send_once(self.hold.unsealed() > 0, send) {
            Ok((sent, rest)) => {
                self.stats.count_sent(sent);
                Ok((sent, rest))
            }
            Err(SendFault::Io(error)) => Err(TransmitError::Io(error)),
            Err(SendFault::Severed(why)) => Err(self.sever(why)),
        }
    }
}
