//! The behaviour of `Connection` over two sessions of real rustls, in virtual time.
#![allow(clippy::disallowed_methods)] // the start of virtual time

mod pair;

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pair::{Pair, read_all, receive, transmit};
use proptest::prelude::*;
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedCipherSuite, Tls12CipherSuite};
use tls_cork::{
    Connection, ConnectionError, CorkConfig, Failure, FlushDecision, FlushReason, ReceiveError, RefreshError,
    SealError, SendFlags, TransmitError, WriteError,
};
use tls_cork_testing::content::stream;
use tls_cork_testing::sessions::{configs_with, name};

const APPLICATION: u8 = 23;
const ALERT: u8 = 21;

#[test]
fn header_with_more_and_body_are_one_record() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        let before = pair.up.log.len();
        pair.write(&stream(0, 28), SendFlags::MORE).unwrap();
        assert_eq!(pair.exchange().0.len(), 0);
        pair.write(&stream(28, 4096), SendFlags::NONE).unwrap();
        assert_eq!(pair.exchange().0, stream(0, 4124));
        assert_eq!(pair.up.records(before), [APPLICATION], "{version:?}");
    }
}

#[test]
fn a_large_vectored_write_fills_its_records() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        let (before, data) = (pair.up.log.len(), stream(0, 20_000));
        let bufs: Vec<_> = data.chunks(700).map(IoSlice::new).collect();
        let written = pair.client.write(pair.now, &bufs, SendFlags::NONE).unwrap();
        assert_eq!(written.accepted, 20_000);
        assert!(pair.exchange().0 == data);
        assert_eq!(pair.up.records(before), [APPLICATION; 2], "R4");
    }
}

#[test]
fn point_1_held_data_then_close_notify() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        pair.write(&stream(0, 1000), SendFlags::MORE).unwrap();
        let _ = pair.client.close(pair.now);
        let (data, end) = pair.exchange();
        assert_eq!(data, stream(0, 1000));
        assert!(end, "{version:?}");
        assert_eq!(pair.write(b"x", SendFlags::NONE), Err(WriteError::Closed));
        assert_eq!(pair.server.read(&mut [0; 8]).unwrap(), 0);
    }
}

#[test]
fn a_cut_stream_is_unexpected_eof() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        pair.write(b"data", SendFlags::NONE).unwrap();
        assert_eq!(pair.exchange(), (b"data".to_vec(), false));
        let received = pair.server.receive_from(pair.now, &mut io::empty()).unwrap();
        assert_eq!(received.bytes, 0);
        assert_eq!(pair.server.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[test]
fn point_2_plaintext_written_during_the_handshake_is_one_record_after_it() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::new(version);
        for n in 0..20 {
            pair.write(&stream(n * 50, 50), SendFlags::NONE).unwrap();
        }
        assert_eq!(pair.client.poll_timeout(), None);
        assert_eq!(pair.exchange().0, stream(0, 1000));
        assert_eq!(pair.client.stats().records, 1, "{version:?}");
    }
}

#[test]
fn close_during_the_handshake_waits_for_its_end() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::new(version);
        pair.write(b"early", SendFlags::MORE).unwrap();
        let _ = pair.client.close(pair.now);
        assert_eq!(pair.exchange(), (b"early".to_vec(), true), "{version:?}");
    }
}

#[test]
fn point_3_key_update_is_answered_while_data_is_held() {
    let (client, server) = configs_with(aws_lc_rs::default_provider(), &TLS13);
    let mut peer = ClientConnection::new(client, name()).unwrap();
    let mut server = Connection::server(server, CorkConfig::default()).unwrap();
    let now = Instant::now();
    // Moves bytes both ways until none move; returns the number of bytes that the server sent.
    fn exchange(peer: &mut ClientConnection, server: &mut Connection, now: Instant) -> usize {
        let mut sent = 0;
        loop {
            let mut up = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut up).unwrap();
            }
            assert_eq!(server.receive(now, &up).unwrap().bytes, up.len());
            let mut down = Vec::new();
            server.poll_transmit(&mut down).unwrap();
            sent += down.len();
            let mut rest = &down[..];
            while !rest.is_empty() {
                peer.read_tls(&mut rest).unwrap();
                peer.process_new_packets().unwrap();
            }
            if up.is_empty() && down.is_empty() {
                return sent;
            }
        }
    }
    exchange(&mut peer, &mut server, now);
    assert!(!server.is_handshaking());
    let _ = server.write(now, &[IoSlice::new(b"held")], SendFlags::MORE).unwrap();
    peer.refresh_traffic_keys().unwrap();
    assert!(exchange(&mut peer, &mut server, now) > 0, "the answer left");
    assert_eq!(server.waiting(), 4, "what was held still is");
    let due = server.poll_timeout().expect("a deadline");
    assert!(server.handle_timeout(due).is_flush());
    exchange(&mut peer, &mut server, due);
    let mut got = [0; 16];
    assert_eq!(peer.reader().read(&mut got).unwrap(), 4);
    assert_eq!(&got[..4], b"held");
    peer.writer().write_all(b"new keys").unwrap();
    exchange(&mut peer, &mut server, due);
    assert_eq!(server.read(&mut got).unwrap(), 8);
}

/// The default provider with one TLS 1.2 suite whose keys may encrypt eight records.
fn short_lived() -> CryptoProvider {
    lasting(8)
}

