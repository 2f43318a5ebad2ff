//! Moves bytes between a transport and a [`Connection`], and wakes whoever waits.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use tls_cork::{Connection, ReceiveError, SendFlags, TransmitError, WriteError, Written};

use crate::adapt::{Reader, or_would_block};
use crate::deadline::Deadline;
use crate::wakers::{Role, Wakers};

#[derive(Debug)]
pub(crate) struct Driver<IO> {
    io: IO,
    connection: Connection,
    wakers: Wakers,
    deadline: Deadline,
    /// The task whose write was held last.
    holder: Option<Waker>,
    /// Met where it could not be told; the next call tells it.
    failure: Option<io::Error>,
    /// The reader was told that sending fails; it goes on reading, and does not try again.
    reads_only: bool,
    /// The transport took bytes since it was last flushed.
    unflushed: bool,
    /// The last flush of the transport was `Pending`.
    flush_pending: bool,
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
            flush_pending: false,
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
        loop {
            let blocked = self.transmit(cx, Role::Writer)?;
            let flushed = !blocked && self.poll_flush_io(cx, Role::Writer)?.is_ready();
            if !self.connection.is_handshaking() {
                return if flushed { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let _ = ready!(self.poll_receive(cx))?;
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.reader_waits = false;
        self.poll_due(cx, Role::Reader);
        let mut ended = false;
        loop {
            match self.connection.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ended => {}
                done => return Poll::Ready(done),
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(bytes)) => ended = bytes == 0,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.wait_to_read(cx),
            }
        }
    }

    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, data.len(), |connection, now, done| {
            connection.write(now, &[IoSlice::new(&data[done..])], flags)
        })
    }

    pub(crate) fn poll_send_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        let offered = bufs.iter().map(|buf| buf.len()).sum();
        self.poll_write_parts(cx, offered, |connection, now, done| {
            if done == 0 {
                return connection.write(now, bufs, flags);
            }
            let mut rest = bufs.to_vec();
            let mut rest = &mut rest[..];
            IoSlice::advance_slices(&mut rest, done);
            connection.write(now, rest, flags)
        })
    }

    pub(crate) fn poll_send_bytes(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        flags: SendFlags,
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, data.len(), |connection, now, _done| connection.write_bytes(now, data, flags))
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
        self.wakers.register(Role::Writer, cx.waker());
        let mut cx = Context::from_waker(self.wakers.waker());
        match ready!(Pin::new(&mut self.io).poll_close(&mut cx)) {
            // The peer was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            done => done?,
        }
        Poll::Ready(Ok(self.connection.check_loss()?))
    }

    /// Does what is due, for a task that waits for nothing else.
    pub(crate) fn attend(&mut self, cx: &mut Context<'_>) {
        self.attended = true;
        self.wakers.register(Role::Deadline, cx.waker());
        self.poll_due(cx, Role::Deadline);
        self.flush_io_if_sent(cx, Role::Deadline);
        self.wake_in_time();
    }

    /// Writes until all is accepted or the transport pushes back; `write` is told how much has been accepted.
    fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        offered: usize,
        mut write: impl FnMut(&mut Connection, Instant, usize) -> Result<Written, WriteError>,
    ) -> Poll<io::Result<usize>> {
        self.tell_failure()?;
        let mut done = 0;
        loop {
            let now = Instant::now();
            match write(&mut self.connection, now, done) {
                Ok(written) => {
                    done += written.accepted;
                    let _ = self.connection.handle_timeout(now);
                    let blocked = self.transmit_after(cx, done)?;
                    if done == offered || written.accepted == 0 || blocked {
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
            Err(error @ TransmitError::Seal { .. }) => Err(told(error)),
            Err(error) if done == 0 => Err(told(error)),
            Err(error) => {
                self.keep(told(error));
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

    /// True if the transport pushed back; `role` is woken when it takes bytes again.
    fn transmit(&mut self, cx: &mut Context<'_>, role: Role) -> io::Result<bool> {
        self.try_transmit(cx, role).map_err(told)
    }

    fn try_transmit(&mut self, cx: &mut Context<'_>, role: Role) -> Result<bool, TransmitError> {
        if !self.connection.wants_transmit() {
            return Ok(false);
        }
        let was_writable = self.wakers.is_writable();
        self.wakers.register(role, cx.waker());
        self.wakers.set_writable(false);
        let io = &mut self.io;
        let mut io_cx = Context::from_waker(self.wakers.waker());
        let mut pending = false;
        let sent = self.connection.transmit_with(|bufs, _more| {
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
            if !was_writable {
                self.wakers.wake_others(role);
            }
        }
        let sent = sent?;
        self.unflushed |= sent.bytes > 0;
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
            let flushed = Pin::new(&mut self.io).poll_flush(&mut Context::from_waker(self.wakers.waker()));
            let was_pending = mem::replace(&mut self.flush_pending, flushed.is_pending());
            let flushed = ready!(flushed);
            if was_pending {
                self.wakers.wake_others(role);
            }
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
            Some(at) => self.deadline.wake_by(now, at, self.wakers.waker()),
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

/// The transport's own errors unchanged, those of TLS with what they cost.
fn told(error: TransmitError) -> io::Error {
    match error {
        TransmitError::Io(error) => error,
        error => error.into(),
    }
}
