//! `Connection::fill_buf` and `consume`: received plaintext, looked at where it was decrypted.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod pair;

use std::io;

use pair::{Pair, receive, transmit};
use rustls::version::{TLS12, TLS13};
use tls_cork::{Connection, SendFlags};
use tls_cork_testing::content::stream;
use tls_cork_testing::sessions::Version;

const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

/// A server that has received `records`, each from a write of its own.
fn received(version: Version, records: &[&[u8]]) -> Pair {
    let mut pair = Pair::connected(version);
    for record in records {
        pair.write(record, SendFlags::NONE).unwrap();
        transmit(&mut pair.client, &mut pair.up).unwrap();
    }
    receive(&mut pair.server, pair.now, &mut pair.up).unwrap();
    pair
}

fn kind(conn: &mut Connection) -> io::ErrorKind {
    conn.fill_buf().unwrap_err().kind()
}

#[test]
fn a_record_is_shown_until_it_is_taken() {
    for version in VERSIONS {
        let mut pair = received(version, &[b"one line\nand another"]);
        let server = &mut pair.server;
        let at = server.fill_buf().unwrap().as_ptr();
        for _ in 0..2 {
            let shown = server.fill_buf().unwrap();
            assert_eq!((shown, shown.as_ptr()), (&b"one line\nand another"[..], at), "not copied");
        }
        assert!(!server.wants_receive(), "unread plaintext holds the peer back");
        server.consume(9);
        assert_eq!(server.fill_buf().unwrap(), b"and another");
        let mut buf = [0; 4];
        assert_eq!(server.read(&mut buf).unwrap(), 4);
        assert_eq!((&buf, server.fill_buf().unwrap()), (b"and ", &b"another"[..]), "reads take from the same bytes");
        server.consume(0);
        server.consume(7);
        assert_eq!(kind(server), io::ErrorKind::WouldBlock);
        assert!(server.wants_receive());
    }
}

#[test]
fn more_than_is_shown_cannot_be_taken() {
    for version in VERSIONS {
        let mut pair = received(version, &[b"first"]);
        pair.server.consume(usize::MAX);
        assert_eq!(kind(&mut pair.server), io::ErrorKind::WouldBlock);
        pair.server.consume(1);
        // Two records that were received together are shown one after the other.
        let mut wire = Vec::new();
        for record in [stream(0, 100), stream(100, 50)] {
            pair.write(&record, SendFlags::NONE).unwrap();
            pair.client.poll_transmit(&mut wire).unwrap();
        }
        let _ = pair.server.receive_from(pair.now, &mut &wire[..]).unwrap();
        assert_eq!(pair.server.fill_buf().unwrap(), stream(0, 100));
        pair.server.consume(101);
        assert_eq!(pair.server.fill_buf().unwrap(), stream(100, 50));
    }
}

#[test]
fn the_ends_of_a_stream_are_those_of_a_read() {
    for version in VERSIONS {
        let mut pair = received(version, &[b"last"]);
        let _ = pair.server.receive_from(pair.now, &mut io::empty()).unwrap();
        assert_eq!(pair.server.fill_buf().unwrap(), b"last");
        pair.server.consume(4);
        let _ = pair.server.receive_from(pair.now, &mut io::empty()).unwrap();
        assert_eq!(kind(&mut pair.server), io::ErrorKind::UnexpectedEof);

        let mut pair = received(version, &[b"last"]);
        let _ = pair.client.close(pair.now);
        transmit(&mut pair.client, &mut pair.up).unwrap();
        pair.server.consume(4);
        receive(&mut pair.server, pair.now, &mut pair.up).unwrap();
        for _ in 0..2 {
            assert_eq!(pair.server.fill_buf().unwrap(), b"");
            pair.server.consume(1);
        }

        let mut pair = Pair::new(version);
        assert_eq!(kind(&mut pair.client), io::ErrorKind::WouldBlock);
        pair.client.consume(1);
        transmit(&mut pair.client, &mut pair.up).unwrap();
        assert!(pair.client.receive_from(pair.now, &mut io::empty()).is_err());
        let error = pair.client.fill_buf().unwrap_err();
        assert!(error.to_string().contains("during the TLS handshake"), "{error}");
    }
}