/// The same, with keys that may encrypt this number of records.
fn lasting(records: u64) -> CryptoProvider {
    let SupportedCipherSuite::Tls12(suite) = aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 else {
        panic!("a TLS 1.2 suite");
    };
    let common = CipherSuiteCommon {
        suite: suite.common.suite,
        hash_provider: suite.common.hash_provider,
        confidentiality_limit: records,
    };
    let suite: &'static Tls12CipherSuite = Box::leak(Box::new(Tls12CipherSuite {
        common,
        prf_provider: suite.prf_provider,
        kx: suite.kx,
        sign: suite.sign,
        aead_alg: suite.aead_alg,
    }));
    CryptoProvider { cipher_suites: vec![SupportedCipherSuite::Tls12(suite)], ..aws_lc_rs::default_provider() }
}

#[test]
fn point_10_exhausted_keys_are_an_error_of_their_own() {
    let mut pair = Pair::with(short_lived(), &TLS12, CorkConfig::default());
    pair.exchange();
    let mut received = 0;
    let discarded = loop {
        assert!(received < 100 * 100, "the keys never ran out");
        pair.write(&[7; 100], SendFlags::NONE).unwrap();
        match transmit(&mut pair.client, &mut pair.up) {
            Ok(_) => received += 100,
            Err(TransmitError::Seal { error: SealError::KeysExhausted, discarded }) => break discarded,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(discarded, 100);
    assert_eq!(pair.write(b"x", SendFlags::NONE), Err(WriteError::Failed));
    // Records that were sealed before still leave.
    transmit(&mut pair.client, &mut pair.up).unwrap();
    let _ = receive(&mut pair.server, pair.now, &mut pair.up);
    assert_eq!(read_all(&mut pair.server).unwrap().0.len(), received);
    assert_eq!(pair.client.waiting(), 0);
}

#[test]
fn garbage_from_the_peer_fails_the_connection_and_the_alert_leaves() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        pair.write(b"held", SendFlags::MORE).unwrap();
        let before = pair.up.log.len();
        let mut garbage = vec![APPLICATION, 3, 3, 0, 64];
        garbage.extend([0x5A; 64]);
        match pair.client.receive(pair.now, &garbage) {
            Err(ReceiveError::Tls { discarded, .. }) => assert_eq!(discarded, 4),
            other => panic!("{other:?}"),
        }
        assert_eq!(pair.write(b"x", SendFlags::NONE), Err(WriteError::Failed));
        transmit(&mut pair.client, &mut pair.up).unwrap();
        // TLS 1.3 encrypts alerts; they look like application data.
        let alert = if version.version == rustls::ProtocolVersion::TLSv1_3 { APPLICATION } else { ALERT };
        assert_eq!(pair.up.records(before), [alert]);
        let error = receive(&mut pair.server, pair.now, &mut pair.up).unwrap_err();
        assert!(matches!(error, ReceiveError::Tls { error: rustls::Error::AlertReceived(_), .. }), "{error}");
    }
}

#[test]
fn reading_goes_on_after_our_close() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::connected(version);
        let _ = pair.client.close(pair.now);
        assert!(pair.exchange().1);
        let _ = pair.server.write(pair.now, &[IoSlice::new(b"still here")], SendFlags::NONE).unwrap();
        pair.exchange();
        assert_eq!(read_all(&mut pair.client).unwrap(), (b"still here".to_vec(), false));
    }
}

#[test]
// In debug builds, rustls 0.23 asserts that it has not yet sent an alert of any kind.
#[cfg_attr(debug_assertions, should_panic(expected = "sent_fatal_alert"))]
fn point_13_garbage_after_our_own_close_notify_is_an_error() {
    let mut pair = Pair::connected(&TLS13);
    let _ = pair.client.close(pair.now);
    pair.exchange();
    let garbage = [&[APPLICATION, 3, 3, 0, 64][..], &[0x5A; 64]].concat();
    let error = pair.client.receive(pair.now, &garbage).unwrap_err();
    assert!(matches!(error, ReceiveError::Tls { discarded: 0, .. }), "{error}");
}

#[test]
fn output_over_rustls_says_more_only_if_bytes_wait_behind() {
    let mut pair = Pair::connected(&TLS13);
    pair.write(b"request", SendFlags::NONE).unwrap();
    assert_eq!(pair.exchange().0, b"request");
    let _ = pair.server.write(pair.now, &[IoSlice::new(b"reply")], SendFlags::NONE).unwrap();
    let reply = pair.server.take_transmit().unwrap().expect("the reply");
    assert!(!reply.more, "R8");
    assert!(!pair.server.wants_transmit() || pair.server.take_transmit().unwrap().is_none());
}

