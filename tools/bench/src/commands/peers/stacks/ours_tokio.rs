//! tls-cork-tokio on a current-thread runtime.

use std::io;

use tls_cork::SendFlags;
use tls_cork_tokio::TlsConnector;
use tls_cork_tokio::client::TlsStream;
use tokio::io::AsyncWriteExt;

use super::tokio::{Sinks, Transport, block_on, transport};
use super::{Link, Stack};
use crate::commands::peers::seat::Seat;
use crate::shared::socket::Counters;
use tls_cork_programs::tls::{self, TlsVersion};

struct Ours(TlsStream<Transport>);

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    block_on(async { seat.serve(Ours(connect(link).await?)).await })
}

pub(super) fn run_sink(link: &Link, seat: Seat) -> io::Result<()> {
    block_on(async {
        let sink = connect(link).await?.into_message_sink();
        seat.serve(Sinks { sink, counters: |sink| counters(sink.get_ref()) }).await
    })
}

pub(crate) async fn connect(link: &Link) -> io::Result<TlsStream<Transport>> {
    let config = tls::client_config(&link.ca, Some(TlsVersion::Tls13)).map_err(io::Error::other)?;
    let connector = TlsConnector::from(config).with_cork(link.cork.clone()).map_err(io::Error::other)?;
    connector.connect(link.server_name()?, transport(link)?).await
}

pub(crate) fn counters(stream: &TlsStream<Transport>) -> Counters {
    stream.with_ref(|transport, _| transport.counters())
}

impl Stack for Ours {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        self.0.send_all(piece, SendFlags::more_if(!last)).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }

    fn counters(&self) -> Counters {
        counters(&self.0)
    }
}
