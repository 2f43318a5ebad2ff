//! Clients in memory after their handshake. Their servers are gone, so that they only send.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection};
use tls_cork::{Connection, CorkConfig};
use tls_cork_testing::sessions::{self, configs_with};

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
    let configs = configs_with(aws_lc_rs::default_provider(), &TLS13);
    let (mut client, _) = sessions::connected(&configs);
    client.set_buffer_limit(None);
    (client, configs.0)
}
