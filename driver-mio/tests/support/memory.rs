//! A stream without a socket: its transport takes all that is sent, and gives what a test has put there.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Token};
use tls_cork::{Connection, CorkConfig};
use tls_cork_mio::{TlsStream, Transport};
use tls_cork_testing::sessions::{configs, name};

/// A transport that never fills.
#[derive(Debug, Default)]
pub(crate) struct Endless {
    pub(crate) incoming: VecDeque<u8>,
    /// Takes nothing for now.
    pub(crate) full: bool,
    /// Every call fails with this error of the operating system.
    pub(crate) fails: Option<i32>,
    /// A send reports so many bytes more than it was offered.
    pub(crate) surplus: usize,
    /// Bytes taken, and in how many sends.
    pub(crate) taken: usize,
    pub(crate) sends: usize,
    pub(crate) reads: usize,
}

impl Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        self.fail()?;
        match self.incoming.read(buf)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Transport for Endless {
    fn send(&mut self, bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
        self.fail()?;
        if self.full {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.taken += taken;
        self.sends += 1;
        Ok(taken + self.surplus)
    }
}

impl Endless {
    fn fail(&self) -> io::Result<()> {
        self.fails.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
    }
}

/// A client's stream over such a transport, and the peer's session; hands are shaken.
pub(crate) fn endless(cork: CorkConfig) -> (TlsStream<Endless>, Connection) {
    let (client, server) = configs(None);
    let mut client = Connection::client(client, name(), cork.clone()).expect("a client");
    let mut server = Connection::server(server, cork).expect("a server");
    for _ in 0..4 {
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (TlsStream::new(Endless::default(), client).expect("nothing to prepare"), server)
}

/// What `session` has to transmit.
pub(crate) fn output(session: &mut Connection) -> Vec<u8> {
    let mut wire = Vec::new();
    session.poll_transmit(&mut wire).expect("records");
    wire
}

fn carry(from: &mut Connection, to: &mut Connection) {
    let wire = output(from);
    let received = to.receive(Instant::now(), &wire).expect("records");
    assert_eq!(received.bytes, wire.len());
}

/// A writable event: only an event loop can make one.
pub(crate) fn writable() -> Event {
    let mut poll = Poll::new().expect("a poll");
    let (mut socket, _peer) = super::sockets(&mut super::Watch::new());
    poll.registry().register(&mut socket, Token(0), Interest::WRITABLE).expect("registering");
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(Duration::from_secs(5))).expect("polling");
    events.iter().next().expect("an event").clone()
}
