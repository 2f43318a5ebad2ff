//! A transport in memory that obeys a plan, with the peer at its other end.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};
use tls_cork_testing::content::GARBAGE;
use tls_cork_testing::script::{Fault, Faults, Peer, Plan, ROOM, SEGMENT, Way};

/// What the transport and the peer's end of it have in common.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) faults: Faults,
    pub(crate) peer: Peer,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
    /// It remembers only the last waker that each was polled with, and none once it was ready: what is ready owes nobody a wake-up for
    /// having been pending before.
    reader: Option<Waker>,
    writer: Option<Waker>,
    flusher: Option<Waker>,
    closer: Option<Waker>,
    /// It has pushed back without a reason that would pass.
    read_owed: bool,
    write_owed: bool,
    /// Calls since [`begin`](Self::begin) that moved something, and others.
    moving: usize,
    idle: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Wire(Arc<Mutex<Line>>);

impl Wire {
    pub(crate) fn new(plan: Plan, peer: Peer) -> Self {
        Self(Arc::new(Mutex::new(Line {
            faults: Faults::new(plan),
            peer,
            up: VecDeque::new(),
            down: VecDeque::new(),
            reader: None,
            writer: None,
            flusher: None,
            closer: None,
            read_owed: false,
            write_owed: false,
            moving: 0,
            idle: 0,
        })))
    }

    pub(crate) fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().expect("no panic elsewhere")
    }
}

impl Line {
    /// A call of the driver, or another poll of it, begins: it may not spin.
    pub(crate) fn begin(&mut self) {
        (self.moving, self.idle) = (0, 0);
    }

    fn count(&mut self) {
        self.idle += 1;
        // A read that gets ready to sleep: a receive, a flush, and a send before and after, each of them interrupted.
        assert!(self.idle <= self.moving + 8, "{} calls in vain beside {}", self.idle, self.moving);
    }

    /// The peer's turn, or the end of a push-back; false if nothing is left that could happen.
    pub(crate) fn goes_on(&mut self) -> bool {
        let moved = self.peer.turn(&mut self.up, &mut self.down) > 0;
        let readable = (moved && !self.down.is_empty()) || std::mem::take(&mut self.read_owed);
        let writable = moved || std::mem::take(&mut self.write_owed);
        for (ready, waker) in [(readable, &mut self.reader), (writable, &mut self.writer)] {
            if ready && let Some(waker) = waker.take() {
                waker.wake();
            }
        }
        let others = [self.flusher.take(), self.closer.take()];
        let some = others.iter().any(Option::is_some);
        others.into_iter().flatten().for_each(Waker::wake);
        readable || writable || some
    }

    fn writer_waits(&mut self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The fault of a call that moves nothing.
    fn fails(&mut self, way: Way, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.count();
        let waiting = if way == Way::Flush { &mut self.flusher } else { &mut self.closer };
        *waiting = None;
        match self.faults.next(way) {
            Some(Fault::Block(_)) => {
                *waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Fault::Fail(kind, _)) => Poll::Ready(Err(kind.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let line = &mut *self.line();
        line.count();
        let mut most = buf.len().min(SEGMENT);
        match line.faults.next(Way::Receive) {
            None => {}
            Some(Fault::OneByte) => most = 1,
            Some(Fault::Block(_)) => {
                line.read_owed = true;
                line.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Fault::Interrupt) => return Poll::Ready(Err(ErrorKind::Interrupted.into())),
            Some(Fault::Fail(ErrorKind::UnexpectedEof, _)) => return Poll::Ready(Ok(0)),
            Some(Fault::Fail(ErrorKind::InvalidData, _)) => {
                buf[..GARBAGE.len()].copy_from_slice(&GARBAGE);
                return Poll::Ready(Ok(GARBAGE.len()));
            }
            Some(Fault::Fail(kind, _)) => return Poll::Ready(Err(kind.into())),
        }
        let taken = most.min(line.down.len());
        if taken == 0 {
            line.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        (line.reader, line.read_owed) = (None, false);
        for (slot, byte) in buf.iter_mut().zip(line.down.drain(..taken)) {
            *slot = byte;
        }
        (line.idle, line.moving) = (line.idle - 1, line.moving + 1);
        Poll::Ready(Ok(taken))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let line = &mut *self.line();
        line.count();
        assert!(bufs.iter().any(|buf| !buf.is_empty()), "nothing to send");
        let mut most = usize::MAX;
        match line.faults.next(Way::Send) {
            None => {}
            Some(Fault::OneByte) => most = 1,
            Some(Fault::Block(_)) => {
                line.write_owed = true;
                return line.writer_waits(cx);
            }
            Some(Fault::Interrupt) => return Poll::Ready(Err(ErrorKind::Interrupted.into())),
            Some(Fault::Fail(ErrorKind::WriteZero, _)) => return Poll::Ready(Ok(0)),
            Some(Fault::Fail(kind, _)) => return Poll::Ready(Err(kind.into())),
        }
        let most = most.min(ROOM.saturating_sub(line.up.len()));
        if most == 0 {
            return line.writer_waits(cx);
        }
        (line.writer, line.write_owed) = (None, false);
        let before = line.up.len();
        line.up.extend(bufs.iter().flat_map(|buf| buf.iter()).take(most));
        (line.idle, line.moving) = (line.idle - 1, line.moving + 1);
        Poll::Ready(Ok(line.up.len() - before))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line().fails(Way::Flush, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line().fails(Way::Close, cx)
    }
}