#[test]
fn point_10_what_is_sealed_counts_and_the_peer_sees_a_cut() {
    let mut pair = Pair::with(short_lived(), &TLS12, CorkConfig::default().record_size(1000));
    pair.exchange();
    // One write event of more records than the keys may encrypt.
    let accepted = pair.write(&stream(0, 17_000), SendFlags::NONE).unwrap();
    assert!(accepted > 0 && accepted < 17_000 && accepted.is_multiple_of(1000), "{accepted}");
    let told = transmit(&mut pair.client, &mut pair.up);
    assert!(
        matches!(told, Err(TransmitError::Seal { error: SealError::KeysExhausted, discarded: 0 })),
        "nothing that was accepted is lost: {told:?}"
    );
    let (data, end) = pair.exchange();
    assert!(pair.client.is_finished());
    assert!(data == stream(0, accepted));
    assert!(!end, "what is lost must not look like a proper end");
    let _ = pair.server.receive_from(pair.now, &mut io::empty()).unwrap();
    assert_eq!(pair.server.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn point_10_a_write_that_the_keys_refuse_in_part_releases_what_it_accepted() {
    let mut pair = Pair::with(short_lived(), &TLS12, CorkConfig::default().record_size(1000));
    pair.exchange();
    let _ = pair.client.write(pair.now, &[IoSlice::new(&[7; 10])], SendFlags::MORE).unwrap();
    let written = pair.client.write(pair.now, &[IoSlice::new(&[7; 17_000])], SendFlags::NONE).unwrap();
    assert!(written.accepted < 17_000);
    let bytes = 10 + written.accepted;
    assert_eq!(written.decision, FlushDecision::Flush { bytes, reason: FlushReason::Last });
    assert_eq!(pair.client.stats().plaintext_bytes, bytes as u64);
}

#[test]
fn point_10_small_records_that_the_keys_refuse_are_not_lost_unsaid() {
    // More records than rustls shows at a time wait when the keys run out.
    let mut pair = Pair::with(lasting(100), &TLS12, CorkConfig::default().record_size(100));
    pair.exchange();
    let accepted = pair.write(&stream(0, 17_000), SendFlags::NONE).unwrap();
    let told = transmit(&mut pair.client, &mut pair.up);
    assert!(
        matches!(told, Err(TransmitError::Seal { error: SealError::KeysExhausted, discarded: 0 })),
        "nothing that was accepted is lost: {told:?}"
    );
    let (data, end) = pair.exchange();
    assert!(!end, "what is lost must not look like a proper end");
    assert_eq!(data.len(), accepted);
}

#[test]
fn point_10_whatever_the_last_record_holds_its_loss_is_told() {
    let mut refused = 0;
    for (limit, record_size) in [(8, 16_384), (100, 100), (70, 1000)] {
        for records in limit - 3..limit + 2 {
            // An alert has two bytes. Some of these tails are shorter than what several records
            // add.
            for tail in [1, 2, 3, 31, 60, 99] {
                let mut pair = Pair::with(lasting(limit), &TLS12, CorkConfig::default().record_size(record_size));
                pair.exchange();
                let len = records as usize * record_size + tail;
                let (mut accepted, mut received, mut lost) = (0, 0, None);
                while accepted < len && lost.is_none() {
                    accepted += pair.write(&stream(accepted, len - accepted), SendFlags::NONE).unwrap_or(0);
                    match transmit(&mut pair.client, &mut pair.up) {
                        Ok(_) => {}
                        Err(TransmitError::Seal { error: SealError::KeysExhausted, discarded }) => {
                            lost = Some(discarded);
                        }
                        Err(error) => panic!("{error}"),
                    }
                    let (data, end) = pair.exchange();
                    assert!(data == stream(received, data.len()), "content");
                    assert!(!end, "what is lost must not look like a proper end");
                    received += data.len();
                }
                assert_eq!(received + lost.unwrap_or(0), accepted, "{records} records of {record_size}, {tail} behind");
                // With the one record of the handshake, the number of records is one less than the
                // limit.
                assert!(records > limit - 3 || lost.is_none(), "{records} records of {record_size}, {tail} behind");
                refused += usize::from(lost.is_some());
            }
        }
    }
    assert!(refused > 20, "{refused}: the keys lasted");
}

#[test]
fn as_many_records_as_one_send_takes_say_no_more() {
    let mut pair = Pair::with(aws_lc_rs::default_provider(), &TLS13, CorkConfig::default().record_size(100));
    pair.exchange();
    for records in [63, 64, 65, 128] {
        pair.write(&stream(0, records * 100), SendFlags::NONE).unwrap();
        let mut says_more = Vec::new();
        let _ = pair
            .client
            .transmit_with(|bufs, more| {
                says_more.push(more);
                Ok(bufs.iter().map(|buf| buf.len()).sum())
            })
            .unwrap();
        assert!(says_more.pop() == Some(false) && says_more.iter().all(|more| *more), "R8, {records} records");
    }
}

#[test]
fn point_3_nothing_follows_our_close_notify() {
    let mut pair = Pair::connected(&TLS13);
    let (client, server) = configs_with(aws_lc_rs::default_provider(), &TLS13);
    let mut peer = ClientConnection::new(client, name()).unwrap();
    pair.server = Connection::server(server, CorkConfig::default()).unwrap();
    let mut to_peer = Vec::new();
    let mut carry = |peer: &mut ClientConnection, server: &mut Connection| {
        for _ in 0..4 {
            let mut wire = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut wire).unwrap();
            }
            if !wire.is_empty() {
                let _ = server.receive(pair.now, &wire).unwrap();
            }
            server.poll_transmit(&mut to_peer).unwrap();
            let mut rest = &to_peer[..];
            while !rest.is_empty() {
                peer.read_tls(&mut rest).unwrap();
                peer.process_new_packets().unwrap();
            }
            to_peer.clear();
        }
    };
    carry(&mut peer, &mut pair.server);
    let _ = pair.server.close(pair.now);
    carry(&mut peer, &mut pair.server);
    assert!(pair.server.is_finished());
    peer.refresh_traffic_keys().unwrap();
    carry(&mut peer, &mut pair.server);
    assert!(pair.server.is_finished() && !pair.server.wants_transmit());
    peer.writer().write_all(b"still here").unwrap();
    carry(&mut peer, &mut pair.server);
    assert_eq!(read_all(&mut pair.server).unwrap().0, b"still here");
}

#[test]
fn abort_during_the_handshake_is_no_proper_end() {
    let mut pair = Pair::new(&TLS13);
    transmit(&mut pair.client, &mut pair.up).unwrap();
    receive(&mut pair.server, pair.now, &mut pair.up).unwrap();
    transmit(&mut pair.server, &mut pair.down).unwrap();
    // The server has keys for sending, and waits for the client's Finished.
    let _ = pair.server.write(pair.now, &[IoSlice::new(b"greeting")], SendFlags::NONE).unwrap();
    assert_eq!(pair.server.abort(), 8);
    transmit(&mut pair.server, &mut pair.down).unwrap();
    receive(&mut pair.client, pair.now, &mut pair.down).unwrap();
    assert_eq!(read_all(&mut pair.client).unwrap(), (vec![], false));
}

