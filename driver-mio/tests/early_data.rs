//! Early data is refused by a server's stream, so that the client sends it again.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, ServerConfig};
use support::memory::Endless;
use support::{configs, name};
use tls_cork::CorkConfig;
use tls_cork_mio::{TlsStream, Transport};

/// Moves bytes both ways until none move.
fn exchange(client: &mut ClientConnection, mut server: TlsStream<Wire>) -> TlsStream<Wire> {
    loop {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let nothing = wire.is_empty();
        server = server.with_received(wire.into());
        server.before_poll().unwrap();
        let sent = std::mem::take(&mut server.get_mut().1);
        client.read_tls(&mut &sent[..]).unwrap();
        client.process_new_packets().unwrap();
        if nothing && sent.is_empty() {
            return server;
        }
    }
}

/// What it takes is kept.
#[derive(Debug, Default)]
struct Wire(Endless, Vec<u8>);

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Transport for Wire {
    fn send(&mut self, bufs: &[std::io::IoSlice<'_>], more: bool) -> std::io::Result<usize> {
        bufs.iter().for_each(|buf| self.1.extend_from_slice(buf));
        self.0.send(bufs, more)
    }
}

#[test]
fn a_server_refuses_early_data_and_gets_it_again() {
    let (client, server) = configs(None);
    let (mut client, mut server) = (ClientConfig::clone(&client), ServerConfig::clone(&server));
    client.enable_early_data = true;
    server.max_early_data_size = 1 << 20;
    let (client, server) = (Arc::new(client), Arc::new(server));
    // The ticket for early data comes from a server that accepts it.
    let mut visitor = ClientConnection::new(Arc::clone(&client), name()).unwrap();
    let mut earlier = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
    for _ in 0..4 {
        let mut wire = Vec::new();
        visitor.write_tls(&mut wire).unwrap();
        earlier.read_tls(&mut &wire[..]).unwrap();
        earlier.process_new_packets().unwrap();
        wire.clear();
        while earlier.wants_write() {
            earlier.write_tls(&mut wire).unwrap();
        }
        visitor.read_tls(&mut &wire[..]).unwrap();
        visitor.process_new_packets().unwrap();
    }
    let mut client = ClientConnection::new(client, name()).unwrap();
    client.early_data().expect("a ticket").write_all(b"early").unwrap();
    let server = TlsStream::server_with(Wire::default(), server, CorkConfig::default()).unwrap();
    let mut server = exchange(&mut client, server);
    assert!(!server.is_handshaking() && !client.is_early_data_accepted());
    let mut buf = [0; 16];
    assert_eq!(server.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock, "nothing came early");
    client.writer().write_all(b"again").unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    let mut server = server.with_received(wire.into());
    assert_eq!(server.read(&mut buf).unwrap(), 5);
    assert_eq!(&buf[..5], b"again");
}
