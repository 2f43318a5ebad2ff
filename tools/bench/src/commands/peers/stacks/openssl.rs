//! OpenSSL over a blocking socket.

use std::io;

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVersion};

use super::blocking::{Buffered, Session, Unbuffered};
use super::{Link, now};
use crate::commands::peers::seat::Seat;
use crate::shared::socket::Counters;
use crate::shared::socket::CountingSocket;
use tls_cork_programs::tls::SERVER_NAMES;

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(Unbuffered(connect(link)?)))
}

pub(super) fn run_buffered(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(Buffered::new(connect(link)?)))
}

fn connect(link: &Link) -> io::Result<SslStream<CountingSocket>> {
    let mut config = SslConnector::builder(SslMethod::tls_client())?;
    config.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    config.set_ca_file(&link.ca)?;
    config.build().connect(SERVER_NAMES[0], link.counting()?).map_err(|e| io::Error::other(e.to_string()))
}

impl Session for SslStream<CountingSocket> {
    fn close(&mut self) -> io::Result<()> {
        self.shutdown().map(drop).map_err(io::Error::other)
    }

    fn counters(&self) -> Counters {
        self.get_ref().counters()
    }
}