#[test]
fn a_fatal_error_is_said_again() {
    let mut pair = Pair::connected(&TLS13);
    let garbage = [&[APPLICATION, 3, 3, 0, 64][..], &[0x5A; 64]].concat();
    for _ in 0..3 {
        let error = pair.client.receive_from(pair.now, &mut &garbage[..]).unwrap_err();
        assert!(matches!(error, ReceiveError::Tls { .. }), "{error}");
    }
}

#[test]
fn an_error_behind_unread_plaintext_is_said_again() {
    let mut pair = Pair::connected(&TLS13);
    let _ = pair.server.write(pair.now, &[IoSlice::new(b"good")], SendFlags::NONE).unwrap();
    let mut wire = Vec::new();
    pair.server.poll_transmit(&mut wire).unwrap();
    wire.extend([APPLICATION, 3, 3, 0, 64]);
    wire.extend([0x5A; 64]);
    for _ in 0..2 {
        let error = pair.client.receive(pair.now, &wire).unwrap_err();
        assert!(matches!(error, ReceiveError::Tls { .. }), "{error}");
    }
    // Plaintext received before the error can still be read.
    assert_eq!(read_all(&mut pair.client).unwrap(), (b"good".to_vec(), false));
    assert!(pair.client.receive(pair.now, &wire).is_err());
}

#[test]
fn received_slices_say_whether_a_read_would_give_something() {
    let mut pair = Pair::connected(&TLS13);
    let _ = pair.server.write(pair.now, &[IoSlice::new(b"data")], SendFlags::NONE).unwrap();
    let _ = pair.server.close(pair.now);
    let mut wire = Vec::new();
    pair.server.poll_transmit(&mut wire).unwrap();
    assert!(pair.client.receive(pair.now, &wire).unwrap().readable);
    assert!(pair.client.receive(pair.now, &[]).unwrap().readable, "plaintext still waits");
    assert_eq!(read_all(&mut pair.client).unwrap(), (b"data".to_vec(), true));
    let end = pair.client.receive(pair.now, b"more").unwrap();
    assert_eq!((end.bytes, end.readable), (0, true), "the stream's end");
}

#[test]
fn a_session_with_small_fragments_seals_them_all() {
    for size in [64, 128, 16_384] {
        let (mut client, server) = configs_with(aws_lc_rs::default_provider(), &TLS13);
        Arc::make_mut(&mut client).max_fragment_size = Some(size);
        let mut pair = Pair::new(&TLS13);
        pair.client = Connection::client(client, name(), CorkConfig::default()).unwrap();
        pair.server = Connection::server(server, CorkConfig::default()).unwrap();
        let mut accepted = pair.write(&stream(0, 50_000), SendFlags::NONE).unwrap();
        let mut got = pair.exchange().0;
        while accepted < 400_000 {
            accepted += pair.write(&stream(accepted, 400_000 - accepted), SendFlags::NONE).unwrap();
            got.extend(pair.exchange().0);
        }
        assert!(got == stream(0, 400_000), "{size}");
        let stats = pair.client.stats();
        assert_eq!(stats.plaintext_bytes, 400_000);
        assert!(stats.records >= 400_000u64.div_ceil(size as u64 - 5), "{size}: {}", stats.records);
        assert!(stats.largest_batch > 98_304 - size as u64, "R7: batches grow, {size}: {}", stats.largest_batch);
    }
}

#[test]
fn plaintext_is_not_in_debug_output() {
    let mut pair = Pair::connected(&TLS13);
    pair.write(b"SECRETSECRET", SendFlags::MORE).unwrap();
    let secret = format!("{:?}", &b"SECRETSECRET"[..4]);
    let text = format!("{:?}", pair.client);
    assert!(!text.contains("SECRET") && !text.contains(secret.trim_matches(['[', ']'])), "{text}");
}

#[test]
fn point_11_a_peer_that_never_reads_costs_bounded_memory() {
    let mut pair = Pair::connected(&TLS13);
    pair.up.capacity = Some(10_000);
    let (mut accepted, mut blocked) = (0, 0);
    for n in 0..1000 {
        match pair.write(&stream(accepted, 20_000), SendFlags::more_if(n % 3 == 0)) {
            Ok(taken) => accepted += taken,
            Err(error) => {
                assert_eq!(error, WriteError::Blocked);
                blocked += 1;
            }
        }
        transmit(&mut pair.client, &mut pair.up).unwrap();
        assert!(pair.client.waiting() <= 256 * 1024);
    }
    assert!(blocked > 900 && accepted < 700 * 1024, "{blocked} {accepted}");
    // The server starts to read: everything accepted arrives.
    assert!(pair.exchange().0 == stream(0, accepted));
}

/// Reads once if `readable`, as a loop does that relies on `Received::readable`.
fn follow(conn: &mut Connection, readable: bool) -> Option<io::Result<usize>> {
    readable.then(|| conn.read(&mut [0; 64]))
}

