//! What the documented loop is told when no event comes: `before_poll` is the moment before sleeping.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Poll};
use support::memory::{Endless, endless, output};
use support::{APPLICATION_DATA, BOTH, CLIENT, Pair, SERVER, Step, Watch, Wire, patient, sockets};
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;
use tls_cork_testing::sessions::{configs, name};

/// A server's stream over a socket that was registered before, and whose readable edge has been consumed: the ClientHello was read from it
/// or is still in it.
fn wrapped_late(hello_was_read: bool) -> Pair {
    let mut watch = Watch::new();
    let (client, mut server) = sockets(&mut watch);
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(16);
    poll.registry().register(&mut server, SERVER, BOTH).unwrap();
    let (client_config, server_config) = configs(None);
    let mut client = TlsStream::client_with(Wire::new(client), client_config, name(), CorkConfig::default()).unwrap();
    client.before_poll().unwrap();
    let mut hello = Vec::new();
    let mut edge = false;
    while !edge || (hello_was_read && hello.is_empty()) {
        watch.tick();
        poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        edge |= events.iter().any(|event| event.is_readable());
        if edge && hello_was_read {
            let mut buf = [0; 4096];
            let n = server.read(&mut buf).unwrap();
            hello.extend_from_slice(&buf[..n]);
        }
    }
    let server = TlsStream::server_with(Wire::new(server), server_config, CorkConfig::default()).unwrap();
    poll.registry().register(&mut client, CLIENT, BOTH).unwrap();
    Pair { poll, events, client, server: server.with_received(Bytes::from(hello)), watch }
}

/// The loop of the documentation; fails if it would sleep for ever.
fn shake_hands(mut pair: Pair) -> Pair {
    let mut silent = 0;
    while pair.client.is_handshaking() || pair.server.is_handshaking() {
        silent = if pair.poll_for(Duration::from_millis(200)).unwrap() == 0 { silent + 1 } else { 0 };
        assert!(silent < 10, "no event, and the handshake is not done");
    }
    pair
}

#[test]
fn a_handshake_whose_first_bytes_were_read_before_needs_no_event() {
    let mut pair = shake_hands(wrapped_late(true));
    assert_eq!(pair.client.write(b"after STARTTLS").unwrap(), 14);
    assert_eq!(pair.server_gets(14), b"after STARTTLS");
}

#[test]
fn a_handshake_over_a_socket_whose_edge_was_consumed_needs_no_event() {
    let mut pair = shake_hands(wrapped_late(false));
    assert_eq!(pair.client.write(b"late").unwrap(), 4);
    assert_eq!(pair.server_gets(4), b"late");
}

#[test]
fn loops_with_timers_of_their_own_are_told_by_the_timeout() {
    let mut pair = wrapped_late(true);
    assert!(pair.server.poll_timeout().is_some_and(|due| due <= Instant::now()));
    pair.server.handle_timeout().unwrap();
    assert!(!pair.server.get_ref().records.is_empty(), "the server has answered");
    assert_eq!(pair.server.poll_timeout(), None, "the rest comes with events");
}

/// A stream with `data` in bytes that came along before TLS took over.
fn with_unread(data: &[u8]) -> TlsStream<Endless> {
    let (stream, mut peer) = endless(patient());
    let mut wire = Vec::new();
    for piece in data.chunks(10) {
        let now = Instant::now();
        let _ = peer.write(now, &[IoSlice::new(piece)], SendFlags::NONE).unwrap();
        wire.extend(output(&mut peer));
    }
    stream.with_received(Bytes::from(wire))
}

