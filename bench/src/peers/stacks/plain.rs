//! The limit without TLS: the same bytes over a blocking socket.

use std::io::{self, IoSlice, Write};

use tls_cork_mio::Transport;

use super::{Link, Stack, now};
use crate::peers::sender::{Load, Sent};
use crate::wire::Counters;
use crate::wire::socket::CountingSocket;

struct More(CountingSocket);

struct Vectored {
    socket: CountingSocket,
    burst: Vec<IoSlice<'static>>,
}

pub(super) fn run(link: &Link, load: Load) -> io::Result<Sent> {
    now(load.send(More(link.counting()?)))
}

pub(super) fn run_vectored(link: &Link, load: Load) -> io::Result<Sent> {
    now(load.send(Vectored { socket: link.counting()?, burst: Vec::new() }))
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
        self.burst.push(IoSlice::new(piece));
        if !last {
            return Ok(());
        }
        let mut left = &mut self.burst[..];
        while !left.is_empty() {
            let sent = self.socket.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, sent);
        }
        self.burst.clear();
        Ok(())
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
