//! Early data (0-RTT) is out of scope: it is refused, never lost.

use std::sync::Arc;

use ::rustls::{ClientConfig, Connection, ServerConfig};

/// `config`, or a copy of it that accepts no early data (`max_early_data_size` of zero).
///
/// A session that accepts early data acknowledges bytes that nobody would read. From one that refuses it, the client learns in the
/// handshake that it has to send them again (RFC 8446, section 4.2.10); rustls skips up to 16 KiB of them, and fails the handshake beyond.
///
/// [`Connection::server`](crate::Connection::server) does this for each session, and the drivers' acceptors once.
pub fn server_without_early_data(config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if config.max_early_data_size == 0 {
        return config;
    }
    let mut config = ServerConfig::clone(&config);
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// `config`, or a copy of it that offers no early data (`enable_early_data` off).
///
/// [`Connection::client`](crate::Connection::client) does this for each session, and the drivers' connectors once.
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
