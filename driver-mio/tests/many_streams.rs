//! The example `many_streams` against an echo server of plain rustls.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;

#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/many_streams.rs"]
mod many_streams;

use many_streams::Peer;

/// Only a server that hangs takes longer, however busy the machine.
const LIMIT: Duration = Duration::from_secs(120);
const STREAMS: usize = 20;

/// Configurations of both sides, with a certificate for `localhost` that a certificate authority has signed.
fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut roots = RootCertStore::empty();
    roots.add(ca.self_signed(&ca_key).unwrap().der().clone()).unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    (Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()), Arc::new(server))
}

/// Sends back what arrives, one read at a time, until the client's `close_notify`.
fn echo(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    tcp.set_read_timeout(Some(LIMIT))?;
    tcp.set_write_timeout(Some(LIMIT))?;
    let mut stream = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, tcp);
    let mut buf = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buf)? {
            0 => break,
            n => stream.write_all(&buf[..n])?,
        }
    }
    stream.conn.send_close_notify();
    stream.flush()
}

/// Small messages, and for every fourth stream a body that is accepted in parts.
fn message(index: usize) -> Vec<(Bytes, SendFlags)> {
    let body = if index.is_multiple_of(4) { vec![index as u8; 3 << 20] } else { vec![index as u8; 512] };
    let mut pieces = Vec::new();
    for n in 0..10 {
        pieces.push((Bytes::from(format!("stream {index}, message {n}: ")), SendFlags::MORE));
        pieces.push((Bytes::from("a body"), SendFlags::more_if(n < 9)));
    }
    pieces.push((Bytes::from(body), SendFlags::NONE));
    pieces
}

#[test]
fn every_stream_gets_its_answer_and_ends_though_one_fails() {
    let (client, server) = configs();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let servers = thread::spawn(move || {
        let accept = |_| {
            let (tcp, _) = listener.accept().unwrap();
            let config = Arc::clone(&server);
            thread::spawn(move || echo(tcp, config))
        };
        let echoes: Vec<_> = (0..STREAMS + 1).map(accept).collect();
        echoes.into_iter().map(|echo| echo.join().unwrap()).collect::<Vec<_>>()
    });

    let cork = || CorkConfig::default().max_hold(Duration::from_secs(60));
    let stream = |config: &Arc<ClientConfig>| {
        let tcp = mio::net::TcpStream::connect(address).unwrap();
        TlsStream::client(tcp, Arc::clone(config), "localhost".try_into().unwrap(), cork()).unwrap()
    };
    let mut peers: Vec<Peer> = (0..STREAMS).map(|n| Peer::new(stream(&client), message(n).into())).collect();
    // One that trusts no authority.
    let nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    peers.push(Peer::new(stream(&Arc::new(nobody)), message(1).into()));
    many_streams::run(&mut peers).unwrap();

    let refused = peers.pop().unwrap();
    assert_eq!(refused.sleep.unwrap_err().kind(), ErrorKind::InvalidData);
    for (index, peer) in peers.iter().enumerate() {
        assert!(matches!(peer.sleep, Ok(None)), "stream {index}: {:?}", peer.sleep);
        let sent: Vec<u8> = message(index).into_iter().flat_map(|(piece, _)| piece).collect();
        assert!(peer.answer == sent, "stream {index}: {} bytes of {}", peer.answer.len(), sent.len());
        let full = sent.len().div_ceil(16 * 1024) as u64;
        assert!(peer.stream.stats().records <= full + 2, "stream {index}: {} records", peer.stream.stats().records);
    }
    let ends = servers.join().unwrap();
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), STREAMS, "{ends:?}");
}
