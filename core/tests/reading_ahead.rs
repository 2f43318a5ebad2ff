//! R17: large reads into a buffer of the connection's own, which is bounded and given back.
#![allow(clippy::disallowed_methods)] // the start of virtual time

mod pair;

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::Instant;

use allocation_counter::measure;
use pair::Pair;
use rustls::version::{TLS12, TLS13};
use tls_cork::{Connection, Failure, ReceiveError, SendFlags, WriteError};
use tls_cork_testing::content::{is_stream, stream};
use tls_cork_testing::sessions::Version;

const BOTH: [Version; 2] = [&TLS12, &TLS13];
/// The most bytes that one read takes.
const READ_AHEAD: usize = 64 * 1024;

/// A transport that has all of `wire` at once, and counts its reads.
#[derive(Default)]
struct Full {
    wire: Vec<u8>,
    taken: usize,
    reads: usize,
}

impl Read for Full {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        match (&self.wire[self.taken..]).read(buf)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            taken => {
                self.taken += taken;
                Ok(taken)
            }
        }
    }
}

/// The records of `messages` messages of `len` bytes, which the pair's client sends.
fn messages(pair: &mut Pair, len: usize, messages: usize) -> Full {
    let mut full = Full::default();
    for n in 0..messages {
        pair.write(&stream(n * len, len), SendFlags::NONE).expect("room");
        pair.client.poll_transmit(&mut full.wire).expect("keys last");
    }
    full
}

/// Reads all that `full` has, up to `room` bytes at a time. Returns the plaintext and the number of
/// reads that returned some.
fn read_all(conn: &mut Connection, now: Instant, full: &mut Full, room: usize) -> (Vec<u8>, usize) {
    let (mut content, mut buf, mut calls) = (Vec::new(), vec![0; room], 0);
    loop {
        match conn.read(&mut buf) {
            Ok(0) => return (content, calls),
            Ok(len) => {
                content.extend_from_slice(&buf[..len]);
                calls += 1;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => match conn.receive_from(now, full) {
                Err(ReceiveError::Io(_)) => return (content, calls),
                received => assert!(received.expect("genuine records").bytes > 0),
            },
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_transport_that_always_has_data_is_read_in_large_steps() {
    for version in BOTH {
        for len in [100, 540, 4096, 16 * 1024] {
            let mut pair = Pair::connected(version);
            let total = 4 << 20;
            let mut full = messages(&mut pair, len, total / len);
            let (content, _) = read_all(&mut pair.server, pair.now, &mut full, 16 * 1024);
            assert!(content.len() == total / len * len && is_stream(&content, 0));
            // The last read found nothing.
            assert_eq!(full.reads - 1, full.wire.len().div_ceil(READ_AHEAD));
            if len == 16 * 1024 {
                let each = (full.reads - 1) as f64 / (content.len() / (16 * 1024)) as f64;
                assert!(each <= 0.30, "{each} reads for each 16 KiB");
            }
        }
    }
}

#[test]
fn one_read_returns_several_records_if_there_is_room() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        let mut full = messages(&mut pair, 1000, 50);
        let (content, calls) = read_all(&mut pair.server, pair.now, &mut full, 64 * 1024);
        assert!(is_stream(&content, 0));
        assert_eq!((content.len(), calls, full.reads), (50_000, 1, 2));
    }
}

#[test]
fn an_application_that_does_not_read_leaves_the_rest_to_the_transport() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        let mut full = messages(&mut pair, 4096, 256);
        let info = measure(|| {
            for _ in 0..1000 {
                let received = pair.server.receive_from(pair.now, &mut full).expect("genuine records");
                assert!(received.readable && !pair.server.wants_receive());
            }
        });
        assert_eq!((full.taken, full.reads), (READ_AHEAD, 1));
        // The buffer, the largest record encrypted and as plaintext, and bookkeeping.
        assert!(info.bytes_max < (READ_AHEAD + 4 * 16_384) as u64, "{info:?}");
        let (content, _) = read_all(&mut pair.server, pair.now, &mut full, 1000);
        assert!(content.len() == 1 << 20 && is_stream(&content, 0));
    }
}

#[test]
fn a_connection_without_received_bytes_has_no_buffer() {
    let mut pairs: Vec<Pair> = (0..20).map(|_| Pair::connected(&TLS13)).collect();
    let mut fulls: Vec<Full> = pairs.iter_mut().map(|pair| messages(pair, 5000, 3)).collect();
    let mut round = |pairs: &mut [Pair]| {
        for (pair, full) in pairs.iter_mut().zip(&mut fulls) {
            let mut one = Full { wire: full.wire[..5022].to_vec(), ..Full::default() };
            full.wire.drain(..5022);
            assert_eq!(read_all(&mut pair.server, pair.now, &mut one, 8192).0.len(), 5000);
        }
    };
    // The thread's first buffer, and the buffers of rustls.
    round(&mut pairs);
    let info = measure(|| round(&mut pairs));
    assert!(info.bytes_current < 4096, "{} bytes for 20 connections", info.bytes_current);
    assert!(info.bytes_max < READ_AHEAD as u64, "a read needs no new buffer: {info:?}");
}

