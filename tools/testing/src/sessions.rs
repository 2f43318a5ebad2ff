//! Sessions of rustls: configurations for both ends, with a certificate of their own.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
    SupportedCipherSuite, SupportedProtocolVersion,
};

pub type Version = &'static SupportedProtocolVersion;
/// Of a client and of the server that it trusts.
pub type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

/// The name that every certificate here is for.
pub fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// With rustls's default limits; `suite` restricts both ends to one.
pub fn configs(suite: Option<SupportedCipherSuite>) -> Configs {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(suite) = suite {
        provider.cipher_suites = vec![suite];
    }
    let versions: &[_] = match suite {
        Some(SupportedCipherSuite::Tls12(_)) => &[&rustls::version::TLS12],
        _ => rustls::DEFAULT_VERSIONS,
    };
    let (client, server) = ends(provider.clone(), provider, versions, 1);
    (Arc::new(client), Arc::new(server))
}

/// Of one version, and without tickets, which a counter of records would take for application data.
pub fn configs_with(provider: CryptoProvider, version: Version) -> Configs {
    let (client, mut server) = ends(provider.clone(), provider, &[version], 1);
    server.send_tls13_tickets = 0;
    (Arc::new(client), Arc::new(server))
}

/// The server's certificate comes `chain` times.
pub(crate) fn ends(
    client: CryptoProvider,
    server: CryptoProvider,
    versions: &[Version],
    chain: usize,
) -> (ClientConfig, ServerConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a private key");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let client = ClientConfig::builder_with_provider(Arc::new(client))
        .with_protocol_versions(versions)
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(Arc::new(server))
        .with_protocol_versions(versions)
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate; chain], key)
        .expect("a server");
    (client, server)
}

/// The same, with early data allowed and a ticket of an earlier session in the client's.
pub fn with_ticket((client, server): Configs) -> Configs {
    let (mut client, mut server) = (Arc::unwrap_or_clone(client), Arc::unwrap_or_clone(server));
    client.enable_early_data = true;
    server.max_early_data_size = 1 << 20;
    server.send_tls13_tickets = 2;
    let configs = (Arc::new(client), Arc::new(server));
    let _ = connected(&configs);
    configs
}

/// Two sessions after their handshake, tickets included.
pub fn connected((client, server): &Configs) -> (ClientConnection, ServerConnection) {
    let mut client = ClientConnection::new(Arc::clone(client), name()).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    while client.wants_write() || server.wants_write() {
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
    }
    (client, server)
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
