//! rustls over a blocking socket, in its own stream type.

use std::io::{self, Write};

use rustls::{ClientConnection, Stream, StreamOwned};

use super::blocking::{Buffered, Session, Unbuffered};
use super::vectored::Pieces;
use super::{Link, Stack, now};
use crate::commands::peers::seat::Seat;
use crate::shared::socket::Counters;
use crate::shared::socket::CountingSocket;
use tls_cork_programs::tls::{self, TlsVersion};

pub(crate) type TlsStream = StreamOwned<ClientConnection, CountingSocket>;

struct Vectored {
    stream: TlsStream,
    pieces: Pieces,
}

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(Unbuffered(connect(link)?)))
}

pub(super) fn run_buffered(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(Buffered::new(connect(link)?)))
}

pub(super) fn run_vectored(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(Vectored { stream: connect(link)?, pieces: Pieces::default() }))
}

pub(crate) fn connect(link: &Link) -> io::Result<TlsStream> {
    let config = tls::client_config(&link.ca, Some(TlsVersion::Tls13)).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(config, link.server_name()?).map_err(io::Error::other)?;
    let mut socket = link.counting()?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

impl Session for TlsStream {
    fn close(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }

    fn counters(&self) -> Counters {
        self.sock.counters()
    }
}

impl Stack for Vectored {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        let TlsStream { conn, sock } = &mut self.stream;
        // StreamOwned itself has only the trait's write_vectored, which writes the first piece
        // alone.
        let mut stream = Stream::new(conn, sock);
        self.pieces.write(piece, last, async |left| stream.write_vectored(left)).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }

    async fn close(&mut self) -> io::Result<()> {
        self.stream.close()
    }

    fn counters(&self) -> Counters {
        self.stream.counters()
    }
}