#[test]
fn an_error_behind_plaintext_is_returned_when_the_plaintext_has_been_read() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        let mut full = messages(&mut pair, 16 * 1024, 3);
        *full.wire.last_mut().expect("records") ^= 1;
        let held = pair.server.write(pair.now, &[IoSlice::new(b"held")], SendFlags::MORE).expect("room").accepted;
        let received = pair.server.receive_from(pair.now, &mut full).expect("two genuine records");
        assert_eq!((received.bytes, received.readable), (full.wire.len(), true));
        let (mut content, mut buf) = (Vec::new(), [0; 10_000]);
        let error = loop {
            match pair.server.read(&mut buf) {
                Ok(len) => content.extend_from_slice(&buf[..len]),
                Err(error) => break error,
            }
            // Nothing is received, and no error returned, before the plaintext has been read.
            if !pair.server.wants_receive() {
                let received = pair.server.receive_from(pair.now, &mut io::empty()).expect("plaintext waits");
                assert_eq!((received.bytes, received.readable), (0, true));
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(content.len() == 2 * 16 * 1024 && is_stream(&content, 0));
        assert!(matches!(pair.server.failure(), Some(Failure::Receive(ReceiveError::Tls { .. }))));
        assert!(pair.server.wants_receive() && pair.server.wants_transmit(), "an error and an alert");
        let refused = pair.server.write(pair.now, &[IoSlice::new(b"x")], SendFlags::NONE);
        assert_eq!(refused.map(|written| written.accepted), Err(WriteError::Failed));
        for expected in [held, 0] {
            match pair.server.receive_from(pair.now, &mut io::empty()) {
                Err(ReceiveError::Tls { discarded, .. }) => assert_eq!(discarded, expected),
                other => panic!("{other:?}"),
            }
            assert!(!pair.server.wants_receive());
        }
    }
}

#[test]
fn bytes_behind_the_end_are_ignored() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        let mut full = messages(&mut pair, 16 * 1024, 2);
        let _ = pair.client.close(pair.now);
        pair.client.poll_transmit(&mut full.wire).expect("keys last");
        full.wire.extend([0x5A; 10_000]);
        let (content, _) = read_all(&mut pair.server, pair.now, &mut full, 5000);
        assert!(content.len() == 2 * 16 * 1024 && is_stream(&content, 0));
        assert_eq!(pair.server.read(&mut [0; 10]).expect("a proper end"), 0);
        assert!(!pair.server.wants_receive() && pair.server.failure().is_none());
        // Our direction is open.
        let written = pair.server.write(pair.now, &[IoSlice::new(b"answer")], SendFlags::NONE).expect("open");
        assert_eq!(written.accepted, 6);
    }
}

#[test]
fn a_cut_behind_plaintext_is_one_when_the_plaintext_has_been_read() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        let mut full = messages(&mut pair, 16 * 1024, 3);
        let _ = pair.server.receive_from(pair.now, &mut full).expect("genuine records");
        let (mut content, mut buf) = (Vec::new(), [0; 3000]);
        while let Ok(len) = pair.server.read(&mut buf) {
            content.extend_from_slice(&buf[..len]);
        }
        assert!(content.len() == 3 * 16 * 1024 && is_stream(&content, 0));
        let received = pair.server.receive_from(pair.now, &mut io::empty()).expect("an end");
        assert_eq!((received.bytes, received.readable), (0, true));
        assert_eq!(pair.server.read(&mut buf).expect_err("a cut").kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_key_update_among_the_bytes_is_answered() {
    let mut pair = Pair::connected(&TLS13);
    let mut full = messages(&mut pair, 16 * 1024, 2);
    pair.client.refresh_traffic_keys().expect("TLS 1.3");
    pair.client.poll_transmit(&mut full.wire).expect("keys last");
    pair.write(&stream(2 * 16 * 1024, 100), SendFlags::NONE).expect("room");
    pair.client.poll_transmit(&mut full.wire).expect("keys last");
    let _ = pair.server.receive_from(pair.now, &mut full).expect("genuine records");
    let answer = |pair: &mut Pair| pair.server.poll_transmit(&mut Vec::new()).expect("keys last");
    assert_eq!(answer(&mut pair), 0, "the request is behind plaintext");
    let (content, _) = read_all(&mut pair.server, pair.now, &mut full, 1000);
    assert!(content.len() == 2 * 16 * 1024 + 100 && is_stream(&content, 0));
    assert!(pair.server.wants_transmit() && answer(&mut pair) > 0);
}

#[test]
fn plaintext_in_place_goes_on_with_the_next_record() {
    for version in BOTH {
        let mut pair = Pair::connected(version);
        let mut full = messages(&mut pair, 16 * 1024, 3);
        let _ = pair.server.receive_from(pair.now, &mut full).expect("genuine records");
        let mut content = Vec::new();
        while let Ok(shown) = pair.server.fill_buf() {
            let len = shown.len().min(5000);
            content.extend_from_slice(&shown[..len]);
            pair.server.consume(len);
        }
        assert!(content.len() == 3 * 16 * 1024 && is_stream(&content, 0));
        assert_eq!(full.reads, 1);
    }
}

#[test]
fn a_session_of_rustls_that_is_taken_over_keeps_its_bytes() {
    let configs = tls_cork_testing::sessions::configs_with(rustls::crypto::aws_lc_rs::default_provider(), &TLS13);
    let (mut client, mut server) = tls_cork_testing::sessions::connected(&configs);
    let mut wire = Vec::new();
    for n in 0..4 {
        client.writer().write_all(&stream(n * 5000, 5000)).expect("room");
        client.write_tls(&mut wire).expect("a vector takes all");
    }
    let (first, rest) = wire.split_at(3000);
    server.read_tls(&mut &first[..]).expect("room");
    server.process_new_packets().expect("genuine");
    let mut conn = Connection::from_server(server, &configs.1, tls_cork::CorkConfig::default()).expect("a session");
    let mut full = Full { wire: rest.to_vec(), ..Full::default() };
    let (content, _) = read_all(&mut conn, Instant::now(), &mut full, 4096);
    assert!(content.len() == 20_000 && is_stream(&content, 0));
}
