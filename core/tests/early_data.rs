//! Early data (RFC 8446, section 2.3) is refused (R6). The client sends it again; it is never
//! acknowledged and lost.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test; the start of virtual time

mod pair;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use pair::{Pipe, read_all, receive, transmit};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};
use tls_cork::{Connection, ConnectionError, CorkConfig, ReceiveError, server_without_early_data};
use tls_cork_testing::content::stream;
use tls_cork_testing::sessions::{self, Configs, name};

/// The early data, in bytes, that rustls skips when it refuses it. rustls 0.23.46 counts a record
/// that arrives alone twice, so that only half of this is safe. Between the two, the handshake
/// succeeds or fails. In no case is early data acknowledged and lost.
const SKIPPED: usize = 16 * 1024;

/// Configurations that allow early data; the client has a ticket of an earlier session.
fn with_ticket() -> Configs {
    sessions::with_ticket(sessions::configs(None))
}

/// Creates a client that has written `data` as early data.
fn early_client(config: Arc<ClientConfig>, data: &[u8]) -> ClientConnection {
    let mut client = ClientConnection::new(config, name()).unwrap();
    client.early_data().expect("a ticket for early data").write_all(data).unwrap();
    client
}

/// Moves bytes both ways until none move; returns the client's error, or else the server's.
fn exchange(client: &mut ClientConnection, server: &mut Connection, now: Instant) -> Result<(), ReceiveError> {
    let (mut up, mut down) = (Pipe::default(), Pipe::default());
    loop {
        while client.wants_write() {
            client.write_tls(&mut up.data).unwrap();
        }
        let received = receive(server, now, &mut up);
        let sent = transmit(server, &mut down).unwrap();
        if sent > 0 {
            client.read_tls(&mut down.data).unwrap();
            client.process_new_packets().map_err(|error| ReceiveError::Tls { error, not_tls: false, discarded: 0 })?;
        }
        if received? + sent == 0 && !client.wants_write() {
            return Ok(());
        }
    }
}

#[test]
fn a_server_refuses_early_data_and_gets_it_again() {
    for len in [1, 1000, SKIPPED / 2 - 100] {
        let (client, server) = with_ticket();
        let (data, now) = (stream(0, len), Instant::now());
        let mut client = early_client(client, &data);
        let mut server = Connection::server(server, CorkConfig::default()).unwrap();
        exchange(&mut client, &mut server, now).unwrap_or_else(|error| panic!("{len} bytes: {error}"));
        assert!(!server.is_handshaking() && !client.is_handshaking());
        assert_eq!(server.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(!client.is_early_data_accepted(), "{len} bytes were acknowledged and dropped");
        assert_eq!(read_all(&mut server).unwrap().0, b"");
        client.writer().write_all(&data).unwrap();
        exchange(&mut client, &mut server, now).unwrap();
        assert_eq!(read_all(&mut server).unwrap().0, data);
    }
}

#[test]
fn early_data_near_what_is_skipped_is_never_acknowledged() {
    for len in [SKIPPED / 2, SKIPPED - 100, SKIPPED - 17, SKIPPED] {
        let (client, server) = with_ticket();
        let mut client = early_client(client, &stream(0, len));
        let mut server = Connection::server(server, CorkConfig::default()).unwrap();
        let shaken = exchange(&mut client, &mut server, Instant::now());
        assert!(!client.is_early_data_accepted(), "{len} bytes were acknowledged and dropped");
        assert_eq!(shaken.is_ok(), !server.is_write_closed(), "{len} bytes: both sides fail, or none");
    }
}

#[test]
fn early_data_beyond_what_is_skipped_fails_the_handshake_on_both_sides() {
    let (client, server) = with_ticket();
    let now = Instant::now();
    let mut client = early_client(client, &stream(0, SKIPPED + 1000));
    let mut server = Connection::server(server, CorkConfig::default()).unwrap();
    let ReceiveError::Tls { error, .. } = exchange(&mut client, &mut server, now).unwrap_err() else {
        panic!("no error of TLS")
    };
    assert!(matches!(error, rustls::Error::AlertReceived(_)), "the client sees {error}");
    assert!(server.is_write_closed());
}

#[test]
fn a_client_does_not_offer_early_data() {
    let (client, server) = with_ticket();
    let now = Instant::now();
    let mut client = Connection::client(client, name(), CorkConfig::default()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut wire = Vec::new();
    client.poll_transmit(&mut wire).unwrap();
    server.read_tls(&mut &wire[..]).unwrap();
    server.process_new_packets().unwrap();
    assert!(server.early_data().is_none());
    let mut pipe = Pipe::default();
    server.write_tls(&mut pipe.data).unwrap();
    receive(&mut client, now, &mut pipe).unwrap();
    assert_eq!(client.handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_session_with_early_data_is_refused() {
    let (client, server) = with_ticket();
    let session = early_client(Arc::clone(&client), b"early");
    let refused = Connection::from_client(session, &client, CorkConfig::default());
    assert!(matches!(refused, Err(ConnectionError::EarlyData)));

    let fresh = ServerConnection::new(Arc::clone(&server)).unwrap();
    assert!(Connection::from_server(fresh, &server, CorkConfig::default()).is_ok(), "none has come yet");
}

#[test]
fn a_session_that_accepts_early_data_fails_before_it_answers() {
    let (client, server) = with_ticket();
    let now = Instant::now();
    let mut client = early_client(client, b"early");
    let session = ServerConnection::new(Arc::clone(&server)).unwrap();
    let mut server = Connection::from_server(session, &server, CorkConfig::default()).unwrap();
    let ReceiveError::Tls { error, .. } = exchange(&mut client, &mut server, now).unwrap_err() else {
        panic!("no error of TLS")
    };
    assert!(error.to_string().contains("max_early_data_size"), "{error}");
    assert!(!server.wants_transmit());
    let mut wire = Vec::new();
    assert_eq!(server.poll_transmit(&mut wire).unwrap(), 0);
    assert!(server.read(&mut [0; 8]).is_err());
}

#[test]
fn a_configuration_without_early_data_is_not_copied() {
    let (_, server) = sessions::configs(None);
    assert!(Arc::ptr_eq(&server, &server_without_early_data(Arc::clone(&server))));
    let (_, accepting) = with_ticket();
    let refusing = server_without_early_data(Arc::clone(&accepting));
    assert_eq!((accepting.max_early_data_size, refusing.max_early_data_size), (1 << 20, 0));
}
