//! tokio-rustls on a current-thread runtime.

use std::future::Future;
use std::io;

use bytes::Bytes;
use futures_util::{Sink, SinkExt};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{BytesCodec, Framed};

use super::counted::Counted;
use super::{BUFFER, Link, Stack, Way};
use crate::commands::peers::seat::Seat;
use crate::shared::socket::Counters;
use tls_cork_programs::tls::{self, TlsVersion};

pub(crate) type Transport = Counted<TcpStream>;

/// A TLS stream on tokio, or a buffer over one.
pub(super) struct Tokio<W> {
    pub(super) stream: W,
    pub(super) way: Way,
    pub(super) counters: fn(&W) -> Counters,
}

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    block_on(async { seat.serve(unbuffered(connect(link).await?, Way::Pieces)).await })
}

pub(super) fn run_vectored(link: &Link, seat: Seat) -> io::Result<()> {
    block_on(async { seat.serve(unbuffered(connect(link).await?, Way::vectored())).await })
}

fn unbuffered(stream: TlsStream<Transport>, way: Way) -> Tokio<TlsStream<Transport>> {
    Tokio { stream, way, counters: |stream| stream.get_ref().0.counters() }
}

pub(super) fn run_buffered(link: &Link, seat: Seat) -> io::Result<()> {
    block_on(async {
        let stream = BufWriter::with_capacity(BUFFER, connect(link).await?);
        let counters = |stream: &BufWriter<TlsStream<Transport>>| stream.get_ref().get_ref().0.counters();
        seat.serve(Tokio { stream, way: Way::Buffer, counters }).await
    })
}

pub(super) fn run_framed(link: &Link, seat: Seat) -> io::Result<()> {
    block_on(async {
        let mut sink = Framed::new(connect(link).await?, BytesCodec::new());
        sink.set_backpressure_boundary(BUFFER);
        seat.serve(Sinks { sink, counters: |sink| sink.get_ref().get_ref().0.counters() }).await
    })
}

pub(crate) fn block_on<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

pub(super) fn transport(link: &Link) -> io::Result<Transport> {
    let socket = link.connect()?;
    socket.set_nonblocking(true)?;
    Ok(Counted::new(TcpStream::from_std(socket)?))
}

pub(crate) async fn connect(link: &Link) -> io::Result<TlsStream<Transport>> {
    let config = tls::client_config(&link.ca, Some(TlsVersion::Tls13)).map_err(io::Error::other)?;
    TlsConnector::from(config).connect(link.server_name()?, transport(link)?).await
}

impl<W: AsyncWrite + Unpin> Stack for Tokio<W> {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        let stream = &mut self.stream;
        match &mut self.way {
            Way::Pieces => stream.write_all(piece).await,
            Way::Vectored(pieces) => pieces.write(piece, last, async |left| stream.write_vectored(left).await).await,
            Way::Buffer => {
                stream.write_all(piece).await?;
                if last { stream.flush().await } else { Ok(()) }
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    fn counters(&self) -> Counters {
        (self.counters)(&self.stream)
    }
}

/// A sink of pieces.
pub(super) struct Sinks<S> {
    pub(super) sink: S,
    pub(super) counters: fn(&S) -> Counters,
}

impl<S: Sink<Bytes, Error = io::Error> + Unpin> Stack for Sinks<S> {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        let piece = Bytes::from_static(piece);
        if last { self.sink.send(piece).await } else { self.sink.feed(piece).await }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.sink.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.sink.close().await
    }

    fn counters(&self) -> Counters {
        (self.counters)(&self.sink)
    }
}
