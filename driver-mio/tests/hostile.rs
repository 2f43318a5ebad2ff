//! Peers that mean harm, over the driver: an error that says what happened, or a stream that goes on, in bounded memory.
//!
//! The core's own test of this name has every attack; here are those in which the driver has a part.

mod support;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll};
use rustls::version::TLS13;
use rustls::{AlertDescription, Error, InvalidMessage};
use support::memory::{Endless, output};
use support::{BOTH, SERVER, Watch, sockets};
use tls_cork::{Connection, CorkConfig, ReceiveError, SendFlags};
use tls_cork_mio::TlsStream;
use tls_cork_testing::attack::bounds::{GATHERING, Limits};
use tls_cork_testing::attack::{APPLICATION, HANDSHAKE, Meter, Peer, Side, configs, offences, record};
use tls_cork_testing::meter;

const SENDING: usize = Limits::DEFAULT.sending();
const TICK: Duration = Duration::from_millis(5);

/// A server of ours in its event loop, and an attacker who has the other socket.
struct World {
    poll: Poll,
    events: Events,
    stream: TlsStream<TcpStream>,
    meter: Meter,
    watch: Watch,
    peer: Peer,
    socket: TcpStream,
}

impl World {
    fn fresh() -> Self {
        let (client, server) = configs(&TLS13, Side::Client, 1);
        let mut watch = Watch::new();
        let (socket, near) = sockets(&mut watch);
        let mut meter = meter!();
        let made = meter.run(|| TlsStream::server(near, Arc::new(server), CorkConfig::default()));
        let (poll, mut stream) = (Poll::new().expect("a poll"), made.expect("a server"));
        poll.registry().register(&mut stream, SERVER, BOTH).expect("registering");
        meter.reset();
        let events = Events::with_capacity(4);
        Self { poll, events, stream, meter, watch, peer: Peer::client(client), socket }
    }

    /// Hands shaken, with the meter at zero.
    fn connected() -> Self {
        let mut world = Self::fresh();
        while world.peer.0.is_handshaking() || world.stream.is_handshaking() {
            let wire = world.peer.output();
            world.send(&wire);
            assert!(world.content().expect("an honest handshake").is_empty());
            world.hear().expect("an honest handshake");
        }
        world.meter.reset();
        world
    }

    /// One turn of the victim's loop.
    fn turn(&mut self) -> io::Result<()> {
        self.watch.tick();
        let timeout = self.meter.run(|| self.stream.before_poll())?;
        self.poll.poll(&mut self.events, Some(timeout.map_or(TICK, |due| due.min(TICK))))?;
        for event in &self.events {
            self.meter.run(|| self.stream.handle_event(event))?;
        }
        Ok(())
    }

    /// One turn, and all that can be read after it.
    fn content(&mut self) -> io::Result<Vec<u8>> {
        self.turn()?;
        let (mut content, mut buf) = (Vec::new(), [0; 4096]);
        loop {
            match self.meter.run(|| self.stream.read(&mut buf)) {
                Ok(0) => return Ok(content),
                Ok(n) => content.extend_from_slice(&buf[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(content),
                Err(error) => return Err(error),
            }
        }
    }

    /// The attacker's bytes, as many as the socket takes.
    fn send_some(&mut self, wire: &[u8]) -> usize {
        match self.socket.write(wire) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the attacker's socket: {error}"),
        }
    }

    fn send(&mut self, wire: &[u8]) {
        assert_eq!(self.send_some(wire), wire.len(), "a socket's buffer takes that much");
    }

    /// What the victim has sent, decrypted.
    fn hear(&mut self) -> Result<Vec<u8>, Error> {
        let (mut wire, mut buf) = (Vec::new(), [0; 65_536]);
        while let Ok(n @ 1..) = self.socket.read(&mut buf) {
            wire.extend_from_slice(&buf[..n]);
        }
        self.peer.hear(&wire)
    }

    /// The kernel may take its time to deliver the alert, and does if it is busy.
    fn hears_alert(&mut self, due: AlertDescription) {
        let mut heard = self.hear();
        while heard.as_ref().is_ok_and(Vec::is_empty) {
            self.watch.tick();
            std::thread::sleep(Duration::from_millis(1));
            heard = self.hear();
        }
        assert_eq!(heard, Err(Error::AlertReceived(due)));
    }

    /// The session's end: `wire` as far as it takes to fail, by this name, again and again, and with the alert that is due.
    fn ends(mut self, mut wire: &[u8], expected: &Error, alert: Option<AlertDescription>) {
        let error = loop {
            wire = &wire[self.send_some(wire)..];
            if let Err(error) = self.content() {
                break error;
            }
        };
        assert_eq!((error.kind(), named(&error)), (ErrorKind::InvalidData, expected));
        for _ in 0..3 {
            let again = self.stream.read(&mut [0; 8]).expect_err("failed for good");
            assert_eq!(named(&again), expected);
            assert_eq!(self.stream.write(b"x").expect_err("failed for good").kind(), ErrorKind::BrokenPipe);
        }
        match alert {
            Some(due) => self.hears_alert(due),
            None => assert_eq!(self.hear(), Ok(Vec::new())),
        }
        assert!(self.meter.peak() <= GATHERING, "{expected:?}: {} bytes of heap", self.meter.peak());
    }
}

/// The error of TLS that `error` carries.
fn named(error: &io::Error) -> &Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(ReceiveError::Tls { error, .. }) => error,
        _ => panic!("{error:?}"),
    }
}