#[test]
fn the_end_of_a_stream_is_readable() {
    for version in [&TLS12, &TLS13] {
        // In a slice, then from a reader.
        for slice in [true, false] {
            let mut pair = Pair::connected(version);
            let _ = pair.server.close(pair.now);
            let mut wire = Vec::new();
            pair.server.poll_transmit(&mut wire).unwrap();
            let received = if slice {
                pair.client.receive(pair.now, &wire)
            } else {
                pair.client.receive_from(pair.now, &mut &wire[..])
            };
            let read = follow(&mut pair.client, received.unwrap().readable);
            assert!(matches!(read, Some(Ok(0))), "{version:?}, {slice}: {read:?}");
        }
        let mut pair = Pair::connected(version);
        for _ in 0..2 {
            let received = pair.client.receive_from(pair.now, &mut io::empty()).unwrap();
            assert_eq!(received.bytes, 0);
            let read = follow(&mut pair.client, received.readable);
            let cut = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
            assert!(matches!(&read, Some(Err(error)) if cut(error)), "{version:?}: {read:?}");
        }
        assert!(pair.client.receive(pair.now, &[]).unwrap().readable, "the end is still to be read");
    }
}

#[test]
fn nothing_is_readable_before_there_is_something() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::new(version);
        assert!(!pair.client.receive(pair.now, &[]).unwrap().readable);
        let carry = |from: &mut Connection, to: &mut Connection| {
            let mut wire = Vec::new();
            from.poll_transmit(&mut wire).unwrap();
            for byte in wire {
                assert!(!to.receive(pair.now, &[byte]).unwrap().readable, "{version:?}");
            }
        };
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            carry(&mut pair.client, &mut pair.server);
            carry(&mut pair.server, &mut pair.client);
        }
    }
}

#[test]
fn an_end_within_the_handshake_is_said_again() {
    for version in [&TLS12, &TLS13] {
        let mut pair = Pair::new(version);
        pair.write(b"early", SendFlags::NONE).unwrap();
        transmit(&mut pair.client, &mut pair.up).unwrap();
        receive(&mut pair.server, pair.now, &mut pair.up).unwrap();
        let mut answer = Vec::new();
        pair.server.poll_transmit(&mut answer).unwrap();
        let error = pair.client.receive_from(pair.now, &mut io::empty()).unwrap_err();
        assert!(matches!(error, ReceiveError::HandshakeEof { discarded: 5 }), "{error}");
        // The transport delivers more bytes after its end.
        for _ in 0..2 {
            let error = pair.client.receive_from(pair.now, &mut &answer[..]).unwrap_err();
            assert!(matches!(error, ReceiveError::HandshakeEof { discarded: 0 }), "{error}");
            let error = pair.client.receive(pair.now, &answer).unwrap_err();
            assert!(matches!(error, ReceiveError::HandshakeEof { discarded: 0 }), "{error}");
            let error = pair.client.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert!(error.to_string().contains("during the TLS handshake"), "{error}");
            assert!(pair.client.is_handshaking() && pair.client.is_write_closed());
            assert_eq!(pair.write(b"x", SendFlags::NONE), Err(WriteError::Failed));
        }
    }
}

#[test]
fn facts_of_a_session_are_there_once_it_is() {
    for version in [&TLS12, &TLS13] {
        let (mut client, mut server) = configs_with(aws_lc_rs::default_provider(), version);
        Arc::make_mut(&mut client).alpn_protocols = vec![b"other".to_vec(), b"nbd".to_vec()];
        Arc::make_mut(&mut server).alpn_protocols = vec![b"nbd".to_vec()];
        let mut pair = Pair::new(version);
        pair.client = Connection::client(client, name(), CorkConfig::default()).unwrap();
        pair.server = Connection::server(server, CorkConfig::default()).unwrap();
        for conn in [&pair.client, &pair.server] {
            assert!(conn.is_handshaking() && conn.wants_receive() != conn.wants_transmit());
            assert!(conn.alpn_protocol().is_none() && conn.peer_certificates().is_none());
            assert!(conn.protocol_version().is_none() && conn.negotiated_cipher_suite().is_none());
            assert!(conn.negotiated_key_exchange_group().is_none() && conn.handshake_kind().is_none());
            assert!(conn.server_name().is_none());
            assert!(conn.export_keying_material([0; 16], b"label", None).is_err());
            assert!(!conn.is_write_closed() && !conn.is_finished() && conn.lost_bytes() == 0);
        }
        pair.exchange();
        for conn in [&pair.client, &pair.server] {
            assert!(!conn.is_handshaking() && conn.wants_receive() && !conn.wants_transmit());
            assert_eq!(conn.alpn_protocol(), Some(&b"nbd"[..]));
            assert_eq!(conn.protocol_version(), Some(version.version));
            assert!(conn.negotiated_cipher_suite().is_some() && conn.negotiated_key_exchange_group().is_some());
            assert_eq!(conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert!(conn.export_keying_material([0; 0], b"label", None).is_err());
        }
        assert_eq!(pair.client.peer_certificates().unwrap().len(), 1);
        assert!(pair.server.peer_certificates().is_none() && pair.client.server_name().is_none());
        assert_eq!(pair.server.server_name(), Some("localhost"));
        let keys = [&pair.client, &pair.server].map(|conn| conn.export_keying_material([0; 16], b"label", None));
        assert!(keys[0].is_ok() && keys[0] == keys[1]);
    }
}

#[test]
fn facts_of_a_resumed_session() {
    for version in [&TLS12, &TLS13] {
        let (client, mut server) = configs_with(aws_lc_rs::default_provider(), version);
        Arc::make_mut(&mut server).send_tls13_tickets = 1;
        let tls13 = version.version == rustls::ProtocolVersion::TLSv1_3;
        for kind in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let mut pair = Pair::new(version);
            pair.client = Connection::client(client.clone(), name(), CorkConfig::default()).unwrap();
            pair.server = Connection::server(server.clone(), CorkConfig::default()).unwrap();
            pair.exchange();
            for conn in [&pair.client, &pair.server] {
                assert_eq!(conn.handshake_kind(), Some(kind), "{version:?}");
                let exchanged = tls13 || kind == rustls::HandshakeKind::Full;
                assert_eq!(conn.negotiated_key_exchange_group().is_some(), exchanged, "{version:?}");
            }
            assert_eq!(pair.client.peer_certificates().unwrap().len(), 1);
        }
    }
}

