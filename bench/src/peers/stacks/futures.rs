//! futures-rustls on async-io.

use std::io;
use std::net::TcpStream;

use async_io::Async;
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use futures_util::io::{AsyncWrite, AsyncWriteExt, BufWriter};

use super::counted::Counted;
use super::{Link, Stack};
use crate::peers::sender::{Load, Sent};
use crate::tls::{self, TlsVersion};
use crate::wire::Counters;

type Transport = Counted<Async<TcpStream>>;

/// `W` is the stream, or a buffer over it.
struct Futures<W> {
    stream: W,
    buffered: bool,
    counters: fn(&W) -> Counters,
}

pub(super) fn run(link: &Link, load: Load) -> io::Result<Sent> {
    async_io::block_on(async {
        let stream = connect(link).await?;
        load.send(Futures { stream, buffered: false, counters: |stream| stream.get_ref().0.counters() }).await
    })
}

pub(super) fn run_buffered(link: &Link, load: Load) -> io::Result<Sent> {
    async_io::block_on(async {
        let stream = BufWriter::new(connect(link).await?);
        let counters = |stream: &BufWriter<TlsStream<Transport>>| stream.get_ref().get_ref().0.counters();
        load.send(Futures { stream, buffered: true, counters }).await
    })
}

async fn connect(link: &Link) -> io::Result<TlsStream<Transport>> {
    let config = tls::client_config(&link.ca, Some(TlsVersion::Tls13)).map_err(io::Error::other)?;
    let transport = Counted::new(Async::new(link.connect()?)?);
    TlsConnector::from(config).connect(link.server_name()?, transport).await
}

impl<W: AsyncWrite + Unpin> Stack for Futures<W> {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        self.stream.write_all(piece).await?;
        if self.buffered && last { self.stream.flush().await } else { Ok(()) }
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