#[test]
fn garbage_for_a_hello_is_refused() {
    let too_long = [&[HANDSHAKE, 3, 1, 0xff, 0xff][..], &[0; 1 << 16]].concat();
    let mut crumbs = record(HANDSHAKE, &[1, 0, 0xff, 0xff]);
    crumbs.extend(record(HANDSHAKE, &[0]).repeat(0xffff));
    let alert = Some(AlertDescription::DecodeError);
    World::fresh().ends(b"GET / HTTP/1.1\r\n\r\n", &InvalidMessage::InvalidContentType.into(), alert);
    World::fresh().ends(&[0x5A; 1 << 20], &InvalidMessage::InvalidContentType.into(), alert);
    World::fresh().ends(&too_long, &InvalidMessage::MessageTooLarge.into(), alert);
    World::fresh().ends(&crumbs, &InvalidMessage::HandshakePayloadTooLarge.into(), None);
}

#[test]
fn hostile_records_end_the_session_by_name() {
    for (says, error, alert) in offences() {
        let mut world = World::connected();
        let wire = says(&mut world.peer);
        world.ends(&wire, &error, alert);
    }
}

#[test]
fn a_handshake_that_ends_early_is_told() {
    let mut world = World::fresh();
    let hello = world.peer.output();
    world.send(&hello[..hello.len() / 2]);
    world.socket.shutdown(Shutdown::Write).expect("a socket");
    let error = loop {
        if let Err(error) = world.turn() {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
}

#[test]
fn a_handshake_byte_by_byte_works() {
    let mut world = World::fresh();
    while world.peer.0.is_handshaking() || world.stream.is_handshaking() {
        for byte in world.peer.output() {
            world.send(&[byte]);
            assert!(world.content().expect("slow, not wrong").is_empty());
        }
        world.turn().expect("slow, not wrong");
        world.hear().expect("an honest victim");
    }
    let wire = world.peer.say(b"at last");
    world.send(&wire);
    let mut got = Vec::new();
    while got.len() < 7 {
        got.extend(world.content().expect("content"));
    }
    assert_eq!(got, b"at last");
}

#[test]
fn a_peer_that_says_nothing_costs_no_more_than_what_is_written() {
    let mut world = World::fresh();
    let mut accepted = 0;
    let error = loop {
        match world.meter.run(|| world.stream.send(&[7; 1000], SendFlags::NONE)) {
            Ok(n) => accepted += n,
            Err(error) => break error,
        }
        assert!(accepted < 1 << 20, "no end of it");
    };
    assert_eq!((error.kind(), accepted), (ErrorKind::WouldBlock, 256 * 1024));
    for _ in 0..3 {
        world.turn().expect("nothing wrong");
        assert_eq!(world.stream.poll_timeout(), None, "how long it may take is the caller's to say");
    }
    assert!(world.meter.peak() <= SENDING, "{}", world.meter.peak());
    assert_eq!(world.stream.abort().expect("a socket"), accepted);
}

#[test]
fn a_peer_that_never_reads_costs_bounded_memory_whatever_it_sends() {
    let mut world = World::connected();
    let data: Vec<u8> = (0..64u32 << 20).map(|n| (n / 251) as u8).collect();
    let mut accepted = 0;
    // The socket's own buffers first.
    loop {
        match world.meter.run(|| world.stream.send(&data[accepted..], SendFlags::NONE)) {
            Ok(n) => accepted += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let mut wire: Vec<u8> = Vec::new();
    for round in 0..313 {
        wire.extend(world.peer.key_updates(32));
        let taken = world.send_some(&wire);
        wire.drain(..taken);
        let flags = SendFlags::more_if(round % 3 == 0);
        let rest = &data[accepted..][..[1, 100, 30_000][round % 3]];
        match world.meter.run(|| world.stream.send(rest, flags)) {
            Ok(n) => accepted += n,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        assert!(world.content().expect("legal").is_empty());
    }
    while !wire.is_empty() {
        let taken = world.send_some(&wire);
        wire.drain(..taken);
        assert!(world.content().expect("legal").is_empty());
    }
    let peak = world.meter.peak();
    println!(
        "10,016 KeyUpdates and {accepted} bytes for a peer that never reads: {peak} bytes of heap, may be {SENDING}"
    );
    assert!(peak <= SENDING, "{peak} bytes of heap");
    assert!(accepted < data.len());
    // It begins to read after all.
    let mut got = Vec::new();
    while got.len() < accepted {
        got.extend(world.hear().expect("content"));
        world.turn().expect("a socket");
    }
    assert!(got == data[..accepted]);
    let wire = world.peer.say(b"still there");
    world.send(&wire);
    let mut got = Vec::new();
    while got.len() < 11 {
        got.extend(world.content().expect("content"));
    }
    assert_eq!(got, b"still there");
}

#[test]
fn a_flood_of_records_without_content_leaves_the_loop_its_turn() {
    /// What a read may take before it lets others have their turn, and what it takes at a time.
    const SHARE: usize = (256 + 64) * 1024;
    let (client, server) = configs(&TLS13, Side::Client, 1);
    let mut peer = Peer::client(client);
    let mut session = Connection::server(Arc::new(server), CorkConfig::default()).expect("a server");
    while peer.0.is_handshaking() || session.is_handshaking() {
        let wire = peer.output();
        assert_eq!(session.receive(Instant::now(), &wire).expect("an honest handshake").bytes, wire.len());
        peer.hear(&output(&mut session)).expect("an honest handshake");
    }
    let mut stream = TlsStream::new(Endless::default(), session).expect("nothing to prepare");
    stream.get_mut().incoming.extend(peer.key_updates(100_000));
    let mut calls = 0;
    while !stream.get_ref().incoming.is_empty() {
        let before = stream.get_ref().incoming.len();
        assert_eq!(stream.read(&mut [0; 16]).expect_err("no content").kind(), ErrorKind::WouldBlock);
        let left = stream.get_ref().incoming.len();
        assert!(before - left <= SHARE, "{} bytes in one call", before - left);
        let timeout = stream.before_poll().expect("legal");
        assert_eq!(timeout == Some(Duration::ZERO), left > 0, "{left} bytes are left");
        calls += 1;
    }
    assert!(calls > 5, "{calls}");
}

#[test]
// rustls 0.23 asserts in debug builds that it has not yet sent an alert of any kind.
#[cfg_attr(debug_assertions, should_panic(expected = "sent_fatal_alert"))]
fn point_13_garbage_after_our_own_close_is_an_error() {
    let mut world = World::connected();
    world.stream.close().expect("a socket");
    world.send(&record(APPLICATION, &[0x5A; 64]));
    let error = loop {
        if let Err(error) = world.content() {
            break error;
        }
    };
    assert_eq!(named(&error), &Error::DecryptError);
}