#[test]
fn after_a_fatal_error_nothing_is_wanted() {
    let mut pair = Pair::connected(&TLS13);
    assert!(pair.client.wants_receive());
    assert!(pair.client.receive(pair.now, &[0; 8]).is_err());
    assert!(!pair.client.wants_receive());
    let mut pair = Pair::new(&TLS13);
    assert!(pair.server.wants_receive() && !pair.client.wants_receive(), "the hello goes first");
    assert!(pair.server.receive_from(pair.now, &mut io::empty()).is_err());
    assert!(!pair.server.wants_receive());
}

#[test]
fn a_connection_passes_commands_on() {
    let mut pair = Pair::connected(&TLS13);
    let now = pair.now;
    let conn = &mut pair.client;
    assert!(!conn.join_held(b"x", SendFlags::MORE), "nothing is held");
    let mut data = Bytes::from_static(b"abc");
    assert_eq!(conn.write_bytes(now, &mut data, SendFlags::MORE).unwrap().accepted, 3);
    assert!(data.is_empty() && conn.join_held(b"de", SendFlags::MORE));
    assert_eq!((conn.waiting(), conn.send_capacity()), (5, 256 * 1024 - 5));
    assert!(conn.handle_read_wait(now).is_flush());
    conn.cork(now);
    let _ = conn.write(now, &[IoSlice::new(b"f")], SendFlags::NONE).unwrap();
    assert!(conn.uncork(now).is_flush() && !conn.flush(now).is_flush());
    assert_eq!(pair.exchange().0, b"abcdef");
    let _ = pair.client.write(now, &[IoSlice::new(b"lost")], SendFlags::MORE).unwrap();
    assert_eq!(pair.client.abort(), 4);
    assert!(pair.client.is_write_closed() && pair.client.lost_bytes() == 0 && pair.client.send_capacity() == 0);
}

#[test]
fn a_session_set_up_with_rustls_works() {
    let (client, server) = configs_with(aws_lc_rs::default_provider(), &TLS13);
    let cork = CorkConfig::default();
    let invalid = cork.clone().record_size(0);
    let refused = Connection::from_client(ClientConnection::new(client.clone(), name()).unwrap(), &client, invalid);
    assert!(matches!(refused, Err(ConnectionError::Config(_))));
    let mut pair = Pair::new(&TLS13);
    let session = ClientConnection::new(client.clone(), name()).unwrap();
    pair.client = Connection::from_client(session, &client, cork.clone()).unwrap();
    pair.server = Connection::from_server(ServerConnection::new(server.clone()).unwrap(), &server, cork).unwrap();
    pair.write(b"data", SendFlags::NONE).unwrap();
    assert_eq!(pair.exchange().0, b"data");
    assert_eq!(pair.client.stats().records, 1);
}

#[test]
fn a_session_set_up_with_rustls_has_the_record_size_of_its_configuration() {
    let (client, server) = configs_with(aws_lc_rs::default_provider(), &TLS13);
    let (mut client, mut server) = (ClientConfig::clone(&client), ServerConfig::clone(&server));
    (client.max_fragment_size, server.max_fragment_size) = (Some(105), Some(205));
    let (client, server) = (Arc::new(client), Arc::new(server));
    let mut pair = Pair::new(&TLS13);
    let config = CorkConfig::default().hold_limit(tls_cork::MAX_RECORD_SIZE);
    let session = ClientConnection::new(client.clone(), name()).unwrap();
    pair.client = Connection::from_client(session, &client, config.clone()).unwrap();
    let session = ServerConnection::new(server.clone()).unwrap();
    pair.server = Connection::from_server(session, &server, config).unwrap();
    pair.exchange();
    for (conn, record, pipe) in [(&mut pair.client, 100, &mut pair.up), (&mut pair.server, 200, &mut pair.down)] {
        // Less than a record is held. For that the policy has to know the session's record size.
        let written = conn.write(pair.now, &[IoSlice::new(&stream(0, record - 1))], SendFlags::MORE).unwrap();
        assert!(!written.decision.is_flush());
        let written = conn.write(pair.now, &[IoSlice::new(b"x")], SendFlags::MORE).unwrap();
        assert_eq!(written.decision, FlushDecision::Flush { bytes: record, reason: FlushReason::RecordFull });
        let before = pipe.log.len();
        transmit(conn, pipe).unwrap();
        assert_eq!(pipe.records(before), [APPLICATION]);
    }
}

/// Transmits to a transport that reports `surplus` more bytes than it was offered. Returns the
/// number offered, and the result.
fn overrun(conn: &mut Connection, surplus: usize) -> (usize, Result<usize, TransmitError>) {
    let mut offered = 0;
    let done = conn.transmit_with(|bufs, _more| {
        offered = bufs.iter().map(|buf| buf.len()).sum();
        Ok(offered + surplus)
    });
    (offered, done.map(|done| done.bytes))
}

#[test]
fn a_transport_that_took_more_than_it_was_offered_is_an_error_behind_any_number_of_records() {
    for version in [&TLS12, &TLS13] {
        for records in [1, 63, 64, 65, 128] {
            let mut pair = Pair::with(aws_lc_rs::default_provider(), version, CorkConfig::default().record_size(100));
            pair.exchange();
            let accepted = pair.write(&stream(0, records * 100), SendFlags::NONE).unwrap();
            let (offered, done) = overrun(&mut pair.client, 50);
            let said = match done {
                Err(TransmitError::Overrun { offered, reported, discarded }) => (offered, reported, discarded),
                other => panic!("a surplus of 50 bytes: {other:?}"),
            };
            assert_eq!(said, (offered, offered + 50, accepted), "{version:?}, {records} records");
            assert!(pair.client.is_finished() && pair.client.lost_bytes() > 0);
            assert_eq!(pair.write(b"x", SendFlags::NONE), Err(WriteError::Failed));
        }
    }
}

