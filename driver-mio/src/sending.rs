//! Sending: writes with flags, transmits, flushes and the close.

use std::io::{self, IoSlice, Write};
use std::time::Instant;

use bytes::Bytes;
use tls_cork::{Connection, SendFlags, TransmitError, WriteError, Written};

use crate::Transport;
use crate::stream::{CALL_LIMIT, TlsStream};

impl<T: Transport> TlsStream<T> {
    /// Sends `data` as send(2) does: without [`SendFlags::MORE`] the data leaves in the call, as
    /// far as the transport takes it (R2, R3). Empty data without `MORE` releases held bytes.
    ///
    /// Returns the number of bytes accepted, from the front of `data`: all of them, unless the
    /// transport pushes back or they are more than about 256 KiB, the share of one call (R16).
    ///
    /// After a short count, send the rest with the same flags, until all is accepted or
    /// `WouldBlock` comes. A short count does not mean that the transport is full, and no event may
    /// follow. A loop that serves other streams first sends the rest in its next turn, for which
    /// [`before_poll`](Self::before_poll) returns zero.
    ///
    /// # Errors
    ///
    /// - `WouldBlock`: no byte could be accepted.
    /// - `BrokenPipe`: after a close, an abort or a fatal error.
    /// - `InvalidData`: the session's keys are used up; accepted bytes that were not sealed are
    ///   lost.
    /// - Those of the transport. If the failing call has accepted bytes, the next call that sends
    ///   returns the error.
    #[inline]
    pub fn send(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        if self.failure.is_none() && self.connection.join_held(data, flags) {
            return Ok(data.len());
        }
        self.send_event(data, flags)
    }

    /// A send that does not join the held tail.
    #[inline(never)]
    fn send_event(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        self.send_parts(data.len(), |connection, now, done| {
            connection.write(now, &[IoSlice::new(&data[done..])], flags)
        })
    }

