//! Both ends of a stream in one event loop, over loopback sockets whose sends are recorded and can be scripted.
#![allow(dead_code)] // each test file uses a part of it

pub(crate) mod memory;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, event};
use rustls::SupportedCipherSuite;
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::{TlsStream, Transport};
use tls_cork_testing::RecordCounter;
use tls_cork_testing::sessions::{configs, name};

pub(crate) const CLIENT: Token = Token(0);
pub(crate) const SERVER: Token = Token(1);
pub(crate) const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
pub(crate) const APPLICATION_DATA: u8 = 23;
pub(crate) const MAX_TURNS: usize = 200_000;
/// Only a loop that hangs takes so long, however busy the machine.
pub(crate) const MAX_TIME: Duration = Duration::from_secs(60);

/// What the transport does with one send or one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Take(usize),
    WouldBlock,
    Interrupted,
    Zero,
    Reset,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) bytes: usize,
    pub(crate) more: bool,
}

/// A socket that records what is sent over it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: TcpStream,
    pub(crate) sends: VecDeque<Step>,
    pub(crate) reads: VecDeque<Step>,
    /// A read was cut short by script, which says nothing about the socket.
    pub(crate) scripted_reads: bool,
    pub(crate) read_calls: usize,
    pub(crate) sent: Vec<Sent>,
    pub(crate) calls: usize,
    /// Content types of the records whose headers were sent.
    pub(crate) records: Vec<u8>,
    counter: RecordCounter,
    /// A scripted `WouldBlock` needs a new event.
    pub(crate) rearm: bool,
}

