//! s2n-tls on tokio.

use std::fs;
use std::io;

use s2n_tls::config::Config;
use s2n_tls::security::DEFAULT_TLS13;
use s2n_tls_tokio::{TlsConnector, TlsStream};
use tokio::io::BufWriter;

use super::tokio::{Tokio, Transport, block_on, transport};
use super::{BUFFER, Link, Way};
use crate::commands::peers::seat::Seat;
use tls_cork_programs::tls::SERVER_NAMES;

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    block_on(async {
        let stream = connect(link).await?;
        seat.serve(Tokio { stream, way: Way::Pieces, counters: |stream| stream.get_ref().counters() }).await
    })
}

pub(super) fn run_buffered(link: &Link, seat: Seat) -> io::Result<()> {
    block_on(async {
        let stream = BufWriter::with_capacity(BUFFER, connect(link).await?);
        let counters = |stream: &BufWriter<TlsStream<Transport>>| stream.get_ref().get_ref().counters();
        seat.serve(Tokio { stream, way: Way::Buffer, counters }).await
    })
}

async fn connect(link: &Link) -> io::Result<TlsStream<Transport>> {
    let ca = fs::read(&link.ca)?;
    let mut config = Config::builder();
    config.set_security_policy(&DEFAULT_TLS13)?.with_system_certs(false)?.trust_pem(&ca)?;
    let mut stream = TlsConnector::new(config.build()?).connect(SERVER_NAMES[0], transport(link)?).await?;
    // Records of 16 KiB instead of 8 KiB.
    stream.as_mut().prefer_throughput()?;
    Ok(stream)
}
