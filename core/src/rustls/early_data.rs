//! Early data (0-RTT) is out of scope: it is refused, and so never lost (R6).

use std::sync::Arc;

use ::rustls::{ClientConfig, Connection, ServerConfig};

/// Returns `config`, or a copy of it that accepts no early data (`max_early_data_size` of 0).
///
/// A session that accepts early data acknowledges bytes that are never read. A session that refuses
/// it makes the client send them again after the handshake (RFC 8446, section 4.2.10). rustls skips
/// up to 16 KiB of refused early data; more fails the handshake.
///
/// [`Connection::server`](crate::Connection::server) calls this for each session, and the drivers'
/// acceptors call it once.
pub fn server_without_early_data(config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if config.max_early_data_size == 0 {
        return config;
    }
    let mut config = ServerConfig::clone(&config);
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// Returns `config`, or a copy of it that offers no early data (`enable_early_data` off).
///
/// [`Connection::client`](crate::Connection::client) calls this for each session, and the drivers'
/// connectors call it once.
pub fn client_without_early_data(config: Arc<ClientConfig>) -> Arc<ClientConfig> {
    if !config.enable_early_data {
        return config;
    }
    let mut config = ClientConfig::clone(&config);
    config.enable_early_data = false;
    Arc::new(config)
}

/// Whether the session can send early data, or has accepted some.
pub(crate) fn has_early_data(conn: &mut Connection) -> bool {
    match conn {
        Connection::Client(client) => client.early_data().is_some(),
        Connection::Server(server) => server.early_data().is_some(),
    }
}
