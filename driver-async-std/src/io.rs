//! The engine's `Transport` over `futures_io`, and its `Timer` over async-io.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use async_io::Timer;
use futures_io::{AsyncRead, AsyncWrite};
use tls_cork::Connection;
use tls_cork_engine::Transport;

use crate::socket::{Socket, poll_send_more};

pub(crate) type Engine<IO> = tls_cork_engine::Engine<Io<IO>, Connection, Alarm>;
pub(crate) type Handshake<IO> = tls_cork_engine::Handshake<Io<IO>, Alarm>;
pub(crate) type Shared<IO> = tls_cork_engine::Shared<Io<IO>, Connection, Alarm>;

/// A transport; its sends can carry `MSG_MORE` if it is a [`Socket`].
pub struct Io<IO> {
    pub(crate) inner: IO,
    /// The send for bytes behind which more bytes wait; `None` unless the transport is a
    /// [`Socket`].
    send_more: Option<SendMore<IO>>,
}

type SendMore<IO> = fn(&mut IO, &mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

impl<IO> Io<IO> {
    pub(crate) fn new(inner: IO) -> Self {
        Self { inner, send_more: None }
    }
}

impl<IO: Socket> Io<IO> {
    pub(crate) fn set_msg_more(&mut self) {
        self.send_more = Some(poll_send_more);
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
        Pin::new(&mut self.inner).poll_read(cx, buf)
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
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// A timer of async-io. One reactor thread of async-io serves the whole process.
#[derive(Debug)]
pub struct Alarm(Box<(Instant, Timer)>);

impl tls_cork_engine::Timer for Alarm {
    fn arm(at: Instant, waker: &Waker) -> Option<Self> {
        let mut timer = Timer::at(at);
        match Pin::new(&mut timer).poll(&mut Context::from_waker(waker)) {
            Poll::Ready(_) => None,
            Poll::Pending => Some(Self(Box::new((at, timer)))),
        }
    }

    fn at(&self) -> Instant {
        self.0.0
    }
}