#[test]
fn a_stream_with_unread_bytes_does_not_let_its_loop_sleep() {
    let mut stream = with_unread(b"ten bytes ten bytes ten bytes ");
    let mut buf = [0; 4];
    let mut got = Vec::new();
    while got.len() < 30 {
        assert_eq!(stream.before_poll().unwrap(), Some(Duration::ZERO), "after {} bytes", got.len());
        let n = stream.read(&mut buf).unwrap();
        got.extend_from_slice(&buf[..n]);
    }
    assert_eq!(got, b"ten bytes ten bytes ten bytes ");
    assert_eq!(stream.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_ne!(stream.before_poll().unwrap(), Some(Duration::ZERO));
}

#[test]
fn a_loop_that_does_not_want_to_read_sleeps() {
    let mut stream = with_unread(b"unread");
    assert_eq!(stream.before_poll().unwrap(), Some(Duration::ZERO));
    for _ in 0..3 {
        assert_ne!(stream.before_poll().unwrap(), Some(Duration::ZERO), "it would spin");
    }
}

#[test]
fn a_loop_that_reads_exactly_its_answer_does_not_wait_for_the_deadline() {
    let (mut stream, mut peer) = endless(patient());
    for round in 0..5 {
        let now = Instant::now();
        let _ = peer.write(now, &[IoSlice::new(b"answer")], SendFlags::NONE).unwrap();
        stream.get_mut().incoming.extend(output(&mut peer));
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        let before = stream.get_ref().sends;
        assert_eq!(stream.send(b"request", SendFlags::MORE).unwrap(), 7);
        stream.before_poll().unwrap();
        assert_eq!(stream.get_ref().sends, before + 1, "round {round}");
    }
}

#[test]
fn a_loop_that_only_writes_gathers_across_turns() {
    let (mut stream, _peer) = endless(patient());
    for _ in 0..10 {
        assert_eq!(stream.send(b"piece", SendFlags::MORE).unwrap(), 5);
        stream.before_poll().unwrap();
    }
    assert_eq!(stream.get_ref().sends, 0);
    // One whose last read had to wait gathers within its turns alone.
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    for turn in 1..=10 {
        assert_eq!(stream.send(b"piece", SendFlags::MORE).unwrap(), 5);
        stream.before_poll().unwrap();
        assert_eq!(stream.get_ref().sends, turn);
    }
}

#[test]
fn an_end_behind_a_consumed_edge_is_seen() {
    let mut watch = Watch::new();
    let (mut client, mut server) = sockets(&mut watch);
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(16);
    poll.registry().register(&mut server, SERVER, BOTH).unwrap();
    // The beginning of a ClientHello, and no more.
    while client.write_all(&[22, 3, 1, 1, 0, 1]).is_err() {
        watch.tick();
    }
    client.shutdown(Shutdown::Write).unwrap();
    while !events.iter().any(|event| event.is_read_closed()) {
        watch.tick();
        poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
    }
    let mut stream = TlsStream::server(server, configs(None).1, CorkConfig::default()).unwrap();
    let error = loop {
        watch.tick();
        match stream.before_poll() {
            Err(error) => break error,
            Ok(timeout) => assert_eq!(timeout, Some(Duration::ZERO), "it would sleep for ever"),
        }
    };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
}

#[test]
fn a_command_that_was_read_costs_the_gathering_of_one_turn() {
    let (mut stream, mut peer) = endless(patient());
    let _ = peer.write(Instant::now(), &[IoSlice::new(b"command")], SendFlags::NONE).unwrap();
    stream.get_mut().incoming.extend(output(&mut peer));
    let mut command = [0; 7];
    stream.read_exact(&mut command).unwrap();
    for _ in 0..10 {
        assert_eq!(stream.send(b"piece", SendFlags::MORE).unwrap(), 5);
        stream.before_poll().unwrap();
    }
    assert_eq!(stream.get_ref().sends, 1, "the first piece alone, then none");
}

#[test]
fn a_registered_stream_that_is_up_to_date_sleeps() {
    let mut pair = Pair::connected(CorkConfig::default());
    let mut buf = [0; 16];
    assert_eq!(pair.client.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(pair.client.before_poll().unwrap(), None);
    assert_eq!(pair.client.write(b"request").unwrap(), 7);
    assert_eq!(pair.client.get_ref().records, [APPLICATION_DATA]);
    assert_ne!(pair.client.before_poll().unwrap(), Some(Duration::ZERO));
}

#[test]
fn a_deferred_error_does_not_let_its_loop_sleep() {
    for step in [Step::Zero, Step::Reset] {
        let connected = || {
            let mut pair = Pair::connected(CorkConfig::default());
            pair.client.get_mut().sends = [step].into();
            assert_eq!(pair.client.write(b"accepted before the error").unwrap(), 25);
            pair.client
        };
        let kind = if step == Step::Zero { ErrorKind::WriteZero } else { ErrorKind::ConnectionReset };
        let mut stream = connected();
        assert_eq!(stream.before_poll().unwrap_err().kind(), kind);
        let mut stream = connected();
        assert!(stream.poll_timeout().is_some_and(|due| due <= Instant::now()), "a timer of the loop's own is due");
        assert_eq!(stream.handle_timeout().unwrap_err().kind(), kind);
    }
}

#[test]
fn an_error_that_a_timeout_meets_in_the_handshake_does_not_let_its_loop_sleep() {
    let mut pair = Pair::fresh(CorkConfig::default(), None);
    pair.client.before_poll().unwrap();
    pair.server.get_mut().sends = [Step::Reset].into();
    // The ClientHello may take a moment to arrive; its answer meets the error.
    while pair.server.get_ref().socket.peek(&mut [0]).is_err() {
        pair.watch.tick();
    }
    pair.server.handle_timeout().unwrap();
    assert!(pair.server.get_ref().sends.is_empty(), "the error was met");
    assert!(pair.server.poll_timeout().is_some_and(|due| due <= Instant::now()));
    assert_eq!(pair.server.before_poll().unwrap_err().kind(), ErrorKind::ConnectionReset);
}
