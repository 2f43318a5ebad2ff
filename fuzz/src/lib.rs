//! The code that the fuzz targets share: content that shows its own offset, sizes, and TLS sessions
//! whose keys and certificates are made once.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::Arbitrary;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tls_cork::{Connection, CorkConfig, DynamicRecords};
use tls_cork_testing::content::is_stream;

/// A length in bytes: mostly small, sometimes of several records.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Len(u16);

impl Len {
    pub fn get(self) -> usize {
        match self.0 {
            n @ ..0x8000 => usize::from(n & 0x3ff),
            n @ ..0xe000 => usize::from(n - 0x8000),
            n => usize::from(n - 0xe000) * 16,
        }
    }
}

/// A valid configuration with sizes near the ones that matter.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Cork {
    record_size: Option<u16>,
    hold_limit: Option<u16>,
    small_buffer: bool,
    small_batches: bool,
    pub flush_on_read_wait: bool,
    ramp: bool,
}

impl Cork {
    pub fn record_size(&self) -> usize {
        self.record_size.map_or(16_384, |size| 64 + usize::from(size) % 4000)
    }

    pub fn hold_limit(&self) -> usize {
        let most = self.record_size().max(self.send_buffer() / 2);
        self.hold_limit.map_or(self.record_size(), |limit| 1 + usize::from(limit) % most)
    }

    pub fn send_buffer(&self) -> usize {
        if self.small_buffer { 17_000 } else { 256 * 1024 }
    }

    pub fn batches(&self) -> (usize, usize) {
        if self.small_batches { (16_384, 40_000) } else { (64 * 1024, 96 * 1024) }
    }

    pub fn ramp(&self) -> bool {
        self.ramp
    }

    pub fn config(&self) -> CorkConfig {
        let (least, most) = self.batches();
        let config = CorkConfig::default()
            .record_size(self.record_size())
            .hold_limit(self.hold_limit())
            .send_buffer_limit(self.send_buffer())
            .batch_size(least..=most)
            .flush_on_read_wait(self.flush_on_read_wait);
        if !self.ramp {
            return config;
        }
        let ramp = DynamicRecords::default().segment_size(self.record_size().min(100)).ramp_bytes(5000);
        config.dynamic_records(ramp.idle_reset(Duration::from_millis(20)))
    }
}

/// Returns a `Connection`, and a session of plain rustls as its peer.
pub fn pair(tls13: bool, we_are_client: bool, cork: CorkConfig) -> (Connection, rustls::Connection) {
    let (client, server) = configs(tls13);
    let name = ServerName::try_from("localhost").expect("a name");
    let (ours, mut peer) = if we_are_client {
        let peer = ServerConnection::new(Arc::clone(server)).expect("a server");
        (Connection::client(Arc::clone(client), name, cork), rustls::Connection::Server(peer))
    } else {
        let peer = ClientConnection::new(Arc::clone(client), name).expect("a client");
        (Connection::server(Arc::clone(server), cork), rustls::Connection::Client(peer))
    };
    peer.set_buffer_limit(None);
    (ours.expect("a valid configuration"), peer)
}

/// The TLS configurations, made once. Signatures are Ed25519, which all have one length. There is
/// no resumption, so that no run depends on earlier runs.
fn configs(tls13: bool) -> &'static (Arc<ClientConfig>, Arc<ServerConfig>) {
    static CONFIGS: [OnceLock<(Arc<ClientConfig>, Arc<ServerConfig>)>; 2] = [const { OnceLock::new() }; 2];
    CONFIGS[usize::from(tls13)].get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a root");
        let kx_groups: Vec<&'static dyn SupportedKxGroup> = vec![kx_group::X25519];
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![
                cipher_suite::TLS13_AES_128_GCM_SHA256,
                cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            ],
            kx_groups,
            ..aws_lc_rs::default_provider()
        });
        let versions = [if tls13 { &TLS13 } else { &TLS12 }];
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        (Arc::new(client), Arc::new(server))
    })
}

/// What follows in a reader's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// More may follow.
    Open,
    /// The proper end.
    End,
    /// A cut: the transport ended without `close_notify`.
    Cut,
}

/// Reads up to `most` bytes, and checks that they are those of the [`stream`] at `*offset`.
pub fn read_stream(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>, offset: &mut usize, most: usize) -> Rest {
    let mut buf = [0; 4096];
    let mut left = most;
    while left > 0 {
        let room = left.min(buf.len());
        match read(&mut buf[..room]) {
            Ok(0) => return Rest::End,
            Ok(n) => {
                assert!(is_stream(&buf[..n], *offset), "content and order at {offset}");
                *offset += n;
                left -= n;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Rest::Open,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Rest::Cut,
            Err(error) => panic!("reading: {error}"),
        }
    }
    Rest::Open
}

/// Appends everything that `peer` has to send now to `out`; returns its length.
pub fn peer_output(peer: &mut rustls::Connection, out: &mut Vec<u8>) -> usize {
    let before = out.len();
    while peer.wants_write() {
        peer.write_tls(out).expect("a Vec takes everything");
    }
    out.len() - before
}

/// Gives `data` to `peer` and reads its plaintext, which `got` counts. Returns the error if `peer`
/// fails.
pub fn peer_input(peer: &mut rustls::Connection, mut data: &[u8], got: &mut usize) -> Result<Rest, rustls::Error> {
    let mut rest = Rest::Open;
    while !data.is_empty() && rest == Rest::Open {
        let taken = peer.read_tls(&mut data).expect("plaintext has been read");
        peer.process_new_packets()?;
        rest = read_stream(|buf| peer.reader().read(buf), got, usize::MAX);
        if taken == 0 {
            break;
        }
    }
    Ok(rest)
}