impl Wire {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            sends: VecDeque::new(),
            reads: VecDeque::new(),
            scripted_reads: false,
            read_calls: 0,
            sent: Vec::new(),
            calls: 0,
            records: Vec::new(),
            counter: RecordCounter::default(),
            rearm: false,
        }
    }

    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.records.clear();
    }

    pub(crate) fn count(&mut self, bufs: &[IoSlice<'_>], taken: usize) {
        self.counter.advance_slices(bufs, taken, |kind, _| self.records.push(kind));
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_calls += 1;
        self.scripted_reads |= !self.reads.is_empty();
        match self.reads.pop_front() {
            None => self.socket.read(buf),
            Some(Step::Take(n)) => {
                let n = n.min(buf.len());
                self.socket.read(&mut buf[..n])
            }
            Some(Step::WouldBlock) => {
                self.rearm = true;
                Err(ErrorKind::WouldBlock.into())
            }
            Some(Step::Interrupted) => Err(ErrorKind::Interrupted.into()),
            Some(Step::Zero) => Ok(0),
            Some(Step::Reset) => Err(ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Transport for Wire {
    fn send(&mut self, bufs: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        self.calls += 1;
        let bytes = match self.sends.pop_front() {
            None => self.socket.send(bufs, more),
            Some(Step::Take(n)) => {
                let first = bufs.iter().find(|buf| !buf.is_empty()).expect("something to send");
                self.socket.send(&[IoSlice::new(&first[..n.min(first.len())])], more)
            }
            Some(Step::WouldBlock) => {
                self.rearm = true;
                Err(ErrorKind::WouldBlock.into())
            }
            Some(Step::Interrupted) => Err(ErrorKind::Interrupted.into()),
            Some(Step::Zero) => Ok(0),
            Some(Step::Reset) => Err(ErrorKind::ConnectionReset.into()),
        }?;
        self.count(bufs, bytes);
        self.sent.push(Sent { bytes, more });
        Ok(bytes)
    }

    fn prepare(&mut self) -> io::Result<()> {
        self.socket.prepare()
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.socket.close_write()
    }

    fn is_drained_by_short_read(&self) -> bool {
        !self.scripted_reads && self.socket.is_drained_by_short_read()
    }
}

impl event::Source for Wire {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.socket.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.socket.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}

/// A bound on every loop.
pub(crate) struct Watch {
    pub(crate) end: Instant,
    pub(crate) turns: usize,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { end: Instant::now() + MAX_TIME, turns: 0 }
    }

    pub(crate) fn tick(&mut self) {
        self.turns += 1;
        assert!(self.turns < MAX_TURNS, "no end after {MAX_TURNS} turns");
        assert!(Instant::now() < self.end, "no end after {MAX_TIME:?} and {} turns", self.turns);
    }
}

/// Two connected sockets.
pub(crate) fn sockets(watch: &mut Watch) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a listener");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    loop {
        watch.tick();
        match listener.accept() {
            Ok((server, _)) => return (client, server),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("accept: {error}"),
        }
    }
}

/// Both ends of one connection in one event loop.
pub(crate) struct Pair {
    pub(crate) poll: Poll,
    pub(crate) events: Events,
    pub(crate) client: TlsStream<Wire>,
    pub(crate) server: TlsStream<Wire>,
    pub(crate) watch: Watch,
}

impl Pair {
    /// Not yet shaken hands.
    pub(crate) fn fresh(cork: CorkConfig, suite: Option<SupportedCipherSuite>) -> Self {
        let mut watch = Watch::new();
        let (client, server) = sockets(&mut watch);
        let (client_config, server_config) = configs(suite);
        let client = TlsStream::client_with(Wire::new(client), client_config, name(), cork.clone()).expect("a client");
        let server = TlsStream::server_with(Wire::new(server), server_config, cork).expect("a server");
        Self::over(client, server, watch)
    }

    pub(crate) fn over(mut client: TlsStream<Wire>, mut server: TlsStream<Wire>, watch: Watch) -> Self {
        let poll = Poll::new().expect("a poll");
        poll.registry().register(&mut client, CLIENT, BOTH).expect("registering");
        poll.registry().register(&mut server, SERVER, BOTH).expect("registering");
        Self { poll, events: Events::with_capacity(16), client, server, watch }
    }

    /// Shaken hands, with nothing recorded.
    pub(crate) fn connected(cork: CorkConfig) -> Self {
        Self::fresh(cork, None).shake_hands()
    }

    pub(crate) fn shake_hands(mut self) -> Self {
        while self.client.is_handshaking() || self.server.is_handshaking() {
            self.turn().expect("the handshake");
        }
        // The tickets arrive: they are no concern of the tests.
        for _ in 0..3 {
            self.poll_for(Duration::from_millis(5)).expect("the tickets");
        }
        self.client.get_mut().forget();
        self.server.get_mut().forget();
        self
    }

    /// One turn of the loop.
    pub(crate) fn turn(&mut self) -> io::Result<()> {
        self.poll_for(Duration::from_millis(100)).map(drop)
    }

    /// One turn of the loop that waits no longer than `longest`; returns how many events there were.
    pub(crate) fn poll_for(&mut self, longest: Duration) -> io::Result<usize> {
        self.watch.tick();
        let mut timeout = longest;
        for (stream, token) in [(&mut self.client, CLIENT), (&mut self.server, SERVER)] {
            timeout = timeout.min(stream.before_poll()?.unwrap_or(longest));
            if std::mem::take(&mut stream.get_mut().rearm) {
                self.poll.registry().reregister(stream, token, BOTH)?;
            }
        }
        self.poll.poll(&mut self.events, Some(timeout))?;
        let mut count = 0;
        for event in &self.events {
            count += 1;
            match event.token() {
                CLIENT => self.client.handle_event(event)?,
                _ => self.server.handle_event(event)?,
            }
        }
        Ok(count)
    }

    /// Reads at the server until `len` bytes are there.
    pub(crate) fn server_gets(&mut self, len: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < len {
            if drain(&mut self.server, &mut got).expect("reading at the server") {
                panic!("the stream ended after {} of {len} bytes", got.len());
            }
            if got.len() < len {
                self.turn().expect("a turn of the loop");
            }
        }
        got
    }

    /// Reads at the server to the stream's end.
    pub(crate) fn server_gets_all(&mut self) -> io::Result<Vec<u8>> {
        let (got, outcome) = self.server_gets_to_the_end();
        outcome.map(|()| got)
    }

    /// Reads at the server to the stream's end, or to an error.
    pub(crate) fn server_gets_to_the_end(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut got = Vec::new();
        let outcome = loop {
            match drain(&mut self.server, &mut got)
                .and_then(|ended| if ended { Ok(true) } else { self.turn().map(|()| false) })
            {
                Ok(false) => {}
                done => break done.map(drop),
            }
        };
        (got, outcome)
    }
}

/// Reads until `WouldBlock`; true at the stream's end.
pub(crate) fn drain(stream: &mut TlsStream<Wire>, into: &mut Vec<u8>) -> io::Result<bool> {
    let mut buf = [0; 16 * 1024];
    for _ in 0..MAX_TURNS {
        match stream.read(&mut buf) {
            Ok(0) => return Ok(true),
            Ok(n) => into.extend_from_slice(&buf[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    panic!("no WouldBlock after {MAX_TURNS} reads")
}

/// Sends from `data[done..]`; `WouldBlock` is no progress.
pub(crate) fn send_some(stream: &mut TlsStream<Wire>, data: &[u8], done: &mut usize) {
    if *done == data.len() {
        return;
    }
    match stream.send(&data[*done..], SendFlags::NONE) {
        Ok(n) => *done += n,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => panic!("sending: {error}"),
    }
}

/// A hold that ends by other means, or never.
pub(crate) fn patient() -> CorkConfig {
    CorkConfig::default().max_hold(Duration::from_secs(60))
}
