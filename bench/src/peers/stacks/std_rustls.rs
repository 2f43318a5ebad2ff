//! rustls over a blocking socket, in its own stream type.

use std::io::{self, BufWriter, Write};

use rustls::{ClientConnection, StreamOwned};

use super::{Link, Stack, now};
use crate::peers::sender::{Load, Sent};
use crate::tls::{self, TlsVersion};
use crate::wire::Counters;
use crate::wire::socket::CountingSocket;

type TlsStream = StreamOwned<ClientConnection, CountingSocket>;

struct Plain(TlsStream);

struct Buffered(BufWriter<TlsStream>);

pub(super) fn run(link: &Link, load: Load) -> io::Result<Sent> {
    now(load.send(Plain(connect(link)?)))
}

pub(super) fn run_buffered(link: &Link, load: Load) -> io::Result<Sent> {
    now(load.send(Buffered(BufWriter::new(connect(link)?))))
}

fn connect(link: &Link) -> io::Result<TlsStream> {
    let config = tls::client_config(&link.ca, Some(TlsVersion::Tls13)).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(config, link.server_name()?).map_err(io::Error::other)?;
    let mut socket = link.counting()?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

fn close(stream: &mut TlsStream) -> io::Result<()> {
    stream.conn.send_close_notify();
    stream.flush()
}

impl Stack for Plain {
    async fn write(&mut self, piece: &'static [u8], _last: bool) -> io::Result<()> {
        self.0.write_all(piece)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    async fn close(&mut self) -> io::Result<()> {
        close(&mut self.0)
    }

    fn counters(&self) -> Counters {
        self.0.sock.counters()
    }
}

impl Stack for Buffered {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        self.0.write_all(piece)?;
        if last { self.0.flush() } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    async fn close(&mut self) -> io::Result<()> {
        close(self.0.get_mut())
    }

    fn counters(&self) -> Counters {
        self.0.get_ref().sock.counters()
    }
}