    /// As [`send`](Self::send), from several slices that make one write (R4).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        let (now_part, behind) = bufs.split_at(slices_of(bufs, CALL_LIMIT));
        let cut = behind.iter().any(|buf| !buf.is_empty());
        let flags = if cut { flags | SendFlags::MORE } else { flags };
        let offered = now_part.iter().map(|buf| buf.len()).sum();
        let (mut rest, mut first, mut passed) = (Vec::new(), 0, 0);
        let accepted = self.send_parts(offered, |connection, now, done| {
            if done == 0 {
                return connection.write(now, now_part, flags);
            }
            if rest.is_empty() {
                rest = now_part.to_vec();
            }
            let mut ahead = &mut rest[first..];
            let slices = ahead.len();
            IoSlice::advance_slices(&mut ahead, done - passed);
            (first, passed) = (first + slices - ahead.len(), done);
            connection.write(now, ahead, flags)
        })?;
        self.cut_short |= cut && accepted == offered && self.writable;
        Ok(accepted)
    }

    /// As [`send`](Self::send), for owned bytes; more than 1 KiB is kept without a copy.
    ///
    /// Accepted bytes are split off the front of `data`, and their number is returned. Send the
    /// rest again, or use [`send_all_bytes`](Self::send_all_bytes). Shared bytes keep their whole
    /// allocation alive until they are sealed.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<usize> {
        self.send_parts(data.len(), |connection, now, _done| connection.write_bytes(now, data, flags))
    }

    /// As [`send_bytes`](Self::send_bytes), repeated until all of `data` is accepted.
    ///
    /// One call accepts about 256 KiB (R16). After `WouldBlock`, call again with the rest, which is
    /// still in `data`, and the same flags: after the next event, or in the next turn of the loop
    /// if [`before_poll`](Self::before_poll) returns zero. No such call exists for a slice, because
    /// `WouldBlock` cannot carry the number of bytes accepted.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs"));
    /// use std::collections::VecDeque;
    /// use std::io::{self, ErrorKind};
    ///
    /// use bytes::Bytes;
    /// use tls_cork_mio::SendFlags;
    ///
    /// /// Sends the pieces in `queue`, after each event of the stream.
    /// fn send_queued(
    ///     stream: &mut TlsStream,
    ///     queue: &mut VecDeque<(Bytes, SendFlags)>,
    /// ) -> io::Result<()> {
    ///     while let Some((piece, flags)) = queue.front_mut() {
    ///         match stream.send_all_bytes(piece, *flags) {
    ///             Ok(()) => drop(queue.pop_front()),
    ///             // `piece` is the rest.
    ///             Err(error) if error.kind() == ErrorKind::WouldBlock => break,
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # fn main() -> io::Result<()> {
    /// # let (mut poll, mut client, mut server) = connected()?;
    /// # let piece = |len| Bytes::from(vec![7; len]);
    /// # let (header, body) = ((piece(7), SendFlags::MORE), (piece(1 << 20), SendFlags::NONE));
    /// # let mut queue = VecDeque::from([header, body]);
    /// # let (mut left, mut buf) = (7 + (1 << 20), [0; 4096]);
    /// # while left > 0 {
    /// #     send_queued(&mut client, &mut queue)?;
    /// #     turn(&mut poll, &mut client, &mut server)?;
    /// #     while let Ok(n) = io::Read::read(&mut server, &mut buf) {
    /// #         left -= n;
    /// #     }
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), but `WouldBlock` if not all of `data` could be accepted.
    pub fn send_all_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<()> {
        let mut accepted = 0;
        loop {
            let step = self.send_bytes(data, flags)?;
            if data.is_empty() {
                return Ok(());
            }
            accepted += step;
            if step == 0 || accepted >= CALL_LIMIT {
                self.cut_short = self.writable;
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Holds the tail of every write until [`uncork`](Self::uncork) (R10). Limits and the deadline
    /// stay in force.
    pub fn cork(&mut self) {
        self.connection.cork(Instant::now());
    }

    /// Ends [`cork`](Self::cork), releases everything and transmits (R10). Never blocks.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS. `BrokenPipe` if a failure that another call returned has
    /// discarded accepted bytes.
    pub fn uncork(&mut self) -> io::Result<()> {
        self.take_failure()?;
        let _ = self.connection.uncork(Instant::now());
        self.transmit_and_check()
    }

    /// Releases everything, puts `close_notify` behind the last byte, transmits, and refuses
    /// further writes (R11). Reading goes on.
    ///
    /// The close is complete when [`is_finished`](Self::is_finished) is true; until then, continue
    /// with events. The transport has then taken everything. The peer may still not receive it: end
    /// a stream with [`close_gracefully`](Self::close_gracefully), which waits for the peer.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS. `BrokenPipe` if a failure that another call returned has
    /// discarded accepted bytes.
    pub fn close(&mut self) -> io::Result<()> {
        let earlier = self.take_failure();
        let _ = self.connection.close(Instant::now());
        earlier?;
        self.transmit_and_check()
    }

    /// Refreshes the keys of a TLS 1.3 session ([`Connection::refresh_traffic_keys`]) and
    /// transmits.
    ///
    /// # Errors
    ///
    /// `NotConnected` during the handshake, `Unsupported` with TLS 1.2, `BrokenPipe` after a close
    /// or a failure. An error of the transport is returned by the next call that sends.
    pub fn refresh_traffic_keys(&mut self) -> io::Result<()> {
        self.take_failure()?;
        self.connection.refresh_traffic_keys()?;
        self.transmit_or_keep()?;
        Ok(())
    }

    /// Discards all plaintext that is not sealed, refuses further writes, and transmits sealed
    /// records as far as the transport takes them (R11). Returns the number of accepted bytes
    /// discarded.
    ///
    /// A `close_notify` follows only if no byte was discarded: without one, the peer sees that the
    /// stream was cut.
    ///
    /// # Errors
    ///
    /// Those of the transport.
    pub fn abort(&mut self) -> io::Result<usize> {
        let discarded = self.connection.abort();
        self.transmit()?;
        Ok(discarded)
    }

    /// Writes until all is accepted, the transport pushes back, or the call's share is used up
    /// (R16).
    fn send_parts(
        &mut self,
        offered: usize,
        mut write: impl FnMut(&mut Connection, Instant, usize) -> Result<Written, WriteError>,
    ) -> io::Result<usize> {
        self.take_failure()?;
        self.cut_short = false;
        let mut done = 0;
        loop {
            let now = Instant::now();
            match write(&mut self.connection, now, done) {
                Ok(written) => {
                    done += written.accepted;
                    let due = self.connection.handle_timeout(now).is_flush();
                    if written.decision.is_flush() || due || done < offered {
                        if done == 0 {
                            self.transmit()?;
                        } else {
                            // Bytes were accepted: an error of the transport belongs to the next
                            // call.
                            self.transmit_or_keep()?;
                        }
                    }
                    if done == offered || written.accepted == 0 || self.failure.is_some() {
                        return Ok(done);
                    }
                    if done >= CALL_LIMIT {
                        self.cut_short = self.writable;
                        return Ok(done);
                    }
                }
                Err(WriteError::Failed) if done == 0 => {
                    // Returns the cause, unless an earlier call has returned it.
                    self.transmit()?;
                    return Err(WriteError::Failed.into());
                }
                Err(_) if done > 0 => return Ok(done),
                Err(WriteError::Blocked) if self.writable => {
                    self.transmit()?;
                    if self.connection.send_capacity() == 0 {
                        return Err(WriteError::Blocked.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
            if !self.writable && self.connection.wants_transmit() && done > 0 {
                return Ok(done);
            }
        }
    }

    /// Transmits at most one call's share (R16). `before_poll` returns zero while more can leave.
    pub(crate) fn transmit(&mut self) -> Result<(), TransmitError> {
        if !self.writable || !self.connection.wants_transmit() {
            return Ok(());
        }
        let transport = &mut self.transport;
        match self.connection.transmit_up_to(CALL_LIMIT, |bufs, more| transport.send(bufs, more)) {
            Ok(sent) => {
                self.writable = !sent.blocked;
                Ok(())
            }
            // A connect(2) that is still in progress.
            Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::NotConnected => {
                self.writable = false;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns an error if a failure that another call returned has discarded accepted bytes.
    pub(crate) fn check_lost_bytes(&self) -> io::Result<()> {
        if self.connection.lost_bytes() > 0 { Err(WriteError::Failed.into()) } else { Ok(()) }
    }

    fn transmit_and_check(&mut self) -> io::Result<()> {
        self.transmit()?;
        self.check_lost_bytes()
    }

    /// Transmits, and keeps an error of the transport for the next call that sends.
    pub(crate) fn transmit_or_keep(&mut self) -> Result<(), TransmitError> {
        if self.failure.is_some() {
            return Ok(());
        }
        match self.transmit() {
            Err(error @ (TransmitError::Seal { .. } | TransmitError::Overrun { .. })) => Err(error),
            Err(error) => {
                self.failure = Some(error.into());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    pub(crate) fn take_failure(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Returns the kept error of a send in place of an unexpected end: a refused or reset
    /// connection reports its cause once, and here a send has received it.
    pub(crate) fn cause(&mut self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::UnexpectedEof { self.failure.take().unwrap_or(error) } else { error }
    }
}

/// The number of `bufs` that make at least `len` bytes, or of all `bufs` if they are shorter.
fn slices_of(bufs: &[IoSlice<'_>], len: usize) -> usize {
    let mut sum = 0;
    let last = bufs.iter().position(|buf| {
        sum += buf.len();
        sum >= len
    });
    last.map_or(bufs.len(), |last| last + 1)
}

impl<T: Transport> Write for TlsStream<T> {
    /// [`send`](TlsStream::send) without flags.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.send(buf, SendFlags::NONE)
    }

    /// [`send_vectored`](TlsStream::send_vectored) without flags.
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(bufs, SendFlags::NONE)
    }

    /// Releases everything and transmits (R10). `WouldBlock` while the transport has not taken all
    /// of it, and during the handshake if data was written.
    fn flush(&mut self) -> io::Result<()> {
        self.take_failure()?;
        let _ = self.connection.flush(Instant::now());
        self.transmit_and_check()?;
        if self.connection.wants_transmit() || self.connection.waiting() > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }
}
