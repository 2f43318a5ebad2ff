//! OpenSSL over a blocking socket.

use std::io::{self, Write};

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVersion};

use super::{Link, Stack, now};
use crate::peers::sender::{Load, Sent};
use crate::tls::SERVER_NAMES;
use crate::wire::Counters;
use crate::wire::socket::CountingSocket;

struct OpenSsl(SslStream<CountingSocket>);

pub(super) fn run(link: &Link, load: Load) -> io::Result<Sent> {
    now(load.send(OpenSsl(connect(link)?)))
}

fn connect(link: &Link) -> io::Result<SslStream<CountingSocket>> {
    let mut config = SslConnector::builder(SslMethod::tls_client())?;
    config.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    config.set_ca_file(&link.ca)?;
    config.build().connect(SERVER_NAMES[0], link.counting()?).map_err(|e| io::Error::other(e.to_string()))
}

impl Stack for OpenSsl {
    async fn write(&mut self, piece: &'static [u8], _last: bool) -> io::Result<()> {
        self.0.write_all(piece)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().map(drop).map_err(io::Error::other)
    }

    fn counters(&self) -> Counters {
        self.0.get_ref().counters()
    }
}
