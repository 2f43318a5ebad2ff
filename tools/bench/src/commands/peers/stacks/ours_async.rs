//! tls-cork-async-std on async-io.

use std::io;

use async_io::Async;
use futures_util::io::AsyncWriteExt;
use tls_cork::SendFlags;
use tls_cork_async_std::TlsConnector;
use tls_cork_async_std::client::TlsStream;

use super::Link;
use super::counted::Counted;
use super::futures::Transport;
use crate::commands::peers::seat::Seat;
use crate::commands::peers::seat::Stack;
use crate::shared::socket::Counters;
use tls_cork_programs::tls::{self, TlsVersion};

struct Ours(TlsStream<Transport>);

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    async_io::block_on(async { seat.serve(Ours(connect(link).await?)).await })
}

pub(crate) async fn connect(link: &Link) -> io::Result<TlsStream<Transport>> {
    let config = tls::client_config(&link.ca, Some(TlsVersion::Tls13)).map_err(io::Error::other)?;
    let transport = Counted::new(Async::new(link.connect()?)?);
    let connector = TlsConnector::from(config).with_cork(link.cork.clone()).map_err(io::Error::other)?;
    connector.connect(link.server_name()?, transport).await
}

impl Stack for Ours {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        self.0.send_all(piece, SendFlags::more_if(!last)).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.close().await
    }

    fn counters(&self) -> Counters {
        self.0.get_ref().0.counters()
    }
}
