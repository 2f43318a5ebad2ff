//! Early data is refused by a server's stream, so that the client sends it again.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::{ErrorKind, Read, Write};

use rustls::ClientConnection;
use support::memory::Endless;
use tls_cork::CorkConfig;
use tls_cork_mio::{TlsStream, Transport};
use tls_cork_testing::sessions::{configs, name, with_ticket};

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
    let (client, server) = with_ticket(configs(None));
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
