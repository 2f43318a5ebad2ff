//! A socket that tells the ledger how far its stream has come, so that it is known who has seen what.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mio::{Interest, Registry, Token, event};
use smol::io::{AsyncRead, AsyncWrite};
use tls_cork_mio::Transport;

use super::ledger::Ledger;
use super::plan::Side;

#[derive(Debug)]
pub(crate) struct Counted<T> {
    pub(crate) socket: T,
    side: Side,
    ledger: Arc<Ledger>,
}

impl<T> Counted<T> {
    pub(crate) fn new(socket: T, side: Side, ledger: &Arc<Ledger>) -> Self {
        Self { socket, side, ledger: Arc::clone(ledger) }
    }

    fn has_read(&self, bytes: usize) {
        self.ledger.read_wire(self.side, bytes);
    }

    fn has_written(&self, bytes: usize) {
        self.ledger.write_wire(self.side, bytes);
    }
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buf).inspect(|&n| self.has_read(n))
    }
}

impl<T: Transport> Transport for Counted<T> {
    fn send(&mut self, bufs: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        self.socket.send(bufs, more).inspect(|&n| self.has_written(n))
    }

    fn prepare(&mut self) -> io::Result<()> {
        self.socket.prepare()
    }

    fn is_drained_by_short_read(&self) -> bool {
        self.socket.is_drained_by_short_read()
    }
}

impl<T: event::Source> event::Source for Counted<T> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.socket.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.socket.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(cx, buf).map_ok(|n| {
            self.has_read(n);
            n
        })
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs).map_ok(|n| {
            self.has_written(n);
            n
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
