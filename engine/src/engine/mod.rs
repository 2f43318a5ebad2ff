//! `Engine`: moves bytes between a transport and a session, and wakes the tasks that wait.

mod leaving;
mod writing;

use std::fmt;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use tls_cork::ReceiveError;

use crate::adapt::{Reader, or_pending};
use crate::deadline::Deadline;
use crate::wakers::{self, Role, Wakers};
use crate::{Session, Timer, Transport};

/// R16: one poll moves about this many bytes at most and leaves the rest to the next poll.
const CALL_LIMIT: usize = 256 * 1024;

/// One session over one transport, and the wakers of the tasks that wait for either.
///
/// Three tasks may use an engine: one that reads, one that writes, and one that keeps deadlines
/// ([`attend`](Self::attend)). Each method that takes a [`Context`] works for one poll and moves
/// about 256 KiB at most (R16). A method that returns `Pending` has arranged for the task of its
/// context to be woken.
pub struct Engine<IO, S, T> {
    io: IO,
    session: S,
    wakers: Wakers,
    deadline: Deadline<T>,
    /// The task whose write last left plaintext waiting.
    holder: Option<Waker>,
    /// Readings of the clock by joining writes since these last armed the timer.
    clock_readings: u8,
    /// A deferred error, returned by the next call.
    failure: Option<io::Error>,
    /// A read has returned a send error. Reads and deadlines do not transmit until the next call
    /// that sends.
    reads_only: bool,
    /// The transport took bytes since the last flush.
    unflushed: bool,
    /// Bytes that the transport has taken since it last pushed back.
    flow: usize,
    /// The transport has been closed.
    closed: bool,
    /// Plaintext bytes that reads have taken.
    taken: u64,
    /// The last read had to wait.
    reader_waits: bool,
    /// A [`DeadlineTask`](crate::DeadlineTask) waits for deadlines.
    attended: bool,
}

impl<IO, S, T> Engine<IO, S, T> {
    /// Creates an engine for a new `session` over `io`.
    pub fn new(io: IO, session: S) -> Self {
        Self {
            io,
            session,
            wakers: Wakers::new(),
            deadline: Deadline::new(),
            holder: None,
            clock_readings: 0,
            failure: None,
            reads_only: false,
            unflushed: false,
            flow: 0,
            closed: false,
            taken: 0,
            reader_waits: false,
            attended: false,
        }
    }

    /// The transport.
    pub fn io(&self) -> &IO {
        &self.io
    }

    /// The session.
    pub fn session(&self) -> &S {
        &self.session
    }

    /// The transport and the session. Reading from the transport or writing to it breaks the
    /// stream.
    pub fn parts_mut(&mut self) -> (&mut IO, &S) {
        (&mut self.io, &self.session)
    }

    /// Returns the transport and the session. Bytes that were not transmitted are in the session.
    pub fn into_parts(self) -> (IO, S) {
        (self.io, self.session)
    }

    /// Wakes the tasks that wait.
    pub(crate) fn wake(&self) {
        self.wakers.wake();
    }

    /// Plaintext bytes that reads have taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }
}

/// Prints the session, on one short line.
impl<IO, S: fmt::Debug, T> fmt::Debug for Engine<IO, S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({:?})", self.session)
    }
}

