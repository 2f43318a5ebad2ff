//! s2n-tls on tokio.

use std::fs;
use std::io;

use s2n_tls::config::Config;
use s2n_tls::security::DEFAULT_TLS13;
use s2n_tls_tokio::{TlsConnector, TlsStream};

use super::Link;
use super::tokio::{Tokio, Transport, block_on, transport};
use crate::peers::sender::{Load, Sent};
use crate::tls::SERVER_NAMES;

pub(super) fn run(link: &Link, load: Load) -> io::Result<Sent> {
    block_on(async {
        let mut stream = connect(link).await?;
        // Records of 16 KiB instead of 8 KiB.
        stream.as_mut().prefer_throughput()?;
        load.send(Tokio { stream, buffered: false, counters: |stream| stream.get_ref().counters() }).await
    })
}

async fn connect(link: &Link) -> io::Result<TlsStream<Transport>> {
    let ca = fs::read(&link.ca)?;
    let mut config = Config::builder();
    config.set_security_policy(&DEFAULT_TLS13)?.with_system_certs(false)?.trust_pem(&ca)?;
    Ok(TlsConnector::new(config.build()?).connect(SERVER_NAMES[0], transport(link)?).await?)
}
