//! How streams end: closed, cut, aborted, or before they began.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use bytes::Bytes;
use support::{Pair, Step, drain, patient, send_some};
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_testing::content::noise;

#[test]
fn point_1_close_sends_what_is_held_and_ends_the_stream() {
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
fn point_9_close_behind_a_full_buffer_still_ends_the_stream() {
    let mut pair = Pair::connected(CorkConfig::default());
    let data = noise(64 << 20, 4);
    let (mut sent, mut quiet) = (0, false);
    loop {
        let before = sent;
        send_some(&mut pair.client, &data, &mut sent);
        // No event comes between this WouldBlock and the close, so that nothing makes room.
        if sent == before && quiet {
            break;
        }
        quiet = pair.poll_for(Duration::from_millis(20)).unwrap() == 0;
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
    assert_eq!(pair.client.send_all_bytes(&mut late, SendFlags::MORE).unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(late, &b"late"[..]);
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

/// Writes `data` without reading, over sockets that hold megabytes, to a server that reads only when they are full.
fn write_only(pair: &mut Pair, data: &[u8], at_server: &mut Vec<u8>) {
    let mut sent = 0;
    while sent < data.len() {
        let before = sent;
        send_some(&mut pair.client, data, &mut sent);
        if sent == before {
            assert!(!drain(&mut pair.server, at_server).expect("reading at the server"));
        }
        pair.poll_for(Duration::from_millis(1)).expect("a turn of the loop");
    }
}

#[test]
fn a_graceful_end_loses_nothing_although_the_client_never_read() {
    // The tickets are still unread when the client ends: its kernel would reset the connection.
    let mut pair = Pair::fresh(CorkConfig::default(), None);
    let (data, mut at_server) = (noise(10 << 20, 9), Vec::new());
    write_only(&mut pair, &data, &mut at_server);
    loop {
        match pair.client.close_gracefully() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => break done.unwrap(),
        }
        pair.turn().unwrap();
        // Slowly, and the server closes when it has seen the end.
        let mut buf = [0; 100_000];
        match pair.server.read(&mut buf) {
            Ok(0) => pair.server.close().unwrap(),
            Ok(n) => at_server.extend_from_slice(&buf[..n]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
    assert!(at_server == data, "{} of {} bytes arrived", at_server.len(), data.len());
}

#[test]
fn a_graceful_end_takes_a_peer_that_closes_without_notice_and_one_that_talks_on() {
    let mut pair = Pair::connected(CorkConfig::default());
    let talk = vec![7; 1 << 20];
    let (mut said, mut ended) = (0, false);
    loop {
        match pair.client.close_gracefully() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => break done.unwrap(),
        }
        send_some(&mut pair.server, &talk, &mut said);
        if said == talk.len() && !pair.server.wants_transmit() && !ended {
            ended = true;
            pair.server.get_ref().socket.shutdown(Shutdown::Write).unwrap();
        }
        pair.turn().unwrap();
    }
    assert!(ended, "it ended before the peer did");
}

#[test]
fn a_graceful_end_ends_the_transport_too() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.client.close_gracefully().unwrap_err().kind(), ErrorKind::WouldBlock);
    // Behind the close_notify comes the end of the socket's stream.
    let mut wire = Vec::new();
    loop {
        pair.watch.tick();
        let mut buf = [0; 100];
        match pair.server.get_mut().socket.read(&mut buf) {
            Ok(0) => break,
            Ok(n) => wire.extend_from_slice(&buf[..n]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }
    assert_eq!(wire.len(), 5 + 2 + 1 + 16, "close_notify");
}

#[test]
fn a_graceful_end_says_what_a_reset_may_have_cost() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.client.write(b"lost").unwrap(), 4);
    pair.client.get_mut().reads.push_back(Step::Reset);
    assert_eq!(pair.client.close_gracefully().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_graceful_end_does_not_hide_what_an_end_within_the_handshake_costs() {
    let mut pair = Pair::fresh(CorkConfig::default(), None);
    assert_eq!(pair.client.send(b"precious", SendFlags::NONE).unwrap(), 8);
    pair.server.get_ref().socket.shutdown(Shutdown::Write).unwrap();
    let error = loop {
        match pair.client.close_gracefully() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => break done.unwrap_err(),
        }
        pair.watch.tick();
        std::thread::sleep(Duration::from_millis(1));
        // As an event would: the server's end is there.
        pair.client.before_poll().unwrap_or_default();
    };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
}
