//! Moves bytes between a transport and a [`Connection`], and wakes whoever waits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use tls_cork::{Connection, ReceiveError, SendFlags, TransmitError, WriteError};

use crate::adapt::{Reader, or_pending, or_would_block};
use crate::deadline::Deadline;
use crate::slices::Rest;
use crate::wakers::{Role, Wakers};

/// R16: after this many bytes, one poll leaves the rest to the next.
const CALL_LIMIT: usize = 256 * 1024;
/// R7: what a write without flags hands over at a time, as rustls's buffer limit makes plain drivers do.
const PLAIN_STEP: usize = 64 * 1024;
/// What is read at a time while a stream ends, to be discarded.
const DISCARD: usize = 4 * 1024;

#[derive(Debug)]
pub(crate) struct Driver<IO> {
    io: IO,
    connection: Connection,
    wakers: Wakers,
    deadline: Deadline,
    /// The task whose write was held last.
    holder: Option<Waker>,
    /// A deferred error, returned by the next call.
    failure: Option<io::Error>,
    /// The reader was told that sending fails; it goes on reading, and does not try again.
    reads_only: bool,
    /// The transport took bytes since it was last flushed.
    unflushed: bool,
    /// The transport has been closed.
    closed: bool,
    /// The last read had to wait.
    reader_waits: bool,
    /// A [`DeadlineTask`](crate::DeadlineTask) waits for deadlines.
    attended: bool,
}

impl<IO> Driver<IO> {
    pub(crate) fn new(io: IO, connection: Connection) -> Self {
        Self {
            io,
            connection,
            wakers: Wakers::new(),
            deadline: Deadline::default(),
            holder: None,
            failure: None,
            reads_only: false,
            unflushed: false,
            closed: false,
            reader_waits: false,
            attended: false,
        }
    }

