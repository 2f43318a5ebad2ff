//! Certificates and TLS configurations.
//!
//! Programs and tests bring their own certificate authority, so that they run on a machine where nothing
//! is installed; certificate checks are on everywhere, for our servers as for any other.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::process;
use std::sync::Arc;

use clap::ValueEnum;
use nix::sys::memfd::{MFdFlags, memfd_create};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use crate::Failure;
use crate::cleanup::TemporaryDir;

/// File names as nbdkit's `--tls-certificates=DIR` expects them.
pub const CA_CERT: &str = "ca-cert.pem";
const SERVER_CERT: &str = "server-cert.pem";
const SERVER_KEY: &str = "server-key.pem";

/// The names the server certificate is good for.
pub const SERVER_NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// A TLS protocol version to insist on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsVersion {
    /// RFC 5246
    #[value(name = "1.2")]
    Tls12,
    /// RFC 8446
    #[value(name = "1.3")]
    Tls13,
}

impl TlsVersion {
    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

/// Writes a new CA certificate, and a server certificate signed by it with its key, to `dir`.
pub fn make_certificates(dir: &Path) -> Result<(), Failure> {
    let generated = generate().map_err(|e| Failure::new("make certificates", dir.display(), e))?;
    let written = fs::create_dir_all(dir).and_then(|()| {
        generated.write_certificates(dir)?;
        write_file(&dir.join(SERVER_KEY), &generated.server_key, 0o600)
    });
    written.map_err(|e| Failure::new("write certificates", dir.display(), e))
}

/// A temporary directory with the files of [`make_certificates`], for this process and its
/// children.
///
/// The private key is never on a disk. Its file is a link to memory of this process (`memfd_create`),
/// which is gone when the process has ended, even by SIGKILL.
#[derive(Debug)]
pub struct TemporaryCertificates {
    dir: TemporaryDir,
    /// What the link refers to.
    _key: File,
}

impl TemporaryCertificates {
    /// Makes new ones.
    pub fn new() -> Result<Self, Failure> {
        let dir = TemporaryDir::new()?;
        let generated = generate().map_err(|e| Failure::new("make certificates", dir.path().display(), e))?;
        let written = generated.write_certificates(dir.path()).and_then(|()| {
            let mut key = File::from(memfd_create(c"server-key.pem", MFdFlags::MFD_CLOEXEC)?);
            key.write_all(generated.server_key.as_bytes())?;
            // The descriptor by the number of the process: children have not inherited it.
            let place = format!("/proc/{}/fd/{}", process::id(), key.as_raw_fd());
            symlink(place, dir.path().join(SERVER_KEY))?;
            Ok(key)
        });
        let key = written.map_err(|e| Failure::new("write certificates", dir.path().display(), e))?;
        Ok(Self { dir, _key: key })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

struct Generated {
    ca_cert: String,
    server_cert: String,
    server_key: String,
}

impl Generated {
    fn write_certificates(&self, dir: &Path) -> io::Result<()> {
        write_file(&dir.join(CA_CERT), &self.ca_cert, 0o644)?;
        write_file(&dir.join(SERVER_CERT), &self.server_cert, 0o644)
    }
}

fn generate() -> Result<Generated, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "tls-cork test CA");
    let ca_cert = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let server_key = KeyPair::generate()?;
    let mut server = CertificateParams::new(SERVER_NAMES.map(str::to_owned))?;
    server.distinguished_name.push(DnType::CommonName, SERVER_NAMES[0]);
    let server_cert = server.signed_by(&server_key, &issuer)?;

    Ok(Generated { ca_cert: ca_cert.pem(), server_cert: server_cert.pem(), server_key: server_key.serialize_pem() })
}

fn write_file(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?.write_all(text.as_bytes())
}

/// A client that trusts the certificates in the PEM file `ca`, and nobody else.
pub fn client_config(ca: &Path, version: Option<TlsVersion>) -> Result<Arc<ClientConfig>, Failure> {
    client_config_with(ca, version, aws_lc_rs::default_provider())
}

/// As [`client_config`], with cryptography of the caller's choice.
pub fn client_config_with(
    ca: &Path,
    version: Option<TlsVersion>,
    provider: CryptoProvider,
) -> Result<Arc<ClientConfig>, Failure> {
    let what = "read CA certificate";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, what)? {
        roots.add(certificate).map_err(|e| Failure::new(what, ca.display(), e))?;
    }
    let version = version.map(|version| [version.supported()]);
    let versions = version.as_ref().map_or(rustls::DEFAULT_VERSIONS, |v| &v[..]);
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .map_err(|e| Failure::new("configure TLS", ca.display(), e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A server with the certificate that [`make_certificates`] wrote to `dir`.
pub fn server_config(dir: &Path) -> Result<Arc<ServerConfig>, Failure> {
    server_config_with(dir, aws_lc_rs::default_provider())
}

/// As [`server_config`], with cryptography of the caller's choice; it has to offer TLS 1.2 and 1.3.
pub fn server_config_with(dir: &Path, provider: CryptoProvider) -> Result<Arc<ServerConfig>, Failure> {
    server_with(dir, provider).map(Arc::new)
}

/// The same server, for measuring one direction: it agrees to `suite` alone, and sends no tickets, which a client that only writes
/// would leave unread.
pub fn receiver_config(dir: &Path, suite: SupportedCipherSuite) -> Result<Arc<ServerConfig>, Failure> {
    let only = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
    let mut config = server_with(dir, only)?;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn server_with(dir: &Path, provider: CryptoProvider) -> Result<ServerConfig, Failure> {
    let what = "read server certificate";
    let chain = certificates(&dir.join(SERVER_CERT), what)?;
    let key_file = dir.join(SERVER_KEY);
    let key =
        PrivateKeyDer::from_pem_file(&key_file).map_err(|e| Failure::new("read server key", key_file.display(), e))?;
    ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| Failure::new(what, dir.display(), e))
}

fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let fail = |why: &dyn std::fmt::Display| Failure::new(what, file.display(), why);
    let text = fs::read(file).map_err(|e| fail(&e))?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|e| fail(&e))?;
    if found.is_empty() {
        return Err(fail(&"no PEM certificate in this file"));
    }
    Ok(found)
}