#[test]
fn a_transport_that_took_too_much_cannot_bring_out_a_close_notify_of_used_up_keys() {
    let mut pair = Pair::with(short_lived(), &TLS12, CorkConfig::default().record_size(1000));
    pair.exchange();
    pair.write(&stream(0, 17_000), SendFlags::NONE).unwrap();
    assert!(transmit(&mut pair.client, &mut pair.up).is_err());
    let (offered, done) = overrun(&mut pair.client, 7);
    assert!(offered > 0 && matches!(done, Err(TransmitError::Overrun { .. })), "{done:?}");
    let after = pair.client.transmit_with(|_, _| panic!("nothing more may leave"));
    assert!(matches!(after, Err(TransmitError::Overrun { .. })) && !pair.client.wants_transmit());
}

#[test]
fn a_transport_that_took_too_much_of_a_handshake_ends_it() {
    let mut pair = Pair::new(&TLS13);
    pair.write(b"early", SendFlags::NONE).unwrap();
    let (_, done) = overrun(&mut pair.client, 1);
    assert!(matches!(done, Err(TransmitError::Overrun { discarded: 5, .. })), "{done:?}");
    assert_eq!(pair.write(b"x", SendFlags::NONE), Err(WriteError::Failed));
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, bool),
    Cork,
    Uncork,
    Flush,
    Advance(u64),
    Transmit,
    Receive,
    Capacity(Option<usize>),
}

fn op() -> impl Strategy<Value = Op> {
    let length = prop_oneof![6 => 0usize..600, 2 => 600usize..40_000, 1 => 60_000usize..300_000];
    prop_oneof![
        8 => (length, any::<bool>()).prop_map(|(len, more)| Op::Write(len, more)),
        1 => Just(Op::Cork),
        1 => Just(Op::Uncork),
        1 => Just(Op::Flush),
        2 => (0u64..15).prop_map(Op::Advance),
        4 => Just(Op::Transmit),
        3 => Just(Op::Receive),
        1 => prop::option::of(1usize..50_000).prop_map(Op::Capacity),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_intact_whatever_the_caller_does(
        tls13 in any::<bool>(), handshake_first in any::<bool>(), ops in prop::collection::vec(op(), 1..50),
    ) {
        let mut pair = Pair::new(if tls13 { &TLS13 } else { &TLS12 });
        if handshake_first {
            pair.exchange();
        }
        let (mut accepted, mut got) = (0, Vec::new());
        for op in ops {
            match op {
                Op::Write(len, more) => match pair.write(&stream(accepted, len), SendFlags::more_if(more)) {
                    Ok(taken) => accepted += taken,
                    Err(error) => prop_assert_eq!(error, WriteError::Blocked),
                },
                Op::Cork => pair.client.cork(pair.now),
                Op::Uncork => { let _ = pair.client.uncork(pair.now); }
                Op::Flush => { let _ = pair.client.flush(pair.now); }
                Op::Advance(ms) => {
                    pair.now += Duration::from_millis(ms);
                    let _ = pair.client.handle_timeout(pair.now);
                }
                Op::Transmit => { transmit(&mut pair.client, &mut pair.up).expect("transmit"); }
                Op::Receive => got.extend(pair.exchange().0),
                Op::Capacity(capacity) => pair.up.capacity = capacity,
            }
            prop_assert!(pair.client.waiting() <= 256 * 1024);
        }
        let _ = pair.client.close(pair.now);
        let (rest, end) = pair.exchange();
        got.extend(rest);
        prop_assert!(end);
        prop_assert!(got == stream(0, accepted), "{} of {accepted} bytes", got.len());
    }
}

#[test]
fn a_reader_that_reports_more_than_fits_is_an_error() {
    struct Liar;
    impl Read for Liar {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            Ok(buf.len() + 1)
        }
    }
    let mut pair = Pair::connected(&TLS13);
    let error = pair.client.receive_from(pair.now, &mut Liar).unwrap_err();
    let ReceiveError::Io(error) = error else { panic!("{error}") };
    assert!(error.to_string().contains("reported"), "{error}");
    pair.write(b"still there", SendFlags::NONE).unwrap();
    assert_eq!(pair.exchange().0, b"still there");
}

/// The error texts for a peer that begins with these bytes: in one piece, byte by byte, and from a
/// further call.
fn refused(server: bool, wire: &[u8]) -> [String; 3] {
    let mut texts = Vec::new();
    for step in [wire.len(), 1] {
        let Pair { client, server: other, now, .. } = Pair::new(&TLS13);
        let mut conn = if server { other } else { client };
        conn.poll_transmit(&mut Vec::new()).expect("a transport that takes all");
        let error = wire.chunks(step).find_map(|part| conn.receive(now, part).err()).expect("an error");
        texts.push(error.to_string());
        if step == 1 {
            texts.push(conn.receive(now, b"x").expect_err("again").to_string());
        }
    }
    texts.try_into().expect("three texts")
}

