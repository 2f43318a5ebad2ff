//! futures-rustls on async-io.

use std::io;
use std::net::TcpStream;

use async_io::Async;
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use futures_util::io::{AsyncWrite, AsyncWriteExt, BufWriter};

use super::counted::Counted;
use super::{BUFFER, Link, Stack, Way};
use crate::commands::peers::seat::Seat;
use crate::shared::socket::Counters;
use tls_cork_programs::tls::{self, TlsVersion};

pub(crate) type Transport = Counted<Async<TcpStream>>;

/// `W` is the stream, or a buffer over it.
struct Futures<W> {
    stream: W,
    way: Way,
    counters: fn(&W) -> Counters,
}

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    async_io::block_on(async { seat.serve(unbuffered(connect(link).await?, Way::Pieces)).await })
}

pub(super) fn run_vectored(link: &Link, seat: Seat) -> io::Result<()> {
    async_io::block_on(async { seat.serve(unbuffered(connect(link).await?, Way::vectored())).await })
}

fn unbuffered(stream: TlsStream<Transport>, way: Way) -> Futures<TlsStream<Transport>> {
    Futures { stream, way, counters: |stream| stream.get_ref().0.counters() }
}

pub(super) fn run_buffered(link: &Link, seat: Seat) -> io::Result<()> {
    async_io::block_on(async {
        let stream = BufWriter::with_capacity(BUFFER, connect(link).await?);
        let counters = |stream: &BufWriter<TlsStream<Transport>>| stream.get_ref().get_ref().0.counters();
        seat.serve(Futures { stream, way: Way::Buffer, counters }).await
    })
}

pub(crate) async fn connect(link: &Link) -> io::Result<TlsStream<Transport>> {
    let config = tls::client_config(&link.ca, Some(TlsVersion::Tls13)).map_err(io::Error::other)?;
    let transport = Counted::new(Async::new(link.connect()?)?);
    TlsConnector::from(config).connect(link.server_name()?, transport).await
}

impl<W: AsyncWrite + Unpin> Stack for Futures<W> {
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
        self.stream.close().await
    }

    fn counters(&self) -> Counters {
        (self.counters)(&self.stream)
    }
}