impl<IO: Transport, S: Session, T: Timer> Engine<IO, S, T> {
    /// Ready when the handshake is complete and its messages have been transmitted and flushed.
    ///
    /// # Errors
    ///
    /// Those of the transport and of the session.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
            if !self.session.is_handshaking() {
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
                // The peer may have closed after an alert. The alert is the cause: return it in
                // place of the send error.
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

    /// Whether all messages of the handshake so far have been transmitted and flushed.
    fn poll_transmitted(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let blocked = self.transmit(cx, Role::Writer)?;
        Ok(!blocked && or_pending(self.poll_flush_io(cx, Role::Writer))?)
    }

    /// Reads plaintext and returns its length in bytes. Zero is the end of the stream after
    /// `close_notify` (RFC 8446, section 6.1).
    ///
    /// Fires a deadline that has come (R5). Before the read waits, the bytes that the same task
    /// holds are released (R12).
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` for an end without `close_notify`; otherwise those of the transport and of
    /// the session. An error of an earlier send is returned when the read would wait.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(self.poll_plaintext(cx, |session| session.read(buf)));
        self.answer(cx);
        let read = read?;
        self.taken += read as u64;
        Poll::Ready(Ok(read))
    }

    /// As [`poll_read`](Self::poll_read), for a buffer that is not initialized: passes plaintext to
    /// `take`, record by record, and `take` returns how many bytes it took.
    ///
    /// Ends when `take` has not taken all, or no more plaintext has been received. `take` is not
    /// called at the end of the stream.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    pub fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<()>> {
        let found = ready!(self.poll_plaintext(cx, |session| session.fill_buf().map(drop)));
        while found.is_ok()
            && let Ok(received) = self.session.fill_buf()
            && !received.is_empty()
        {
            let len = received.len();
            let taken = take(received).min(len);
            self.session.consume(taken);
            self.taken += taken as u64;
            if taken < len {
                break;
            }
        }
        self.answer(cx);
        Poll::Ready(found)
    }

    /// Returns received plaintext without a copy, for `AsyncBufRead`: the rest of one record.
    ///
    /// Further calls return the same bytes until [`consume`](Self::consume) or a read takes them.
    /// An empty slice is the end of the stream after `close_notify`. Otherwise the same as
    /// [`poll_read`](Self::poll_read).
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    pub fn poll_fill_buf(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let found = ready!(self.poll_plaintext(cx, |session| session.fill_buf().map(drop)));
        self.answer(cx);
        found?;
        Poll::Ready(self.session.fill_buf())
    }

    /// Takes the first `len` bytes of those that [`poll_fill_buf`](Self::poll_fill_buf) returned,
    /// or all of them if they are fewer.
    pub fn consume(&mut self, len: usize) {
        let shown = self.session.fill_buf().map_or(0, <[u8]>::len);
        let len = len.min(shown);
        self.session.consume(len);
        self.taken += len as u64;
    }

    /// Receives until `take` finds plaintext, or the end of the stream.
    fn poll_plaintext<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&mut S) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.reader_waits = false;
        self.poll_due(cx, Role::Reader);
        let mut ended = false;
        let mut received = 0;
        loop {
            match take(&mut self.session) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ended => {}
                done => return Poll::Ready(done),
            }
            // R16: records without plaintext could keep this loop busy as long as the peer sends
            // them.
            if received >= CALL_LIMIT {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(bytes)) => {
                    ended = bytes == 0;
                    received += bytes;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.wait_to_read(cx),
            }
        }
    }

    /// Transmits the answer to a record that was decrypted ahead (R17): each read does this once.
    fn answer(&mut self, cx: &mut Context<'_>) {
        if self.session.wants_transmit() && self.wakers.is_writable() {
            self.transmit_or_keep(cx, Role::Reader);
            self.flush_io_if_sent(cx, Role::Reader);
        }
    }

    /// Fires a deadline that has come, transmits and flushes, for a task that only keeps deadlines.
    ///
    /// The task of `cx` is woken when the next deadline comes, and when bytes that are due can
    /// leave. An error is kept for the next call.
    pub fn attend(&mut self, cx: &mut Context<'_>) {
        self.attended = true;
        self.wakers.register(Role::Deadline, cx.waker());
        self.poll_due(cx, Role::Deadline);
        self.flush_io_if_sent(cx, Role::Deadline);
        self.wake_in_time();
    }

    /// Prepares the reading task for its sleep: releases (R12), transmits, and arms the timer.
    fn wait_to_read<R>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        // A reader in another task is no reason to release what a writer gathers: that reader waits
        // all the time.
        // If need be, a clone is compared with a clone: the compiler may give it other functions too.
        let is_reader = |holder: &Waker| wakers::is_same(holder, cx.waker()) || holder.will_wake(&cx.waker().clone());
        if self.holder.as_ref().is_some_and(is_reader) {
            self.session.handle_read_wait(T::now());
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

    /// Reads once from the transport. Returns the number of bytes; zero is the transport's end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let received = loop {
            let mut reader = Reader::new(&mut self.io, cx);
            match self.session.receive_from(T::now(), &mut reader) {
                Err(ReceiveError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        match received {
            Ok(bytes) => Poll::Ready(Ok(bytes)),
            Err(ReceiveError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(ReceiveError::Io(error)) => Poll::Ready(Err(error)),
            Err(error) => {
                // Sends an alert as far as the transport takes it. The error that caused the alert
                // is returned.
                let _ = self.transmit(cx, Role::Reader);
                self.flush_io_if_sent(cx, Role::Reader);
                Poll::Ready(Err(match error {
                    ReceiveError::Tls { error, not_tls: false, discarded: 0 } => {
                        io::Error::new(io::ErrorKind::InvalidData, error)
                    }
                    error => error.into(),
                }))
            }
        }
    }

    /// Arms the timer for the time at which the session is due.
    fn wake_in_time(&mut self) {
        let now = T::now();
        match self.session.poll_timeout() {
            Some(at) => self.deadline.wake_by(now, at, &self.wakers),
            None => self.deadline.rest(now),
        }
    }

    /// Keeps `error` for the next call. A reader that waits is woken to return it: after a failed
    /// send, no answer may come.
    fn keep(&mut self, error: io::Error) {
        if self.failure.is_none() {
            self.failure = Some(error);
            if self.reader_waits {
                self.wakers.wake();
            }
        }
    }

    fn take_failure(&mut self) -> io::Result<()> {
        self.reads_only = false;
        self.failure.take().map_or(Ok(()), Err)
    }
}
