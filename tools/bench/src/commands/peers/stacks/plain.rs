//! The limit without TLS: the same bytes over a blocking socket.

use std::io::{self, IoSlice, Write};

use tls_cork_mio::Transport;

use super::vectored::Pieces;
use super::{Link, Stack, now};
use crate::commands::peers::seat::Seat;
use crate::shared::socket::Counters;
use crate::shared::socket::CountingSocket;

struct More(CountingSocket);

struct Vectored {
    socket: CountingSocket,
    pieces: Pieces,
}

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(More(link.counting()?)))
}

pub(super) fn run_vectored(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(Vectored { socket: link.counting()?, pieces: Pieces::default() }))
}

impl Stack for More {
    async fn write(&mut self, mut piece: &'static [u8], last: bool) -> io::Result<()> {
        while !piece.is_empty() {
            let sent = self.0.send(&[IoSlice::new(piece)], !last)?;
            piece = &piece[sent..];
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown_write()
    }

    fn counters(&self) -> Counters {
        self.0.counters()
    }
}

impl Stack for Vectored {
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()> {
        let socket = &mut self.socket;
        self.pieces.write(piece, last, async |left| socket.write_vectored(left)).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.socket.shutdown_write()
    }

    fn counters(&self) -> Counters {
        self.socket.counters()
    }
}
