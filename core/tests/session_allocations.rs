//! Heap allocations of sending over rustls, and the memory that an idle session keeps. Counted per
//! thread, so that tests that run in parallel do not disturb one another.
#![allow(clippy::disallowed_methods)] // the start of virtual time

#[path = "../benches/session/mod.rs"]
mod session;

use std::io::{self, IoSlice, Read, Write};
use std::time::Instant;

use allocation_counter::measure;
use bytes::Bytes;
use tls_cork::{Connection, CorkConfig, ReceiveError, SendFlags};
use tls_cork_testing::sessions::{configs, name};

const ROUNDS: u64 = 10_000;
const HEADER: &[u8] = &[7; 28];
const BODY: &[u8] = &[42; 512];
/// Header and body in one record of TLS 1.3, which adds its header, the content type and the tag.
const RECORD: usize = HEADER.len() + BODY.len() + 5 + 1 + 16;
/// The most heap memory that an idle session keeps, in bytes.
const IDLE_BYTES: i64 = 1024;
/// A message that a server has for many clients.
const SHARED_BYTES: usize = 16 << 20;
/// The most heap that such a message takes for a client that does not read, in bytes.
const STALLED_BYTES: u64 = 128 * 1024;

#[test]
fn over_rustls_they_allocate_as_often_as_rustls_alone_for_joined_ones() {
    let (mut plain, joined) = (session::plain(), [HEADER, BODY].concat());
    let mut round_alone = || {
        assert_eq!(plain.writer().write(&joined).expect("open"), joined.len());
        assert_eq!(plain.write_tls(&mut io::sink()).expect("a transport that takes all"), RECORD);
    };
    let (mut corked, now) = (session::corked(), Instant::now());
    let mut round = || {
        let _ = corked.write(now, &[IoSlice::new(HEADER)], SendFlags::MORE).expect("room");
        let _ = corked.write(now, &[IoSlice::new(BODY)], SendFlags::NONE).expect("room");
        assert_eq!(corked.transmit_with(take_all).expect("a transport that takes all").bytes, RECORD);
    };
    round_alone();
    round();
    let alone = measure(|| (0..ROUNDS).for_each(|_| round_alone()));
    let ours = measure(|| (0..ROUNDS).for_each(|_| round()));
    assert!(alone.count_total >= ROUNDS, "rustls has a buffer for each record: {alone:?}");
    assert_eq!(ours.count_total, alone.count_total, "{ours:?}, alone {alone:?}");
}

#[test]
fn an_idle_session_keeps_no_buffers() {
    // Its buffer is the thread's afterwards.
    used(session::corked());
    let new = session::corked();
    let info = measure(|| std::mem::forget(used(new))); // counts as kept
    assert!(info.bytes_current < IDLE_BYTES, "{info:?}");
}

/// A session that has sent many pieces and is idle now.
fn used(mut corked: Connection) -> Connection {
    let now = Instant::now();
    for _ in 0..99 {
        let _ = corked.write(now, &[IoSlice::new(&[3; 4096])], SendFlags::MORE).expect("room");
        let _ = corked.transmit_with(take_all).expect("a transport that takes all");
    }
    assert!(corked.waiting() > 0);
    let due = corked.poll_timeout().expect("a deadline");
    assert!(corked.handle_timeout(due).is_flush());
    let _ = corked.transmit_with(take_all).expect("a transport that takes all");
    let due = corked.poll_timeout().expect("a buffer to give back");
    let _ = corked.handle_timeout(due);
    assert_eq!((corked.waiting(), corked.poll_timeout()), (0, None));
    corked
}

#[test]
fn a_server_that_is_idle_after_its_first_message_keeps_no_buffers() {
    // The buffer that it reads ahead into is the thread's afterwards.
    let (mut server, end, message) = before_the_first_message();
    receive_all(&mut server, &[&end, &message]);
    let (mut server, end, message) = before_the_first_message();
    let apart = measure(|| receive_all(&mut server, &[&end, &message]));
    let (mut server, end, message) = before_the_first_message();
    let both = [end, message].concat();
    let together = measure(|| receive_all(&mut server, &[&both]));
    let more = together.bytes_current - apart.bytes_current;
    assert!(more < IDLE_BYTES, "{more} bytes more if both arrive together");
}

/// A server, and the wire bytes that it gets next: the end of the client's handshake, and its first
/// message.
fn before_the_first_message() -> (Connection, Vec<u8>, Vec<u8>) {
    let (now, config) = (Instant::now(), CorkConfig::default());
    let configs = configs(None);
    let mut client = Connection::client(configs.0, name(), config.clone()).expect("a client");
    let mut server = Connection::server(configs.1, config).expect("a server");
    let mut wire = Vec::new();
    client.poll_transmit(&mut wire).expect("a hello");
    let _ = server.receive(now, &wire).expect("a hello");
    wire.clear();
    server.poll_transmit(&mut wire).expect("an answer");
    let _ = client.receive(now, &wire).expect("an answer");
    wire.clear();
    client.poll_transmit(&mut wire).expect("the end of the handshake");
    let _ = client.write(now, &[IoSlice::new(&[1; 5000])], SendFlags::NONE).expect("room");
    let mut message = Vec::new();
    client.poll_transmit(&mut message).expect("a message");
    assert!(server.is_handshaking());
    (server, wire, message)
}

/// Receives what arrives in these parts, and reads the message.
fn receive_all(server: &mut Connection, arrives: &[&[u8]]) {
    let now = Instant::now();
    let mut read = 0;
    for mut part in arrives.iter().copied() {
        while !part.is_empty() || !server.wants_receive() {
            let _ = server.receive_from(now, &mut part).expect("a message");
            while let Ok(taken) = server.read(&mut [0; 5000]) {
                read += taken;
            }
        }
    }
    assert_eq!(read, 5000);
    let waits = server.receive_from(now, &mut Waits).expect_err("nothing more");
    assert!(matches!(waits, ReceiveError::Io(_)), "{waits}");
}

/// A transport without bytes.
struct Waits;

impl Read for Waits {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[test]
fn a_shared_message_is_not_copied_for_a_peer_that_does_not_read() {
    let message = Bytes::from(vec![5; SHARED_BYTES]);
    let mut corked = session::corked_with(CorkConfig::default().send_buffer_limit(SHARED_BYTES));
    let info = measure(|| {
        let mut shared = message.clone();
        let _ = corked.write_bytes(Instant::now(), &mut shared, SendFlags::NONE).expect("room");
        assert!(shared.is_empty(), "{} bytes were not accepted", shared.len());
        let done = corked.transmit_with(|_, _| Err(io::ErrorKind::WouldBlock.into())).expect("no error");
        assert!(done.blocked);
    });
    println!("{} bytes of heap for a shared message of {SHARED_BYTES} bytes", info.bytes_current);
    assert!(corked.waiting() > SHARED_BYTES / 2, "the message waits");
    assert!(info.bytes_max < STALLED_BYTES, "{info:?}");
}

fn take_all(bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
    Ok(bufs.iter().map(|buf| buf.len()).sum())
}
