//! The engine's `Transport` and `Timer` over tokio's traits and timers.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tls_cork_engine::Transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep_until};

use crate::socket::SendMore;

/// A transport, with functions that need more of its type than its traits.
pub struct Io<IO, A> {
    pub(crate) inner: IO,
    /// The send for bytes behind which more bytes wait; `None` unless the transport is a socket of
    /// the closed list.
    pub(crate) send_more: Option<SendMore<IO>>,
    /// Functions of the deadline task; `None` for a local stream.
    pub(crate) attendance: Option<A>,
}

impl<IO: fmt::Debug, A> fmt::Debug for Io<IO, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, A> Transport for Io<IO, A> {
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    #[inline]
    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>> {
        if more && let Some(send_more) = self.send_more {
            return send_more(&mut self.inner, cx, bufs);
        }
        let io = Pin::new(&mut self.inner);
        match bufs {
            // write(2) costs the kernel less than writev(2).
            [one] => io.poll_write(cx, one),
            many => io.poll_write_vectored(cx, many),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A timer of tokio, on the runtime's clock, which a test can pause.
#[derive(Debug)]
pub struct Alarm(Pin<Box<Sleep>>);

impl tls_cork_engine::Timer for Alarm {
    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn arm(at: Instant, waker: &Waker) -> Option<Self> {
        // Outside of a runtime no timer can be armed. `None` wakes all tasks that wait instead. One
        // of them is the deadline task, which runs inside a runtime and arms the timer.
        Handle::try_current().ok()?;
        let mut sleep = Box::pin(sleep_until(at.into()));
        match sleep.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(Self(sleep)),
        }
    }

    fn at(&self) -> Instant {
        self.0.deadline().into_std()
    }
}
