//! Certificates as files for the programs, and TLS configurations of ours that allow exactly what a case is about.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use tempfile::TempDir;

use crate::table::Version;

/// The kind of the server's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Ecdsa,
    Rsa,
}

impl Key {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
        }
    }
}

/// A cipher suite by the names that each implementation has for it.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) version: Version,
    pub(crate) key: Key,
    pub(crate) ours: SupportedCipherSuite,
    pub(crate) openssl: &'static str,
    pub(crate) gnutls: &'static str,
    /// What a record is longer by than its plaintext: header, explicit nonce, content type, tag.
    pub(crate) overhead: u64,
}

macro_rules! suites {
    ($($version:ident $key:ident $ours:ident $openssl:literal $gnutls:literal $overhead:literal,)*) => {
        &[$(Suite {
            version: Version::$version,
            key: Key::$key,
            ours: aws_lc_rs::cipher_suite::$ours,
            openssl: $openssl,
            gnutls: $gnutls,
            overhead: $overhead,
        },)*]
    };
}

/// The first of each version is the one that features are tried with.
pub(crate) static SUITES: &[Suite] = suites![
    Tls13 Ecdsa TLS13_AES_128_GCM_SHA256 "TLS_AES_128_GCM_SHA256" "AES-128-GCM" 22,
    Tls13 Ecdsa TLS13_AES_256_GCM_SHA384 "TLS_AES_256_GCM_SHA384" "AES-256-GCM" 22,
    Tls13 Ecdsa TLS13_CHACHA20_POLY1305_SHA256 "TLS_CHACHA20_POLY1305_SHA256" "CHACHA20-POLY1305" 22,
    Tls13 Rsa TLS13_AES_128_GCM_SHA256 "TLS_AES_128_GCM_SHA256" "AES-128-GCM" 22,
    Tls13 Rsa TLS13_AES_256_GCM_SHA384 "TLS_AES_256_GCM_SHA384" "AES-256-GCM" 22,
    Tls13 Rsa TLS13_CHACHA20_POLY1305_SHA256 "TLS_CHACHA20_POLY1305_SHA256" "CHACHA20-POLY1305" 22,
    Tls12 Ecdsa TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 "ECDHE-ECDSA-AES128-GCM-SHA256" "AES-128-GCM" 29,
    Tls12 Ecdsa TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 "ECDHE-ECDSA-AES256-GCM-SHA384" "AES-256-GCM" 29,
    Tls12 Ecdsa TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 "ECDHE-ECDSA-CHACHA20-POLY1305" "CHACHA20-POLY1305" 21,
    Tls12 Rsa TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 "ECDHE-RSA-AES128-GCM-SHA256" "AES-128-GCM" 29,
    Tls12 Rsa TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 "ECDHE-RSA-AES256-GCM-SHA384" "AES-256-GCM" 29,
    Tls12 Rsa TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 "ECDHE-RSA-CHACHA20-POLY1305" "CHACHA20-POLY1305" 21,
];

/// The protocol that both sides speak where ALPN is tried.
pub(crate) const ALPN: &str = "http/1.1";

/// What both sides of one connection agree on, or are to disagree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) suite: &'static Suite,
    /// The server wants to see a certificate of the client.
    pub(crate) client_auth: bool,
    /// The client has one.
    pub(crate) client_certificate: bool,
    pub(crate) alpn: bool,
    /// The client offers its key share in X25519, the server takes P-256 only.
    pub(crate) retry: bool,
}

impl Terms {
    pub(crate) fn of(suite: &'static Suite) -> Self {
        Self { suite, client_auth: false, client_certificate: false, alpn: false, retry: false }
    }
}

/// One CA and what it has signed, in a directory of PEM files.
pub(crate) struct Pki {
    dir: TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name.push(DnType::CommonName, "interoperability test CA");
        let ca_key = KeyPair::generate().expect("a key");
        let ca = CertifiedIssuer::self_signed(ca, ca_key).expect("a CA certificate");
        fs::write(pki.file("ca-cert.pem"), ca.pem()).expect("writing a certificate");
        let ecdsa = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("an ECDSA key");
        let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("an RSA key");
        // "server" and "client" are the names that nbdkit and QEMU look for.
        for (name, key) in [("ecdsa", ecdsa()), ("rsa", rsa), ("server", ecdsa()), ("client", ecdsa())] {
            let mut params = CertificateParams::new(["localhost", "127.0.0.1"].map(str::to_owned)).expect("names");
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.signed_by(&key, &ca).expect("a certificate");
            fs::write(pki.file(&format!("{name}-cert.pem")), certificate.pem()).expect("writing a certificate");
            fs::write(pki.file(&format!("{name}-key.pem")), key.serialize_pem()).expect("writing a key");
        }
        pki
    }

    /// The same files once more, for a case that adds some of its own.
    pub(crate) fn beside(other: &Self) -> Self {
        let pki = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        for entry in fs::read_dir(other.dir()).expect("a directory") {
            let entry = entry.expect("a file");
            fs::copy(entry.path(), pki.dir().join(entry.file_name())).expect("copying a file");
        }
        pki
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// As an argument of a program.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// A client that agrees to nothing but `terms`.
    pub(crate) fn client(&self, terms: &Terms) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider(terms, &[aws_lc_rs::kx_group::X25519, P256]))
            .with_protocol_versions(&[terms.suite.version.supported()])
            .expect("a protocol version")
            .with_root_certificates(self.roots());
        let mut config = if terms.client_certificate {
            let (chain, key) = self.identity("client");
            builder.with_client_auth_cert(chain, key).expect("a certificate and its key")
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = alpn(terms);
        Arc::new(config)
    }

    /// A server that agrees to nothing but `terms`.
    pub(crate) fn server(&self, terms: &Terms) -> Arc<ServerConfig> {
        let groups: &[_] = if terms.retry { &[P256] } else { &[aws_lc_rs::kx_group::X25519, P256] };
        let provider = provider(terms, groups);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[terms.suite.version.supported()])
            .expect("a protocol version");
        let builder = if terms.client_auth {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let (chain, key) = self.identity(terms.suite.key.name());
        let mut config = builder.with_single_cert(chain, key).expect("a certificate and its key");
        config.ticketer = aws_lc_rs::Ticketer::new().expect("a ticketer");
        config.alpn_protocols = alpn(terms);
        Arc::new(config)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("ca")).expect("a root");
        roots
    }

    pub(crate) fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file(&format!("{name}-cert.pem"))).expect("a certificate")
    }

    fn identity(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}-key.pem"))).expect("a key");
        (vec![self.certificate(name)], key)
    }
}

const P256: &dyn SupportedKxGroup = aws_lc_rs::kx_group::SECP256R1;

fn provider(terms: &Terms, groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![terms.suite.ours];
    provider.kx_groups = groups.to_vec();
    Arc::new(provider)
}

fn alpn(terms: &Terms) -> Vec<Vec<u8>> {
    if terms.alpn { vec![b"other/1".to_vec(), ALPN.into()] } else { Vec::new() }
}
