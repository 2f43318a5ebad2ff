//! When bytes leave, in how many records and sends, and that they arrive.

mod support;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use bytes::Bytes;
use support::{APPLICATION_DATA, Pair, Watch, Wire, drain, patient, send_some, sockets};
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::{configs, name};

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
fn a_read_leaves_nothing_to_transmit() {
    let mut pair = Pair::connected(patient());
    for byte in 0..3 {
        pair.client.send(&[byte; 5000], SendFlags::NONE).unwrap(); // rustls takes 4 KiB at a time
    }
    let (mut got, mut buf) = (0, [0; 3000]);
    while got < 15_000 {
        match pair.server.read(&mut buf) {
            Ok(n) => {
                got += n;
                assert!(!pair.server.wants_transmit(), "after {got} bytes");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => pair.turn().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn point_2_written_during_the_handshake_leaves_as_one_record() {
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
    let data = noise(LEN, 1);
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
    let (up, down) = (noise(LEN, 2), noise(LEN, 3));
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
fn point_4_the_deadline_fires_when_the_last_piece_never_comes() {
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
fn point_5_waiting_for_the_answer_releases_the_request() {
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
fn point_6_more_is_said_only_if_bytes_wait_behind() {
    let mut pair = Pair::connected(patient());
    // Ends in a tail that is held: not a reason to say more.
    let data = noise(200_100, 7);
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
fn point_12_flush_sends_what_is_held_also_under_a_cork() {
    let mut pair = Pair::connected(patient());
    pair.client.cork();
    assert_eq!(pair.client.write(b"held").unwrap(), 4);
    assert!(pair.client.get_ref().sent.is_empty());
    pair.client.flush().unwrap();
    assert_eq!(pair.client.get_ref().records, [APPLICATION_DATA]);
    assert_eq!(pair.server_gets(4), b"held");
    assert_eq!(pair.client.write(b"next").unwrap(), 4);
    assert_eq!(pair.client.get_ref().sent.len(), 1, "the cork stays on");
    pair.client.uncork().unwrap();
    assert_eq!(pair.server_gets(4), b"next");
}

#[test]
fn a_stream_that_starts_corked_sends_plain_writes_with_its_flush() {
    let mut pair = Pair::connected(patient().corked(true));
    pair.client.get_mut().forget();
    for piece in [&b"one "[..], b"two ", b"three"] {
        pair.client.write_all(piece).unwrap();
    }
    assert!(pair.client.get_ref().sent.is_empty());
    pair.client.flush().unwrap();
    let wire = pair.client.get_ref();
    assert_eq!((&wire.records[..], wire.sent.len()), (&[APPLICATION_DATA][..], 1));
    assert_eq!(pair.server_gets(13), b"one two three");
}

#[test]
fn keys_are_refreshed_at_once_and_what_is_held_stays_held() {
    let mut pair = Pair::fresh(patient(), None);
    assert_eq!(pair.client.refresh_traffic_keys().unwrap_err().kind(), ErrorKind::NotConnected);
    let mut pair = pair.shake_hands();
    pair.client.get_mut().forget();
    pair.server.get_mut().forget();
    assert_eq!(pair.client.send(b"held ", SendFlags::MORE).unwrap(), 5);
    pair.client.refresh_traffic_keys().unwrap();
    // As all records of TLS 1.3, a KeyUpdate looks like application data.
    assert_eq!(pair.client.get_ref().records, [APPLICATION_DATA]);
    assert_eq!(pair.client.connection().waiting(), 5);
    assert_eq!(pair.client.send(b"data", SendFlags::NONE).unwrap(), 4);
    assert_eq!(pair.server_gets(9), b"held data");
    assert_eq!(pair.server.get_ref().records, [APPLICATION_DATA], "the answer");
    pair.client.close().unwrap();
    assert_eq!(pair.client.refresh_traffic_keys().unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn the_debug_text_of_a_stream_is_one_short_line() {
    let mut pair = Pair::connected(patient());
    assert_eq!(pair.client.send(b"held", SendFlags::MORE).unwrap(), 4);
    let text = format!("{:#?}", pair.client);
    assert_eq!(text, "TlsStream(Connection(client, TLSv1_3, open, 4 bytes waiting))");
}

#[cfg(unix)]
#[test]
fn the_descriptor_of_a_stream_is_that_of_its_socket() {
    use std::os::fd::{AsFd, AsRawFd};

    use tls_cork_mio::PlainTransport;

    let (near, _far) = sockets(&mut Watch::new());
    let fd = near.as_raw_fd();
    let (client, _) = configs(None);
    let stream = TlsStream::client(near, client.clone(), name(), CorkConfig::default()).unwrap();
    assert_eq!((stream.as_raw_fd(), stream.as_fd().as_raw_fd()), (fd, fd));
    let stream = TlsStream::client_with(PlainTransport(stream.into_inner()), client, name(), CorkConfig::default());
    let stream = stream.unwrap();
    assert_eq!((stream.as_raw_fd(), stream.as_fd().as_raw_fd()), (fd, fd));
}

/// The words that a program needs are here: it names no other crate of ours, nor rustls.
#[test]
fn a_program_needs_this_crate_alone() {
    use tls_cork_mio::rustls::{ClientConfig, RootCertStore};
    use tls_cork_mio::{CorkConfig, SendFlags, Stats, bytes::Bytes, tls_cork::FlushReason};

    fn send(stream: &mut TlsStream<Wire>, mut data: Bytes, flags: SendFlags) -> Stats {
        stream.send_bytes(&mut data, flags).unwrap();
        stream.stats()
    }
    let mut pair = Pair::connected(CorkConfig::default());
    let stats = send(&mut pair.client, Bytes::from_static(b"data"), SendFlags::NONE);
    assert_eq!(stats.flushes(FlushReason::Last), 1);
    let _: fn(RootCertStore) -> ClientConfig =
        |roots| ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
}
