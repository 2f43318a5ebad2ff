//! The TLS sessions of streams.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CipherSuiteCommon, CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig, SupportedCipherSuite, Tls13CipherSuite};
use tls_cork_programs::Failure;
use tls_cork_programs::tls::{self, TlsVersion};

use super::plan::{Side, Tls};

/// After how many records short-lived keys are updated.
pub(crate) const SHORT_LIVED: u64 = 300;

/// What an end's TLS session is made of.
#[derive(Debug)]
pub(crate) enum Session {
    Client(Arc<ClientConfig>, ServerName<'static>),
    Server(Arc<ServerConfig>),
}

/// TLS configurations for every kind of stream, by [`Tls`].
#[derive(Debug)]
pub(crate) struct Configs {
    clients: [Arc<ClientConfig>; 3],
    servers: [Arc<ServerConfig>; 3],
    name: ServerName<'static>,
}

impl Configs {
    /// With the certificates in `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self, Failure> {
        let ca = dir.join(tls::CA_CERT);
        let name = tls::SERVER_NAMES[0];
        let server = tls::server_config(dir)?;
        Ok(Self {
            clients: [
                tls::client_config(&ca, Some(TlsVersion::Tls12))?,
                tls::client_config(&ca, Some(TlsVersion::Tls13))?,
                tls::client_config_with(&ca, Some(TlsVersion::Tls13), short_lived())?,
            ],
            servers: [server.clone(), server, tls::server_config_with(dir, short_lived())?],
            name: ServerName::try_from(name).map_err(|e| Failure::new("configure TLS", name, e))?,
        })
    }

    pub(crate) fn session(&self, side: Side, tls: Tls) -> Session {
        match side {
            Side::Client => Session::Client(self.clients[tls as usize].clone(), self.name.clone()),
            Side::Server => Session::Server(self.servers[tls as usize].clone()),
        }
    }
}

/// Keys of TLS 1.3 that rustls updates after a few records, since nobody else can ask it to; those of 1.2 as they are.
fn short_lived() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    for suite in &mut provider.cipher_suites {
        if let SupportedCipherSuite::Tls13(original) = suite {
            let mut copy = Tls13CipherSuite { common: CipherSuiteCommon { ..original.common }, ..**original };
            copy.common.confidentiality_limit = SHORT_LIVED;
            // Once in each run, for its whole time.
            *suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(copy)));
        }
    }
    provider
}
