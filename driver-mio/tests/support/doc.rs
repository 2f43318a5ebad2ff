// Included by the examples in the documentation of the crate.

use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tls_cork_mio::{CorkConfig, TlsStream};

const CLIENT: Token = Token(0);
const SERVER: Token = Token(1);

/// A loop with both ends of a stream, of which the handshake is done.
fn connected() -> std::io::Result<(Poll, TlsStream, TlsStream)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root certificate");
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");

    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let tcp = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    accepted.set_nonblocking(true)?;
    let name = "localhost".try_into().expect("a name");
    let mut client = TlsStream::client(tcp, Arc::new(client), name, CorkConfig::default())?;
    let mut server = TlsStream::server(TcpStream::from_std(accepted), Arc::new(server), CorkConfig::default())?;
    let mut poll = Poll::new()?;
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut client, CLIENT, both)?;
    poll.registry().register(&mut server, SERVER, both)?;
    while client.is_handshaking() || server.is_handshaking() {
        turn(&mut poll, &mut client, &mut server)?;
    }
    Ok((poll, client, server))
}

/// One turn of the loop, a short one.
fn turn(poll: &mut Poll, client: &mut TlsStream, server: &mut TlsStream) -> std::io::Result<()> {
    client.before_poll()?;
    server.before_poll()?;
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, Some(Duration::from_millis(1)))?;
    for event in &events {
        if event.token() == CLIENT { client.handle_event(event)? } else { server.handle_event(event)? }
    }
    Ok(())
}