#[test]
fn a_peer_that_does_not_speak_tls_gets_an_error_that_says_so() {
    let other: [(bool, &[u8]); 4] = [
        (true, b"GET / HTTP/1.1\r\n\r\n"),
        (false, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        (false, b"220 mail ESMTP\r\n"),
        (true, &[22, b'x', 0, 0, 1, 0]), // only the first byte looks like TLS
    ];
    for (server, wire) in other {
        for text in refused(server, wire) {
            assert!(text.contains("the peer does not seem to speak TLS"), "{wire:?}: {text}");
        }
    }
    // Wrong bytes, but they begin like TLS.
    for wire in [[22, 3, 1, 0, 1, 99], [21, 3, 3, 0, 2, 2]] {
        let wire = [&wire[..], &[40; 4]].concat();
        for text in refused(false, &wire) {
            assert!(!text.contains("speak TLS"), "{text}");
        }
    }
}

#[test]
fn the_fatal_error_can_be_asked_for_again_with_what_it_cost() {
    // A failure found by a receive.
    let mut pair = Pair::connected(&TLS13);
    assert!(pair.client.failure().is_none());
    pair.write(b"held", SendFlags::MORE).unwrap();
    let error = pair.client.receive(pair.now, &[23, 3, 3, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("4 bytes"), "{text}");
    for _ in 0..2 {
        let failure = pair.client.failure().expect("it has failed");
        assert!(matches!(failure, Failure::Receive(ReceiveError::Tls { discarded: 4, .. })), "{failure:?}");
        assert_eq!(failure.to_string(), text);
        assert!(pair.client.receive(pair.now, b"x").is_err());
    }
    assert_eq!(pair.client.lost_bytes(), 4);

    // A failure found by a transmit.
    let mut pair = Pair::connected(&TLS13);
    pair.write(b"data", SendFlags::NONE).unwrap();
    let (_, done) = overrun(&mut pair.client, 1);
    let text = done.unwrap_err().to_string();
    let failure = pair.client.failure().expect("it has failed");
    assert!(matches!(failure, Failure::Transmit(TransmitError::Overrun { discarded: 4, .. })), "{failure:?}");
    assert_eq!(failure.to_string(), text);

    // The transport ends during the handshake.
    let mut pair = Pair::new(&TLS13);
    pair.client.poll_transmit(&mut Vec::new()).unwrap();
    assert!(pair.client.receive_from(pair.now, &mut io::empty()).is_err());
    assert!(matches!(pair.client.failure(), Some(Failure::Receive(ReceiveError::HandshakeEof { discarded: 0 }))));
}

#[test]
fn the_debug_text_of_a_session_is_one_short_line() {
    let mut pair = Pair::new(&TLS13);
    assert_eq!(format!("{:#?}", pair.client), "Connection(client, handshaking, 0 bytes waiting)");
    pair.exchange();
    pair.write(b"held", SendFlags::MORE).unwrap();
    assert_eq!(format!("{:?}", pair.client), "Connection(client, TLSv1_3, open, 4 bytes waiting)");
    assert_eq!(format!("{:?}", pair.server), "Connection(server, TLSv1_3, open, 0 bytes waiting)");
    let _ = pair.client.close(pair.now);
    assert_eq!(format!("{:?}", pair.client), "Connection(client, TLSv1_3, closed, 4 bytes waiting)");
    assert!(overrun(&mut pair.client, 1).1.is_err());
    assert_eq!(format!("{:?}", pair.client), "Connection(client, TLSv1_3, failed, 0 bytes waiting)");
}

#[test]
fn keys_are_refreshed_by_the_next_transmit_once_and_held_bytes_stay_held() {
    let mut pair = Pair::new(&TLS13);
    assert_eq!(pair.client.refresh_traffic_keys(), Err(RefreshError::Handshaking));
    pair.exchange();
    pair.write(b"held", SendFlags::MORE).unwrap();
    for round in 1..=3 {
        let before = (pair.up.log.len(), pair.down.log.len());
        for _ in 0..1000 {
            assert_eq!(pair.client.refresh_traffic_keys(), Ok(()));
        }
        assert!(pair.client.wants_transmit());
        assert_eq!(pair.exchange().0, b"");
        // Like all encrypted records of TLS 1.3, KeyUpdates look like application data.
        assert_eq!(pair.up.records(before.0), [APPLICATION], "one request, round {round}");
        assert_eq!(pair.down.records(before.1), [APPLICATION], "and its answer");
        assert_eq!((pair.client.waiting(), pair.client.stats().records), (4, 0));
    }
    // The request follows the records that are sealed already, and precedes the others.
    pair.up.capacity = Some(0);
    pair.write(b" first", SendFlags::NONE).unwrap();
    assert_eq!(transmit(&mut pair.client, &mut pair.up).unwrap(), 0);
    assert_eq!(pair.client.refresh_traffic_keys(), Ok(()));
    pair.write(b" second", SendFlags::NONE).unwrap();
    pair.up.capacity = None;
    let before = pair.up.log.len();
    assert_eq!(pair.exchange().0, b"held first second");
    assert_eq!(pair.up.records(before), [APPLICATION; 3]);
    let _ = pair.client.close(pair.now);
    assert_eq!(pair.client.refresh_traffic_keys(), Err(RefreshError::Closed));
    assert!(pair.exchange().1);
}

#[test]
fn keys_are_not_refreshed_in_tls_1_2_nor_after_a_failure() {
    let mut pair = Pair::connected(&TLS12);
    assert_eq!(pair.client.refresh_traffic_keys(), Err(RefreshError::Unsupported));
    assert!(!pair.client.wants_transmit());
    let mut pair = Pair::connected(&TLS13);
    assert!(overrun(&mut pair.client, 0).1.is_ok() && !pair.client.wants_transmit());
    pair.write(b"data", SendFlags::NONE).unwrap();
    assert!(overrun(&mut pair.client, 1).1.is_err());
    assert_eq!(pair.client.refresh_traffic_keys(), Err(RefreshError::Failed));
}
