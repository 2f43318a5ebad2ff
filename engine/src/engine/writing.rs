//! Writes, and the transmits that follow them.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tls_cork::{SendFlags, TransmitError, WriteError};

use super::{CALL_LIMIT, Engine};
use crate::slices::Rest;
use crate::wakers::{self, Role};
use crate::{Session, Timer, Transport};

/// R7: the most bytes that a write for `AsyncWrite` gives to the session at a time. Plain drivers
/// of rustls have the same step, by rustls's default buffer limit.
const PLAIN_STEP: usize = 64 * 1024;
/// R7: the same while the transport flows: the largest batch of the default configuration.
const FLOWING_STEP: usize = 96 * 1024;
/// R7: the transport flows if it has taken so many bytes since it last pushed back.
const FLOWING: usize = CALL_LIMIT;
/// So many readings of the clock, for pieces that join held ones, cost about as much as a timer.
const CLOCK_READINGS: u8 = 15;
/// R7: the most slices of a vectored write that may leave in the larger step.
const FEW_SLICES: usize = 64;

impl<IO: Transport, S: Session, T: Timer> Engine<IO, S, T> {
    /// Writes `data` as send(2) does: without [`SendFlags::MORE`] the data leaves in the call, as
    /// far as the transport takes it (R2, R3).
    ///
    /// Returns the number of bytes accepted, from the front of `data`: all of them, unless the
    /// transport pushes back or they are more than about 256 KiB (R16). `Pending` if no byte can be
    /// accepted, or if one poll's share must leave before the write.
    ///
    /// # Errors
    ///
    /// `BrokenPipe` after a close or a fatal error, `InvalidData` if the session cannot seal;
    /// otherwise those of the transport. An error of the transport after bytes have been accepted
    /// is returned by the next call.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        if self.join(cx, data, flags) {
            return Poll::Ready(Ok(data.len()));
        }
        self.poll_send_event(cx, data, flags)
    }

    /// Fast path of [`poll_send`](Self::poll_send): writes `data` if that only extends the held tail.
    /// Otherwise returns false and writes nothing.
    #[inline]
    pub fn join(&mut self, cx: &Context<'_>, data: &[u8], flags: SendFlags) -> bool {
        let joins = flags.contains(SendFlags::MORE) && self.join_held(data);
        if joins {
            self.set_holder(cx);
        }
        joins
    }

    #[inline]
    fn join_held(&mut self, data: &[u8]) -> bool {
        let joins = self.failure.is_none() && self.is_in_time() && self.session.join_held(data, SendFlags::MORE);
        if joins {
            self.reads_only = false;
        }
        joins
    }

    /// A send that does not join the held tail.
    #[inline(never)]
    fn poll_send_event(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, |session, now, done| {
            let accepted = session.write(now, &[IoSlice::new(&data[done..])], flags)?;
            Ok((accepted, done + accepted == data.len()))
        })
    }

    /// As [`poll_send`](Self::poll_send), from several slices that make one write (R4).
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_send_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, bufs, flags, CALL_LIMIT)
    }

    /// As [`poll_send`](Self::poll_send) without flags, for `AsyncWrite`: while the transport
    /// pushes back and bytes wait, nothing is accepted.
    ///
    /// This is the exception of R7. A program on `AsyncWrite`, such as `io::copy`, may not poll the
    /// stream while it has nothing to write: accepted bytes that the transport has not taken would
    /// then stay. Plain drivers of rustls accept up to 64 KiB there.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if !data.is_empty() {
            ready!(self.poll_nothing_waits(cx))?;
        }
        let step = self.plain_step();
        self.poll_write_parts(cx, |session, now, done| {
            let step = &data[done..data.len().min(done + step)];
            let rest_follows = done + step.len() < data.len();
            let accepted = session.write(now, &[IoSlice::new(step)], SendFlags::more_if(rest_follows))?;
            Ok((accepted, done + accepted == data.len()))
        })
    }

    /// As [`poll_write`](Self::poll_write), from several slices.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_write_vectored(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if bufs.iter().any(|buf| !buf.is_empty()) {
            ready!(self.poll_nothing_waits(cx))?;
        }
        // The list of a batch's slices grows by doubling: a larger batch of many slices costs more
        // for each of them.
        let step = if bufs.len() > FEW_SLICES { PLAIN_STEP } else { self.plain_step() };
        self.poll_write_slices(cx, bufs, SendFlags::NONE, step)
    }

    fn plain_step(&self) -> usize {
        if self.flow >= FLOWING { FLOWING_STEP } else { PLAIN_STEP }
    }

    /// Ready when the transport has taken all output (R7).
    fn poll_nothing_waits(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.take_failure()?;
        // After a close or a failure, the write itself returns the error.
        if !self.session.is_write_closed() && self.transmit(cx, Role::Writer)? {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes `bufs`, at most `step` bytes at a time.
    fn poll_write_slices(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        flags: SendFlags,
        step: usize,
    ) -> Poll<io::Result<usize>> {
        let mut rest = Rest::new(bufs);
        let mut before = 0;
        self.poll_write_parts(cx, |session, now, done| {
            rest.advance(done - before);
            before = done;
            let (part, len, all) = rest.part(step);
            let flags = if all { flags } else { flags | SendFlags::MORE };
            let accepted = session.write(now, part, flags)?;
            Ok((accepted, all && accepted == len))
        })
    }

    /// As [`poll_send`](Self::poll_send), for owned bytes: accepted bytes are split off the front
    /// of `data`.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_send_bytes(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, |session, now, _done| {
            let accepted = session.write_bytes(now, data, flags)?;
            Ok((accepted, data.is_empty()))
        })
    }

    /// As [`poll_send`](Self::poll_send), until all of `data` is accepted. Accepted bytes are cut
    /// off the front of `data`; after `Pending`, poll again with the rest.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_send_all(&mut self, cx: &mut Context<'_>, data: &mut &[u8], flags: SendFlags) -> Poll<io::Result<()>> {
        let accepted = ready!(self.poll_send(cx, data, flags))?;
        *data = &data[accepted..];
        if data.is_empty() { Poll::Ready(Ok(())) } else { next_turn(cx) }
    }

    /// As [`poll_send_bytes`](Self::poll_send_bytes), until all of `data` is accepted. After
    /// `Pending`, poll again with the rest.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    pub fn poll_send_all_bytes(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        flags: SendFlags,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_send_bytes(cx, data, flags))?;
        if data.is_empty() { Poll::Ready(Ok(())) } else { next_turn(cx) }
    }

    /// Holds the tail of every write, whatever its flags, until [`poll_uncork`](Self::poll_uncork)
    /// (R10).
    pub fn cork(&mut self) {
        self.session.cork(T::now());
    }

    /// Ends [`cork`](Self::cork), releases everything and transmits (R10). Does not wait for a
    /// transport that pushes back: the rest leaves later.
    ///
    /// `Pending` only if one poll's share (R16) has left and the transport still takes bytes.
    ///
    /// # Errors
    ///
    /// Those of the transport and of the session. `BrokenPipe` if a failure has discarded accepted
    /// bytes.
    pub fn poll_uncork(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.take_failure()?;
        self.session.uncork(T::now());
        if self.transmit(cx, Role::Writer)? && self.wakers.is_writable() {
            return Poll::Pending;
        }
        Poll::Ready(Ok(self.check_lost_bytes()?))
    }

    /// Ready when a write would accept at least one byte. Transmits what may leave.
    ///
    /// # Errors
    ///
    /// As [`poll_send`](Self::poll_send).
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_parts(cx, |session, now, _done| {
            // An empty write with `MORE` does nothing, unless writes are refused.
            session.write(now, &[], SendFlags::MORE)?;
            if session.send_capacity() == 0 { Err(WriteError::Blocked) } else { Ok((0, true)) }
        }))?;
        self.set_holder(cx);
        Poll::Ready(Ok(()))
    }

    /// Fast path of [`feed`](Self::feed): writes `data` if that only extends the held tail and leaves
    /// room for more. Otherwise returns false and writes nothing.
    #[inline]
    pub(crate) fn feed_joining(&mut self, data: &[u8]) -> bool {
        data.len() < self.session.send_capacity() && self.join_held(data)
    }

    /// Writes the front of `data` with `MORE` and sends nothing. Call it when
    /// [`poll_room`](Self::poll_room) was ready: the task of that call counts as the writer.
    ///
    /// Full records that are released leave at the next poll. Tasks that wait are woken to poll.
    ///
    /// # Errors
    ///
    /// Those of the session.
    pub(crate) fn feed(&mut self, data: &mut Bytes) -> io::Result<()> {
        let now = T::now();
        match self.session.write_bytes(now, data, SendFlags::MORE) {
            Ok(_) | Err(WriteError::Blocked) => {}
            Err(error) => return Err(error.into()),
        }
        self.session.handle_timeout(now);
        if self.reader_waits || self.attended {
            self.wake_in_time();
            if self.session.wants_transmit() {
                self.wakers.wake_others();
            }
        }
        Ok(())
    }

    /// Writes until everything is accepted, the transport pushes back, or the poll's share is used
    /// up (R16).
    ///
    /// `write` gets the number of bytes accepted so far. It returns the number that it accepted,
    /// and whether they were the last.
    fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut S, Instant, usize) -> Result<(usize, bool), WriteError>,
    ) -> Poll<io::Result<usize>> {
        self.take_failure()?;
        // If more than one poll's share waits, transmit first, so that this write can leave in its
        // own call.
        if self.session.waiting() > CALL_LIMIT && self.transmit(cx, Role::Writer)? && self.wakers.is_writable() {
            return Poll::Pending;
        }
        let mut done = 0;
        loop {
            let now = T::now();
            match write(&mut self.session, now, done) {
                Ok((accepted, all)) => {
                    done += accepted;
                    self.session.handle_timeout(now);
                    let blocked = self.transmit_after(cx, done)?;
                    if all || accepted == 0 || blocked || done >= CALL_LIMIT {
                        break;
                    }
                }
                Err(WriteError::Blocked) if done == 0 => {
                    let blocked = self.transmit(cx, Role::Writer)?;
                    if self.session.send_capacity() == 0 {
                        return if blocked { Poll::Pending } else { Poll::Ready(Err(WriteError::Blocked.into())) };
                    }
                }
                Err(WriteError::Failed) => {
                    // Returns the cause, unless an earlier call has returned it.
                    let _ = self.transmit(cx, Role::Writer)?;
                    return Poll::Ready(Err(WriteError::Failed.into()));
                }
                Err(_) if done > 0 => break,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        self.note_holder(cx);
        if self.reader_waits || self.attended {
            self.wake_in_time();
        }
        Poll::Ready(Ok(done))
    }

    /// Transmits after a write that accepted `done` bytes in all. Returns true if the transport
    /// pushes back or has failed.
    ///
    /// The bytes are accepted, so an error of the transport is kept for the next call. An error of
    /// the session is returned now, because it discarded them.
    fn transmit_after(&mut self, cx: &mut Context<'_>, done: usize) -> io::Result<bool> {
        if !self.wakers.is_writable() {
            // The bytes wait with others. The operation that waits for the transport transmits
            // them.
            return Ok(true);
        }
        match self.try_transmit(cx, Role::Writer) {
            Ok(blocked) => Ok(blocked),
            Err(error @ (TransmitError::Seal { .. } | TransmitError::Overrun { .. })) => Err(error.into()),
            Err(error) if done == 0 => Err(error.into()),
            Err(error) => {
                self.keep(error.into());
                Ok(true)
            }
        }
    }

    /// Whether bytes are held and their deadline has not come. A timer that has still to fire saves a
    /// reading of the clock.
    #[inline]
    fn is_in_time(&mut self) -> bool {
        let at = if self.session.waiting() > 0 { self.session.poll_timeout() } else { None };
        at.is_some_and(|at| self.deadline.fires_by(at, &self.wakers) || self.clock_is_before(at))
    }

    /// Arms the timer after some readings in a row, which cost more together.
    #[inline(never)]
    fn clock_is_before(&mut self, at: Instant) -> bool {
        let now = T::now();
        self.clock_readings += 1;
        if self.clock_readings > CLOCK_READINGS {
            self.clock_readings = 0;
            self.deadline.wake_by(now, at, &self.wakers);
        }
        now < at
    }

    fn note_holder(&mut self, cx: &Context<'_>) {
        if self.session.waiting() > 0 {
            self.set_holder(cx);
        }
    }

    #[inline]
    fn set_holder(&mut self, cx: &Context<'_>) {
        wakers::keep(&mut self.holder, cx.waker());
    }
}

/// R16: wakes the task at once and returns `Pending`, so that other tasks can run in between.
fn next_turn<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}
