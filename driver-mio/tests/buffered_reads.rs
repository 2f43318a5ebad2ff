//! `BufRead`: plaintext that is looked at, then taken.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use support::{Pair, Watch, Wire, patient, sockets};
use tls_cork::{Connection, CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::{configs, name};

const NONE: SendFlags = SendFlags::NONE;

/// What the server shows, once there is something.
fn shown(pair: &mut Pair) -> Vec<u8> {
    loop {
        match pair.server.fill_buf() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => pair.turn().unwrap(),
            done => return done.unwrap().to_vec(),
        }
    }
}

#[test]
fn lines_are_read_across_events() {
    let mut pair = Pair::connected(patient());
    let text = "first\nsecond line\n\nlast";
    let (mut lines, mut line) = (Vec::new(), String::new());
    for piece in text.as_bytes().chunks(4) {
        assert_eq!(pair.client.send(piece, NONE).unwrap(), piece.len());
        for _ in 0..3 {
            pair.poll_for(Duration::from_millis(1)).unwrap();
            match pair.server.read_line(&mut line) {
                Ok(_) => lines.push(std::mem::take(&mut line)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
    pair.client.close().unwrap();
    loop {
        match pair.server.read_line(&mut line) {
            // An end behind a line that had begun.
            Ok(0) if line.is_empty() => break,
            Ok(_) => lines.push(std::mem::take(&mut line)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => pair.turn().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(lines, ["first\n", "second line\n", "\n", "last"]);
}

#[test]
fn what_is_shown_stays_until_it_is_taken() {
    let mut pair = Pair::connected(patient());
    let data = noise(50_000, 1);
    assert_eq!(pair.client.send(&data, NONE).unwrap(), data.len());
    let (mut got, mut turn) = (Vec::<u8>::new(), 0);
    while got.len() < data.len() {
        let now = shown(&mut pair);
        let at = pair.server.fill_buf().unwrap().as_ptr();
        let again = pair.server.fill_buf().unwrap();
        assert_eq!((again, again.as_ptr()), (&now[..], at), "the same, not copied");
        assert!(!now.is_empty() && data[got.len()..].starts_with(&now));
        turn += 1;
        match turn % 3 {
            0 => {
                let mut buf = [0; 900];
                let n = pair.server.read(&mut buf).unwrap();
                got.extend(&buf[..n]);
            }
            1 => {
                let n = now.len().min(700);
                got.extend(&now[..n]);
                pair.server.consume(n);
            }
            _ => {
                got.extend(&now);
                pair.server.consume(now.len() + 1); // no more than was shown
            }
        }
    }
    assert!(got == data);
    assert_eq!(pair.server.fill_buf().unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// No event announces plaintext that was decrypted already.
#[test]
fn a_loop_does_not_sleep_on_plaintext_that_it_has_not_looked_at() {
    let mut pair = Pair::connected(patient());
    // Two records, which one read of the socket takes.
    assert_eq!(pair.client.send(b"one", NONE).unwrap() + pair.client.send(b"two", NONE).unwrap(), 6);
    let mut wire = [0; 100];
    while pair.server.get_ref().socket.peek(&mut wire).unwrap_or(0) < 2 * (3 + 22) {
        pair.poll_for(Duration::from_millis(1)).unwrap();
    }
    assert_eq!(shown(&mut pair), b"one");
    assert_eq!(pair.server.before_poll().unwrap(), Some(Duration::ZERO), "shown, and not taken");
    pair.server.consume(3);
    assert_eq!(pair.server.before_poll().unwrap(), Some(Duration::ZERO), "taken, and more is there");
    assert_eq!(shown(&mut pair), b"two");
    pair.server.consume(3);
    assert_eq!(pair.server.fill_buf().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_ne!(pair.server.before_poll().unwrap(), Some(Duration::ZERO), "it would spin");
}

/// R12: the request leaves before the loop sleeps, as after a read.
#[test]
fn point_5_a_fill_buf_that_waits_releases_the_request() {
    let mut pair = Pair::connected(patient());
    assert_eq!(pair.client.send(b"request", SendFlags::MORE).unwrap(), 7);
    assert_eq!(pair.client.fill_buf().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(pair.client.get_ref().sent.is_empty());
    pair.client.before_poll().unwrap();
    assert_eq!(pair.client.get_ref().sent.len(), 1);
    assert_eq!(shown(&mut pair), b"request");
}

#[test]
fn the_end_is_an_empty_slice_and_a_cut_is_an_error() {
    for cut in [false, true] {
        let mut pair = Pair::connected(patient());
        pair.client.write_all(b"last words").unwrap();
        if cut {
            pair.client.get_ref().socket.shutdown(Shutdown::Write).unwrap();
        } else {
            pair.client.close().unwrap();
        }
        assert_eq!(shown(&mut pair), b"last words");
        pair.server.consume(10);
        for _ in 0..2 {
            let end = loop {
                match pair.server.fill_buf() {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => pair.turn().unwrap(),
                    done => break done.map(<[u8]>::to_vec),
                }
            };
            match end {
                Ok(end) => assert!(!cut && end.is_empty(), "{end:?}"),
                Err(error) => assert!(cut && error.kind() == ErrorKind::UnexpectedEof, "{error}"),
            }
            pair.server.consume(1);
        }
    }
}

/// As after STARTTLS.
#[test]
fn bytes_that_came_before_tls_are_received_first() {
    let mut watch = Watch::new();
    let (client_socket, server_socket) = sockets(&mut watch);
    let (client_config, server_config) = configs(None);
    let mut connection = Connection::client(client_config, name(), CorkConfig::default()).unwrap();
    let mut hello = Vec::new();
    connection.poll_transmit(&mut hello).unwrap();
    let client = TlsStream::new(Wire::new(client_socket), connection).unwrap();
    let server = TlsStream::server_with(Wire::new(server_socket), server_config, CorkConfig::default()).unwrap();
    let mut pair = Pair::over(client, server.with_received(hello.into()), watch);
    assert_eq!(pair.client.send(b"first", NONE).unwrap(), 5);
    assert_eq!(shown(&mut pair), b"first");
}