    pub(crate) fn io(&self) -> &IO {
        &self.io
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn parts_mut(&mut self) -> (&mut IO, &Connection) {
        (&mut self.io, &self.connection)
    }

    pub(crate) fn into_parts(self) -> (IO, Connection) {
        (self.io, self.connection)
    }

    pub(crate) fn cork(&mut self) {
        self.connection.cork(Instant::now());
    }

    /// Wakes whoever waits, once more.
    pub(crate) fn wake(&self) {
        self.wakers.wake();
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    /// Ready when the handshake is done and all that it had to say has left.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut taken = 0;
        let mut unsent = None;
        loop {
            let flushed = match unsent {
                None => self.poll_transmitted(cx).unwrap_or_else(|error| {
                    unsent = Some(error);
                    false
                }),
                Some(_) => false,
            };
            if !self.connection.is_handshaking() {
                return match unsent {
                    Some(error) => Poll::Ready(Err(error)),
                    None if flushed => Poll::Ready(Ok(())),
                    None => Poll::Pending,
                };
            }
            match (self.poll_receive(cx), unsent.take()) {
                (Poll::Ready(Ok(bytes)), kept) => {
                    unsent = kept;
                    taken += bytes;
                }
                // What the peer said last, such as the alert for which it closed, counts before the failure of sending.
                (Poll::Ready(Err(error)), Some(_)) if error.kind() == io::ErrorKind::InvalidData => {
                    return Poll::Ready(Err(error));
                }
                (_, Some(error)) | (Poll::Ready(Err(error)), None) => return Poll::Ready(Err(error)),
                (Poll::Pending, None) => return Poll::Pending,
            }
            if taken >= CALL_LIMIT {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Whether all that the handshake has to say has left.
    fn poll_transmitted(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let blocked = self.transmit(cx, Role::Writer)?;
        Ok(!blocked && or_pending(self.poll_flush_io(cx, Role::Writer))?)
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.reader_waits = false;
        self.poll_due(cx, Role::Reader);
        let mut ended = false;
        let mut taken = 0;
        loop {
            match self.connection.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ended => {}
                done => return Poll::Ready(done),
            }
            // R16: records without plaintext could keep this loop busy as long as the peer sends them.
            if taken >= CALL_LIMIT {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(bytes)) => {
                    ended = bytes == 0;
                    taken += bytes;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.wait_to_read(cx),
            }
        }
    }

    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, |connection, now, done| {
            let written = connection.write(now, &[IoSlice::new(&data[done..])], flags)?;
            Ok((written.accepted, done + written.accepted == data.len()))
        })
    }

    pub(crate) fn poll_send_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, bufs, flags, CALL_LIMIT)
    }

    /// As [`poll_send`](Self::poll_send) without flags, for `AsyncWrite`: while the transport pushes back and bytes wait, nothing is accepted.
    ///
    /// R7's exception. A program on `AsyncWrite` does not poll this stream again while it has nothing to write, as `io::copy` does not: what was
    /// accepted and is kept back then stays for good. Other drivers of rustls accept up to 64 KiB.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if !data.is_empty() {
            ready!(self.poll_nothing_waits(cx))?;
        }
        self.poll_write_parts(cx, |connection, now, done| {
            let step = &data[done..data.len().min(done + PLAIN_STEP)];
            let rest_follows = done + step.len() < data.len();
            let written = connection.write(now, &[IoSlice::new(step)], SendFlags::more_if(rest_follows))?;
            Ok((written.accepted, done + written.accepted == data.len()))
        })
    }

    /// As [`poll_write`](Self::poll_write), from several slices.
    pub(crate) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().any(|buf| !buf.is_empty()) {
            ready!(self.poll_nothing_waits(cx))?;
        }
        self.poll_write_slices(cx, bufs, SendFlags::NONE, PLAIN_STEP)
    }

    fn poll_nothing_waits(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tell_failure()?;
        if self.transmit(cx, Role::Writer)? { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Writes `bufs`, of which no more than `step` bytes are handed over at a time.
    fn poll_write_slices(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        flags: SendFlags,
        step: usize,
    ) -> Poll<io::Result<usize>> {
        let mut rest = Rest::new(bufs);
        let mut before = 0;
        self.poll_write_parts(cx, |connection, now, done| {
            rest.advance(done - before);
            before = done;
            let (part, len, all) = rest.part(step);
            let flags = if all { flags } else { flags | SendFlags::MORE };
            let written = connection.write(now, &part, flags)?;
            Ok((written.accepted, all && written.accepted == len))
        })
    }

    pub(crate) fn poll_send_bytes(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, |connection, now, _done| {
            let written = connection.write_bytes(now, data, flags)?;
            Ok((written.accepted, data.is_empty()))
        })
    }

    /// Never waits: what the transport does not take leaves later.
    pub(crate) fn uncork(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.tell_failure()?;
        let _ = self.connection.uncork(Instant::now());
        self.transmit(cx, Role::Writer)?;
        Ok(self.connection.check_loss()?)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tell_failure()?;
        let _ = self.connection.flush(Instant::now());
        if self.transmit(cx, Role::Writer)? || self.connection.waiting() > 0 {
            return Poll::Pending;
        }
        self.connection.check_loss()?;
        self.unflushed = true;
        self.poll_flush_io(cx, Role::Writer)
    }

    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let earlier = self.tell_failure();
        let _ = self.connection.close(Instant::now());
        earlier?;
        if self.transmit(cx, Role::Writer)? || !self.connection.is_finished() {
            return Poll::Pending;
        }
        ready!(self.poll_close_io(cx))?;
        Poll::Ready(Ok(self.connection.check_loss()?))
    }

    fn poll_close_io(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        self.wakers.register(Role::Writer, cx.waker());
        if !self.wakers.is_flushable() {
            return Poll::Pending;
        }
        self.wakers.set_flushable(false);
        let closed = ready!(Pin::new(&mut self.io).poll_close(&mut Context::from_waker(self.wakers.waker())));
        self.wakers.set_flushable(true);
        self.closed = closed.is_ok();
        match closed {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }

    /// Closes, then reads and discards until the peer's end.
    pub(crate) fn poll_close_gracefully(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.poll_close(cx)?;
        let mut discarded = 0;
        let mut buf = [0; DISCARD];
        while discarded < CALL_LIMIT {
            match ready!(self.poll_read(cx, &mut buf)) {
                Ok(n) if n > 0 => discarded += n,
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Poll::Ready(Err(error)),
                // The peer has ended; what it has not taken yet, it still may.
                _ => return closed.map(Ok),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does what is due, for a task that waits for nothing else.
    pub(crate) fn attend(&mut self, cx: &mut Context<'_>) {
        self.attended = true;
        self.wakers.register(Role::Deadline, cx.waker());
        self.poll_due(cx, Role::Deadline);
        self.flush_io_if_sent(cx, Role::Deadline);
        self.wake_in_time();
    }

    /// Writes until all is accepted, the transport pushes back, or the poll has done its share.
    ///
    /// `write` is told how much has been accepted; it returns how much it accepted, and whether that was the last.
    fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Connection, Instant, usize) -> Result<(usize, bool), WriteError>,
    ) -> Poll<io::Result<usize>> {
        self.tell_failure()?;
        let mut done = 0;
        loop {
            let now = Instant::now();
            match write(&mut self.connection, now, done) {
                Ok((accepted, all)) => {
                    done += accepted;
                    let _ = self.connection.handle_timeout(now);
                    let blocked = self.transmit_after(cx, done)?;
                    if all || accepted == 0 || blocked || done >= CALL_LIMIT {
                        break;
                    }
                }
                Err(WriteError::Blocked) if done == 0 => {
                    let blocked = self.transmit(cx, Role::Writer)?;
                    if self.connection.send_capacity() == 0 {
                        return if blocked { Poll::Pending } else { Poll::Ready(Err(WriteError::Blocked.into())) };
                    }
                }
                Err(WriteError::Failed) => {
                    // The reason may not have been told yet.
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

    /// Transmits behind a write that accepted `done` bytes.
    ///
    /// They are accepted: an error of the transport belongs to the next call. One of the session is told now, because they are lost.
    fn transmit_after(&mut self, cx: &mut Context<'_>, done: usize) -> io::Result<bool> {
        if !self.wakers.is_writable() {
            // The bytes join what waits; an operation that waits for the transport goes on trying.
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

    /// Nothing to read: gets ready to sleep.
    fn wait_to_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // A reader in another task is no reason to release what a writer gathers: that reader waits all the time.
        if self.holder.as_ref().is_some_and(|holder| holder.will_wake(cx.waker())) {
            let _ = self.connection.handle_read_wait(Instant::now());
        }
        self.wakers.register(Role::Reader, cx.waker());
        self.transmit_or_keep(cx, Role::Reader);
        self.flush_io_if_sent(cx, Role::Reader);
        if let Some(error) = self.failure.take() {
            self.reads_only = true;
            return Poll::Ready(Err(error));
        }
        self.reader_waits = true;
        self.wake_in_time();
        Poll::Pending
    }

    /// One read from the transport; zero is its end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let received = loop {
            let mut reader = Reader { io: &mut self.io, cx };
            match self.connection.receive_from(Instant::now(), &mut reader) {
                Err(ReceiveError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        match received {
            Ok(received) => Poll::Ready(Ok(received.bytes)),
            Err(ReceiveError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(ReceiveError::Io(error)) => Poll::Ready(Err(error)),
            Err(error) => {
                // The alert leaves if it can; the error that caused it counts.
                let _ = self.transmit(cx, Role::Reader);
                self.flush_io_if_sent(cx, Role::Reader);
                Poll::Ready(Err(match error {
                    ReceiveError::Tls { error, discarded: 0 } => io::Error::new(io::ErrorKind::InvalidData, error),
                    error => error.into(),
                }))
            }
        }
    }

    /// Fires a deadline that has come, and transmits; keeps an error for the next call.
    fn poll_due(&mut self, cx: &mut Context<'_>, role: Role) {
        let _ = self.connection.handle_timeout(Instant::now());
        self.transmit_or_keep(cx, role);
    }

    fn transmit_or_keep(&mut self, cx: &mut Context<'_>, role: Role) {
        if self.failure.is_none()
            && !self.reads_only
            && let Err(error) = self.transmit(cx, role)
        {
            self.keep(error);
        }
    }

    /// True if not everything has left: the transport pushed back, or the poll has done its share. `role` is woken to go on.
    fn transmit(&mut self, cx: &mut Context<'_>, role: Role) -> io::Result<bool> {
        Ok(self.try_transmit(cx, role)?)
    }

    fn try_transmit(&mut self, cx: &mut Context<'_>, role: Role) -> Result<bool, TransmitError> {
        if !self.connection.wants_transmit() {
            return Ok(false);
        }
        self.wakers.register(role, cx.waker());
        if !self.wakers.is_writable() {
            return Ok(true);
        }
        self.wakers.set_writable(false);
        let io = &mut self.io;
        let mut io_cx = Context::from_waker(self.wakers.waker());
        let mut pending = false;
        let sent = self.connection.transmit_up_to(CALL_LIMIT, |bufs, _more| {
            let io = Pin::new(&mut *io);
            let taken = match bufs {
                // write(2) costs the kernel less than writev(2).
                [one] => io.poll_write(&mut io_cx, one),
                many => io.poll_write_vectored(&mut io_cx, many),
            };
            pending = taken.is_pending();
            or_would_block(taken)
        });
        if !pending {
            self.wakers.set_writable(true);
        }
        let sent = sent?;
        if sent.bytes > 0 {
            self.unflushed = true;
            self.wakers.set_flushable(true);
        }
        if !sent.blocked && self.connection.wants_transmit() {
            self.wakers.wake();
            return Ok(true);
        }
        Ok(sent.blocked)
    }

    /// Not while a write is `Pending`: the transport may forget whom to wake for it once it is flushed, as async-net's sockets do. `role`
    /// waits for that write too; it is woken, writes the rest, and flushes then.
    fn flush_io_if_sent(&mut self, cx: &mut Context<'_>, role: Role) {
        if self.connection.wants_transmit() && !self.wakers.is_writable() {
            return;
        }
        if let Poll::Ready(Err(error)) = self.poll_flush_io(cx, role) {
            self.keep(error);
        }
    }

    /// Flushes the transport if it took bytes since it was last flushed.
    fn poll_flush_io(&mut self, cx: &mut Context<'_>, role: Role) -> Poll<io::Result<()>> {
        if self.unflushed {
            self.wakers.register(role, cx.waker());
            if !self.wakers.is_flushable() {
                return Poll::Pending;
            }
            self.wakers.set_flushable(false);
            let flushed = ready!(Pin::new(&mut self.io).poll_flush(&mut Context::from_waker(self.wakers.waker())));
            self.wakers.set_flushable(true);
            // Tried once, also if it failed: a reader goes on reading.
            self.unflushed = false;
            flushed?;
        }
        Poll::Ready(Ok(()))
    }

    /// Has whoever waits woken when something is due.
    fn wake_in_time(&mut self) {
        let now = Instant::now();
        match self.connection.poll_timeout() {
            Some(at) => self.deadline.wake_by(now, at, &self.wakers),
            None => self.deadline.rest(now),
        }
    }

    fn note_holder(&mut self, cx: &Context<'_>) {
        if self.connection.waiting() == 0 {
            return;
        }
        match &mut self.holder {
            Some(holder) => holder.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Keeps `error` for the next call. A reader that waits is woken: its answer would never come.
    fn keep(&mut self, error: io::Error) {
        if self.failure.is_none() {
            self.failure = Some(error);
            if self.reader_waits {
                self.wakers.wake();
            }
        }
    }

    fn tell_failure(&mut self) -> io::Result<()> {
        self.reads_only = false;
        self.failure.take().map_or(Ok(()), Err)
    }
}
