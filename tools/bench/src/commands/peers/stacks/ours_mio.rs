//! tls-cork-mio, in a loop that polls only when the stream takes no more.

use std::io;

use mio::{Events, Interest, Poll, Token};
use tls_cork::SendFlags;
use tls_cork_mio::TlsStream;

use super::{Link, Stack, now};
use crate::commands::peers::seat::Seat;
use crate::shared::socket::Counters;
use crate::shared::socket::CountingSocket;
use tls_cork_programs::tls::{self, TlsVersion};

pub(crate) struct Ours {
    pub(crate) stream: TlsStream<CountingSocket>,
    poll: Poll,
    events: Events,
}

pub(super) fn run(link: &Link, seat: Seat) -> io::Result<()> {
    now(seat.serve(connect(link)?))
}

pub(crate) fn connect(link: &Link) -> io::Result<Ours> {
    let config = tls::client_config(&link.ca, Some(TlsVersion::Tls13)).map_err(io::Error::other)?;
    let socket = link.connect()?;
    socket.set_nonblocking(true)?;
    let socket = CountingSocket::cleartext(mio::net::TcpStream::from_std(socket));
    let stream = TlsStream::client_with(socket, config, link.server_name()?, link.cork.clone())?;
    let mut ours = Ours { stream, poll: Poll::new()?, events: Events::with_capacity(8) };
    ours.poll.registry().register(&mut ours.stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    while ours.stream.is_handshaking() {
        ours.wait()?;
    }
    ours.drain()?;
    Ok(ours)
}

impl Ours {
    /// Waits for the socket or the deadline of a tail.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let timeout = self.stream.before_poll()?;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            self.stream.handle_event(event)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> io::Result<()> {
        loop {
            match io::Write::flush(&mut self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                done => return done,
            }
        }
    }
}

impl Stack for Ours {
    async fn write(&mut self, mut piece: &'static [u8], last: bool) -> io::Result<()> {
        let flags = SendFlags::more_if(!last);
        loop {
            match self.stream.send(piece, flags) {
                Ok(accepted) if accepted == piece.len() => return Ok(()),
                Ok(accepted) => piece = &piece[accepted..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }

    async fn close(&mut self) -> io::Result<()> {
        self.stream.close()?;
        while !self.stream.is_finished() {
            self.wait()?;
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.stream.get_ref().counters()
    }
}
