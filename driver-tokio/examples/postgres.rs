//! PostgreSQL over TLS with tokio-postgres:
//! `cargo run -p tls-cork-tokio --example postgres -- "host=localhost user=me sslmode=require" ca.pem`
//!
//! The authority in the file is the only one that is trusted. `channel_binding=require` binds the
//! login to the server's certificate (`tls-server-end-point`, RFC 5929).

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use tls_cork_tokio::pki_types::pem::PemObject;
use tls_cork_tokio::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tls_cork_tokio::rustls::{ClientConfig, RootCertStore};
use tls_cork_tokio::{TlsConnector, client};
use tokio::task::JoinHandle;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Socket};
use x509_parser::oid_registry as oids;
use x509_parser::parse_x509_certificate;

#[path = "support/forward.rs"]
mod forward;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A stream to the server.
pub(crate) struct Encrypted(client::TlsStream<Socket>);

forward::forward!(Encrypted);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        let hash = self.0.with_ref(|_, session| end_point(session.peer_certificates()?.first()?));
        hash.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// The hash of a certificate, by the hash function of its signature (RFC 5929, section 4.1). `None`
/// if the signature has none, or one that is not listed here.
fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let signature = &parsed.signature_algorithm.algorithm;
    let algorithm = if [oids::OID_PKCS1_SHA256WITHRSA, oids::OID_SIG_ECDSA_WITH_SHA256].contains(signature) {
        &SHA256
    } else if [oids::OID_PKCS1_SHA384WITHRSA, oids::OID_SIG_ECDSA_WITH_SHA384].contains(signature) {
        &SHA384
    } else if [oids::OID_PKCS1_SHA512WITHRSA, oids::OID_SIG_ECDSA_WITH_SHA512].contains(signature) {
        &SHA512
    } else {
        return None;
    };
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

/// Makes the handshakes of tokio-postgres.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    /// Trusts the authorities in the PEM file `ca`, and no others.
    pub(crate) fn new(ca: &Path) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, InvalidDnsNameError> {
        Ok(Handshake { tls: self.0.clone(), name: ServerName::try_from(domain.to_owned())? })
    }
}

/// A handshake with the server `name`.
pub(crate) struct Handshake {
    tls: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move { self.tls.connect(self.name, socket).await.map(Encrypted) })
    }
}

/// Connects. The task ends after the client.
pub(crate) async fn connect(config: &Config, tls: Tls) -> Result<(Client, JoinHandle<()>), Failure> {
    let (client, connection) = config.connect(tls).await?;
    let task = tokio::spawn(async { connection.await.unwrap_or_else(|error| eprintln!("{error}")) });
    Ok((client, task))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config, ca] = &arguments[..] else { return Err("expected a connection string and a file".into()) };
    let (client, task) = connect(&config.parse()?, Tls::new(Path::new(ca))?).await?;
    println!("{}", client.query_one("SELECT version()", &[]).await?.get::<_, String>(0));
    drop(client);
    Ok(task.await?)
}
