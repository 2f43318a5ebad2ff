//! tokio's traits and timers as the engine takes them.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tls_cork::Connection;
use tls_cork_engine::Transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep_until};

use crate::keeper::Attendance;
use crate::socket::{SendMore, send_more};

pub(crate) type Engine<IO> = tls_cork_engine::Engine<Io<IO>, Connection, Alarm>;
pub(crate) type Handshake<IO> = tls_cork_engine::Handshake<Io<IO>, Alarm>;

/// A transport, and what is known of its type beyond its traits.
pub struct Io<IO> {
    pub(crate) inner: IO,
    /// For sends behind which more bytes wait, if this is a socket that can be told so.
    send_more: Option<SendMore<IO>>,
    /// `None` for a local stream.
    pub(crate) attendance: Option<Attendance<IO>>,
}

impl<IO> Io<IO> {
    /// The transport of a stream whose deadlines fire while it is polled.
    pub(crate) fn local(inner: IO) -> Self {
        Self { inner, send_more: None, attendance: None }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io<IO> {
    /// The transport of a stream whose deadlines fire unpolled.
    pub(crate) fn attended(inner: IO) -> Self {
        Self { inner, send_more: send_more(), attendance: Some(Attendance::new()) }
    }
}

impl<IO: fmt::Debug> fmt::Debug for Io<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Transport for Io<IO> {
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

/// A timer of tokio, on the clock of the runtime, which a test may pause.
#[derive(Debug)]
pub struct Alarm(Pin<Box<Sleep>>);

impl tls_cork_engine::Timer for Alarm {
    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn arm(at: Instant, waker: &Waker) -> Option<Self> {
        // Outside of a runtime there are no timers. Whoever waits is woken in place of that, among
        // them the deadline task, which is inside.
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
