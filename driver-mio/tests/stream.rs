//! `TlsStream` over loopback sockets whose sends are recorded and can be scripted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, event};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, Tls12CipherSuite};
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::{TlsStream, Transport};

const CLIENT: Token = Token(0);
const SERVER: Token = Token(1);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
const APPLICATION_DATA: u8 = 23;
const MAX_TURNS: usize = 200_000;
const MAX_TIME: Duration = Duration::from_secs(20);

/// What the transport does with one send or one read.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    WouldBlock,
    Interrupted,
    Zero,
    Reset,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    bytes: usize,
    more: bool,
}

/// A socket that records what is sent over it.
#[derive(Debug)]
struct Wire {
    socket: TcpStream,
    sends: VecDeque<Step>,
    reads: VecDeque<Step>,
    /// A read was cut short by script, which says nothing about the socket.
    scripted_reads: bool,
    read_calls: usize,
    sent: Vec<Sent>,
    calls: usize,
    /// Content types of the records whose headers were sent.
    records: Vec<u8>,
    header: Vec<u8>,
    body_left: usize,
    /// A scripted `WouldBlock` needs a new event.
    rearm: bool,
}

impl Wire {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            sends: VecDeque::new(),
            reads: VecDeque::new(),
            scripted_reads: false,
            read_calls: 0,
            sent: Vec::new(),
            calls: 0,
            records: Vec::new(),
            header: Vec::new(),
            body_left: 0,
            rearm: false,
        }
    }

    fn forget(&mut self) {
        self.sent.clear();
        self.records.clear();
    }

    fn count(&mut self, bufs: &[IoSlice<'_>], taken: usize) {
        for &byte in bufs.iter().flat_map(|buf| buf.iter()).take(taken) {
            if self.body_left > 0 {
                self.body_left -= 1;
                continue;
            }
            self.header.push(byte);
            if let [kind, _, _, high, low] = self.header[..] {
                self.records.push(kind);
                self.body_left = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
            }
        }
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

/// TLS configurations for both ends; `suite` restricts them to one.
fn configs(suite: Option<SupportedCipherSuite>) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a private key");
    let mut provider = aws_lc_rs::default_provider();
    if let Some(suite) = suite {
        provider.cipher_suites = vec![suite];
    }
    let provider = Arc::new(provider);
    let versions: &[_] = match suite {
        Some(SupportedCipherSuite::Tls12(_)) => &[&rustls::version::TLS12],
        _ => rustls::DEFAULT_VERSIONS,
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root certificate");
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");
    (Arc::new(client), Arc::new(server))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a server name")
}

/// A bound on every loop.
struct Watch {
    end: Instant,
    turns: usize,
}

impl Watch {
    fn new() -> Self {
        Self { end: Instant::now() + MAX_TIME, turns: 0 }
    }

    fn tick(&mut self) {
        self.turns += 1;
        assert!(self.turns < MAX_TURNS, "no end after {MAX_TURNS} turns");
        assert!(Instant::now() < self.end, "no end after {MAX_TIME:?} and {} turns", self.turns);
    }
}

/// Two connected sockets.
fn sockets(watch: &mut Watch) -> (TcpStream, TcpStream) {
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
struct Pair {
    poll: Poll,
    events: Events,
    client: TlsStream<Wire>,
    server: TlsStream<Wire>,
    watch: Watch,
}

impl Pair {
    /// Not yet shaken hands.
    fn fresh(cork: CorkConfig, suite: Option<SupportedCipherSuite>) -> Self {
        let mut watch = Watch::new();
        let (client, server) = sockets(&mut watch);
        let (client_config, server_config) = configs(suite);
        let client = TlsStream::client_with(Wire::new(client), client_config, name(), cork.clone()).expect("a client");
        let server = TlsStream::server_with(Wire::new(server), server_config, cork).expect("a server");
        Self::over(client, server, watch)
    }

    fn over(mut client: TlsStream<Wire>, mut server: TlsStream<Wire>, watch: Watch) -> Self {
        let poll = Poll::new().expect("a poll");
        poll.registry().register(&mut client, CLIENT, BOTH).expect("registering");
        poll.registry().register(&mut server, SERVER, BOTH).expect("registering");
        Self { poll, events: Events::with_capacity(16), client, server, watch }
    }

    /// Shaken hands, with nothing recorded.
    fn connected(cork: CorkConfig) -> Self {
        Self::fresh(cork, None).shake_hands()
    }

    fn shake_hands(mut self) -> Self {
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
    fn turn(&mut self) -> io::Result<()> {
        self.poll_for(Duration::from_millis(100)).map(drop)
    }

    /// One turn of the loop that waits no longer than `longest`; returns how many events there were.
    fn poll_for(&mut self, longest: Duration) -> io::Result<usize> {
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
    fn server_gets(&mut self, len: usize) -> Vec<u8> {
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
    fn server_gets_all(&mut self) -> io::Result<Vec<u8>> {
        let (got, outcome) = self.server_gets_to_the_end();
        outcome.map(|()| got)
    }

    /// Reads at the server to the stream's end, or to an error.
    fn server_gets_to_the_end(&mut self) -> (Vec<u8>, io::Result<()>) {
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
fn drain(stream: &mut TlsStream<Wire>, into: &mut Vec<u8>) -> io::Result<bool> {
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
fn send_some(stream: &mut TlsStream<Wire>, data: &[u8], done: &mut usize) {
    if *done == data.len() {
        return;
    }
    match stream.send(&data[*done..], SendFlags::NONE) {
        Ok(n) => *done += n,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => panic!("sending: {error}"),
    }
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A hold that ends by other means, or never.
fn patient() -> CorkConfig {
    CorkConfig::default().max_hold(Duration::from_secs(60))
}

#[test]
fn header_and_body_are_one_record_and_one_send() {
    let mut pair = Pair::connected(patient());
    assert_eq!(pair.client.send(b"header ", SendFlags::MORE).unwrap(), 7);
    assert!(pair.client.get_ref().sent.is_empty());
    assert_eq!(pair.client.send(b"body", SendFlags::NONE).unwrap(), 4);
    let wire = pair.client.get_ref();
    assert_eq!(wire.records, [APPLICATION_DATA]);
    assert_eq!(wire.sent.len(), 1);
    assert!(!wire.sent[0].more);
    assert_eq!(pair.server_gets(11), b"header body");
}

#[test]
fn slices_are_one_record_and_one_send() {
    let mut pair = Pair::connected(patient());
    let bufs = [IoSlice::new(b"header "), IoSlice::new(b""), IoSlice::new(b"body")];
    assert_eq!(pair.client.send_vectored(&bufs, SendFlags::NONE).unwrap(), 11);
    assert_eq!(pair.client.get_ref().records, [APPLICATION_DATA]);
    assert_eq!(pair.client.get_ref().sent.len(), 1);
    assert_eq!(pair.server_gets(11), b"header body");
}

#[test]
fn written_during_the_handshake_leaves_as_one_record() {
    let mut pair = Pair::fresh(patient(), None);
    for piece in [&b"one "[..], b"two ", b"three"] {
        assert_eq!(pair.client.write(piece).unwrap(), piece.len());
    }
    assert_eq!(pair.server_gets(13), b"one two three");
    assert_eq!(pair.client.stats().records, 1);
}

#[test]
fn megabytes_are_echoed_intact() {
    const LEN: usize = 6 << 20;
    let mut pair = Pair::connected(CorkConfig::default());
    let data = pattern(LEN, 1);
    let (mut sent, mut echoed) = (0, 0);
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    while at_client.len() < LEN {
        send_some(&mut pair.client, &data, &mut sent);
        assert!(!drain(&mut pair.server, &mut at_server).unwrap());
        if echoed < at_server.len() {
            send_some(&mut pair.server, &at_server, &mut echoed);
        }
        assert!(!drain(&mut pair.client, &mut at_client).unwrap());
        if at_client.len() < LEN {
            // Progress that needs no event must not wait for one.
            let idle = sent == LEN && echoed == at_server.len();
            pair.poll_for(Duration::from_millis(if idle { 100 } else { 1 })).unwrap();
        }
    }
    assert!(at_client == data);
}

#[test]
fn both_directions_at_once_and_owned_bytes() {
    const LEN: usize = 3 << 20;
    let mut pair = Pair::connected(CorkConfig::default());
    let (up, down) = (pattern(LEN, 2), pattern(LEN, 3));
    let (mut up_left, mut down_left) = (Bytes::from(up.clone()), Bytes::from(down.clone()));
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    while at_server.len() < LEN || at_client.len() < LEN {
        for (stream, left) in [(&mut pair.client, &mut up_left), (&mut pair.server, &mut down_left)] {
            let before = left.len();
            match stream.send_bytes(left, SendFlags::NONE) {
                Ok(n) => assert_eq!(n, before - left.len()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(!drain(&mut pair.server, &mut at_server).unwrap());
        assert!(!drain(&mut pair.client, &mut at_client).unwrap());
        if at_server.len() < LEN || at_client.len() < LEN {
            pair.poll_for(Duration::from_millis(1)).unwrap();
        }
    }
    assert!(at_server == up);
    assert!(at_client == down);
}

#[test]
fn the_deadline_fires_when_the_last_piece_never_comes() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.client.send(b"never finished", SendFlags::MORE).unwrap(), 14);
    assert!(pair.client.get_ref().sent.is_empty());
    assert!(pair.client.poll_timeout().is_some());
    assert_eq!(pair.server_gets(14), b"never finished");
}

#[test]
fn the_deadline_fires_under_a_cork() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.cork();
    assert_eq!(pair.client.write(b"corked").unwrap(), 6);
    assert!(pair.client.get_ref().sent.is_empty());
    assert_eq!(pair.server_gets(6), b"corked");
    assert_eq!(pair.client.write(b" still").unwrap(), 6);
    assert_eq!(pair.client.get_ref().sent.len(), 1);
    pair.client.uncork().unwrap();
    assert_eq!(pair.server_gets(6), b" still");
}

#[test]
fn waiting_for_the_answer_releases_the_request() {
    let mut pair = Pair::connected(patient());
    assert_eq!(pair.client.send(b"request", SendFlags::MORE).unwrap(), 7);
    let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
    while at_client.is_empty() {
        assert!(!drain(&mut pair.client, &mut at_client).unwrap());
        assert!(!drain(&mut pair.server, &mut at_server).unwrap());
        if at_server == b"request" {
            at_server.clear();
            assert_eq!(pair.server.write(b"answer").unwrap(), 6);
        }
        if at_client.is_empty() {
            pair.turn().unwrap();
        }
    }
    assert_eq!(at_client, b"answer");
}

#[test]
fn a_read_that_would_block_does_not_release_by_itself() {
    let mut pair = Pair::connected(patient());
    assert_eq!(pair.client.send(b"request", SendFlags::MORE).unwrap(), 7);
    for _ in 0..10 {
        assert_eq!(pair.client.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert!(pair.client.get_ref().sent.is_empty());
}

#[test]
fn close_sends_what_is_held_and_ends_the_stream() {
    let mut pair = Pair::connected(patient());
    assert_eq!(pair.client.send(b"held", SendFlags::MORE).unwrap(), 4);
    pair.client.close().unwrap();
    assert!(!pair.client.wants_transmit());
    assert_eq!(pair.server_gets_all().unwrap(), b"held");
    assert_eq!(pair.server.read(&mut [0; 16]).unwrap(), 0);

    // Half-closed: the other direction goes on.
    assert_eq!(pair.server.write(b"later").unwrap(), 5);
    let mut at_client = Vec::new();
    while at_client.len() < 5 {
        assert!(!drain(&mut pair.client, &mut at_client).unwrap());
        if at_client.len() < 5 {
            pair.turn().unwrap();
        }
    }
    assert_eq!(at_client, b"later");
}

#[test]
fn close_behind_a_full_buffer_still_ends_the_stream() {
    let mut pair = Pair::connected(CorkConfig::default());
    let data = pattern(64 << 20, 4);
    let mut sent = 0;
    let mut before = usize::MAX;
    while sent != before {
        before = sent;
        send_some(&mut pair.client, &data, &mut sent);
        pair.poll_for(Duration::from_millis(20)).unwrap();
    }
    assert!(sent < data.len());
    pair.client.close().unwrap();
    assert!(pair.client.wants_transmit());
    assert!(pair.server_gets_all().unwrap() == data[..sent]);
}

#[test]
fn a_cut_stream_is_told_from_its_end() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.client.write(b"cut").unwrap(), 3);
    pair.client.get_ref().socket.shutdown(Shutdown::Write).unwrap();
    let (got, outcome) = pair.server_gets_to_the_end();
    assert_eq!(got, b"cut");
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn abort_with_held_data_is_a_cut_stream() {
    let mut pair = Pair::connected(patient());
    assert_eq!(pair.client.send(b"held", SendFlags::MORE).unwrap(), 4);
    assert_eq!(pair.client.abort().unwrap(), 4);
    pair.client.get_ref().socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(pair.server_gets_all().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn write_after_close_is_a_broken_pipe() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.close().unwrap();
    assert_eq!(pair.client.write(b"late").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut late = Bytes::from_static(b"late");
    assert_eq!(pair.client.send_bytes(&mut late, SendFlags::MORE).unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(late, &b"late"[..]);
}

#[test]
fn a_full_buffer_would_block_and_does_not_spin() {
    let limit = 256 * 1024;
    let mut pair = Pair::connected(CorkConfig::default().send_buffer_limit(limit));
    let data = pattern(64 << 20, 5);
    let mut sent = 0;
    loop {
        let (before, calls) = (sent, pair.client.get_ref().calls);
        send_some(&mut pair.client, &data, &mut sent);
        let events = pair.poll_for(Duration::from_millis(50)).unwrap();
        if sent == before && events == 0 && pair.client.get_ref().calls == calls {
            break;
        }
    }
    assert!(sent < data.len());
    assert!(pair.client.connection().waiting() <= limit);
    let calls = pair.client.get_ref().calls;
    for _ in 0..100 {
        assert_eq!(pair.client.send(&data[sent..], SendFlags::NONE).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(pair.client.flush().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(pair.client.get_ref().calls, calls);
    assert!(pair.server_gets(sent) == data[..sent]);
    assert!(pair.client.send(&data[sent..], SendFlags::NONE).unwrap() > 0);
}

#[test]
fn short_sends_and_interruptions_lose_nothing() {
    let mut pair = Pair::fresh(CorkConfig::default(), None);
    let steps = [Step::Take(1), Step::Interrupted, Step::WouldBlock, Step::Take(3), Step::Take(700)];
    let script: VecDeque<Step> = steps.into_iter().cycle().take(1000).collect();
    for stream in [&mut pair.client, &mut pair.server] {
        stream.get_mut().sends = script.clone();
        stream.get_mut().reads = script.clone();
    }
    let mut pair = pair.shake_hands();
    let data = pattern(300_000, 6);
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < data.len() {
        send_some(&mut pair.client, &data, &mut sent);
        assert!(!drain(&mut pair.server, &mut got).unwrap());
        if got.len() < data.len() {
            pair.poll_for(Duration::from_millis(1)).unwrap();
        }
    }
    assert!(got == data);
    assert!(pair.client.get_ref().sends.is_empty());
}

#[test]
fn a_retry_may_bring_other_bytes() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Take(10), Step::WouldBlock].into();
    assert_eq!(pair.client.write(b"first").unwrap(), 5);
    assert!(pair.client.wants_transmit());
    assert_eq!(pair.client.write(b" second").unwrap(), 7);
    assert_eq!(pair.client.write(b" third").unwrap(), 6);
    assert_eq!(pair.server_gets(18), b"first second third");
    // Late sealing: what came while the first record waited shares one.
    assert_eq!(pair.client.get_ref().records, [APPLICATION_DATA; 2]);
}

#[test]
fn a_send_of_zero_bytes_is_an_error() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Zero, Step::Zero].into();
    // The bytes are accepted; the error comes with the next call.
    assert_eq!(pair.client.write(b"lost").unwrap(), 4);
    assert_eq!(pair.client.flush().unwrap_err().kind(), ErrorKind::WriteZero);
}

#[test]
fn a_reset_while_sending_is_told() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Reset; 3].into();
    assert_eq!(pair.client.write(b"lost").unwrap(), 4);
    assert_eq!(pair.client.before_poll().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(pair.client.flush().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_while_receiving_is_told() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.client.write(b"x").unwrap(), 1);
    pair.server.get_mut().reads = [Step::Interrupted, Step::Reset].into();
    assert_eq!(pair.server_gets_all().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn an_end_during_the_handshake_is_told() {
    let mut pair = Pair::fresh(CorkConfig::default(), None);
    pair.server.get_mut().reads = [Step::Zero].into();
    let mut outcome = Ok(());
    while outcome.is_ok() {
        outcome = pair.turn();
    }
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn more_is_said_only_if_bytes_wait_behind() {
    let mut pair = Pair::connected(patient());
    // Ends in a tail that is held: not a reason to say more.
    let data = pattern(200_100, 7);
    let mut owned = Bytes::from(data.clone());
    assert_eq!(pair.client.send_bytes(&mut owned, SendFlags::MORE).unwrap(), data.len());
    assert!(!pair.client.wants_transmit(), "the sockets take 200 KB at once");
    let sent = std::mem::take(&mut pair.client.get_mut().sent);
    assert!(sent.len() > 1);
    let (last, others) = sent.split_last().unwrap();
    assert!(!last.more);
    assert!(others.iter().all(|sent| sent.more), "whole batches wait behind: {sent:?}");
    assert!(sent.iter().map(|sent| sent.bytes).sum::<usize>() < data.len(), "the tail is held");

    pair.client.flush().unwrap();
    assert!(pair.client.get_ref().sent.iter().all(|sent| !sent.more));
    assert!(pair.server_gets(data.len()) == data);
}

#[test]
fn bytes_received_before_tls_are_handed_over() {
    let mut watch = Watch::new();
    let (client, mut server) = sockets(&mut watch);
    let (client_config, server_config) = configs(None);
    let mut client = TlsStream::client_with(Wire::new(client), client_config, name(), CorkConfig::default()).unwrap();
    let mut first = Vec::new();
    while first.len() < 100 {
        watch.tick();
        client.before_poll().unwrap();
        let mut byte = [0; 50];
        match server.read(&mut byte) {
            Ok(n) => first.extend_from_slice(&byte[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("reading: {error}"),
        }
    }
    let server = TlsStream::server_with(Wire::new(server), server_config, CorkConfig::default()).unwrap();
    let mut pair = Pair::over(client, server.with_received(Bytes::from(first)), watch).shake_hands();
    assert_eq!(pair.client.write(b"after STARTTLS").unwrap(), 14);
    assert_eq!(pair.server_gets(14), b"after STARTTLS");
}

#[test]
fn close_during_the_handshake_is_done_when_all_has_left() {
    let mut pair = Pair::fresh(CorkConfig::default(), None);
    assert_eq!(pair.client.write(b"early").unwrap(), 5);
    pair.client.close().unwrap();
    assert_eq!(pair.client.flush().unwrap_err().kind(), ErrorKind::WouldBlock, "what was written has not left");
    while !pair.client.is_finished() {
        pair.turn().unwrap();
    }
    assert_eq!(pair.client.connection().waiting(), 0);
    assert_eq!(pair.server_gets_all().unwrap(), b"early");
}

/// A TLS 1.2 suite whose keys are good for a few records.
fn short_lived_suite() -> SupportedCipherSuite {
    let suite = aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let SupportedCipherSuite::Tls12(suite) = suite else { panic!("not TLS 1.2") };
    let mut copy = Tls12CipherSuite { common: rustls::crypto::CipherSuiteCommon { ..suite.common }, ..*suite };
    assert_eq!(copy.common.suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    copy.common.confidentiality_limit = 8;
    SupportedCipherSuite::Tls12(Box::leak(Box::new(copy)))
}

#[test]
fn used_up_keys_are_told() {
    let mut pair = Pair::fresh(CorkConfig::default(), Some(short_lived_suite())).shake_hands();
    let mut outcome = Ok(0);
    for _ in 0..100 {
        outcome = pair.client.write(b"record");
        if outcome.is_err() {
            break;
        }
    }
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    assert!(error.to_string().contains("keys are used up"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_short_read_is_not_followed_by_one_that_would_block() {
    let mut pair = Pair::connected(CorkConfig::default());
    for round in 0..3 {
        assert_eq!(pair.client.write(b"request").unwrap(), 7);
        let before = pair.server.get_ref().read_calls;
        assert_eq!(pair.server_gets(7), b"request");
        assert_eq!(pair.server.get_ref().read_calls, before + 1, "round {round}");
    }
    // The last bytes and the end arrive together: no further event tells of the end.
    assert_eq!(pair.client.write(b"last").unwrap(), 4);
    pair.client.get_ref().socket.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let (got, outcome) = pair.server_gets_to_the_end();
    assert_eq!(got, b"last");
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn what_the_peer_said_last_is_read_although_sending_fails() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.server.write(b"refused: and why").unwrap(), 16);
    pair.client.get_mut().sends = [Step::Reset; 100].into();
    assert_eq!(pair.client.write(b"request").unwrap(), 7, "an error of the transport comes one call late");
    let mut got = Vec::new();
    while got.len() < 16 {
        pair.watch.tick();
        // No `before_poll`: that is where the error is told.
        pair.poll.poll(&mut pair.events, Some(Duration::from_millis(100))).unwrap();
        for event in pair.events.iter().filter(|event| event.token() == CLIENT) {
            pair.client.handle_event(event).unwrap();
        }
        drain(&mut pair.client, &mut got).unwrap();
    }
    assert_eq!(got, b"refused: and why");
    assert_eq!(pair.client.before_poll().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_dead_socket_is_told_by_the_second_send() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Reset; 100].into();
    assert_eq!(pair.client.write(b"one").unwrap(), 3);
    for _ in 0..3 {
        assert_eq!(pair.client.write(b"two").unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(pair.client.write(b"three").unwrap(), 5);
    }
}

#[test]
fn a_refused_connection_is_told_as_such() {
    let gone = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut poll = Poll::new().unwrap();
    let mut stream =
        TlsStream::client(TcpStream::connect(address).unwrap(), configs(None).0, name(), CorkConfig::default())
            .unwrap();
    poll.registry().register(&mut stream, CLIENT, BOTH).unwrap();
    let mut events = Events::with_capacity(4);
    let mut watch = Watch::new();
    let error = loop {
        watch.tick();
        poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        if let Some(error) = events.iter().find_map(|event| stream.handle_event(event).err()) {
            break error;
        }
        match stream.read(&mut [0; 8]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn broken_tls_is_said_again() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.client.get_mut().socket.write(&[0x5A; 100]).unwrap(), 100);
    let mut got = Vec::new();
    let first = loop {
        match drain(&mut pair.server, &mut got) {
            Ok(_) => pair.turn().unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(first.kind(), ErrorKind::InvalidData);
    for _ in 0..3 {
        assert_eq!(pair.server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
