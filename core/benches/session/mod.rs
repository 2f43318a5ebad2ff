//! Clients in memory after their handshake. Their servers are gone, so that they only send.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
};
use tls_cork::{Connection, CorkConfig};

/// A session of rustls alone, without a buffer limit.
pub(crate) fn plain() -> ClientConnection {
    connected().0
}

/// A session of the same kind under a policy with the default limits.
pub(crate) fn corked() -> Connection {
    corked_with(CorkConfig::default())
}

/// A like session, under a policy with this configuration.
pub(crate) fn corked_with(cork: CorkConfig) -> Connection {
    let (client, config) = connected();
    Connection::from_client(client, &config, cork).expect("a valid configuration")
}

fn connected() -> (ClientConnection, Arc<ClientConfig>) {
    let (config, server) = configs();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&config), name).expect("a client");
    let mut server = ServerConnection::new(server).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
    }
    client.set_buffer_limit(None);
    (client, config)
}

fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let cert = certified.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).expect("a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("a server");
    (Arc::new(client), Arc::new(server))
}

fn carry<A: SideData, B: SideData>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("a vector takes all");
    }
    let mut wire = &wire[..];
    while !wire.is_empty() {
        to.read_tls(&mut wire).expect("room");
        to.process_new_packets().expect("a handshake");
    }
}
