//! Both ends of one connection, over a recorded pipe.

use std::sync::Arc;

use futures_util::AsyncReadExt;
use futures_util::future::join;
use rustls::{ClientConfig, ServerConfig};
use tls_cork_async_std::tls_cork::CorkConfig;
use tls_cork_async_std::{TlsAcceptor, TlsConnector, client, server};
use tls_cork_testing::sessions::name;

use super::configs;
use super::pipe::{End, Tap, pipe};

const CAPACITY: usize = 1 << 20;

pub struct Pair {
    pub client: client::TlsStream<End>,
    pub server: server::TlsStream<End>,
    /// What the client writes.
    pub up: Tap,
    /// What the server writes.
    pub down: Tap,
}

/// Shaken hands, with nothing recorded and the tickets still to be read by the client.
pub async fn connected(cork: CorkConfig) -> Pair {
    connected_with(configs(), cork, CAPACITY).await
}

/// As [`connected`], over a pipe that takes `capacity` bytes once hands are shaken.
pub async fn connected_with(
    (client_config, server_config): (Arc<ClientConfig>, Arc<ServerConfig>),
    cork: CorkConfig,
    capacity: usize,
) -> Pair {
    let (client, server) = pipe(CAPACITY);
    let (up, down) = (client.outgoing(), server.outgoing());
    let connector = TlsConnector::from(client_config).with_cork(cork.clone()).unwrap();
    let acceptor = TlsAcceptor::from(server_config).with_cork(cork).unwrap();
    let (client, server) = join(connector.connect(name(), client), acceptor.accept(server)).await;
    for tap in [&up, &down] {
        tap.forget();
        tap.set_capacity(capacity);
    }
    Pair { client: client.unwrap(), server: server.unwrap(), up, down }
}

/// Reads `len` bytes.
pub async fn gets<R: futures_io::AsyncRead + Unpin>(reader: &mut R, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    reader.read_exact(&mut got).await.unwrap();
    got
}

/// Reads to the end of the stream.
pub async fn gets_all<R: futures_io::AsyncRead + Unpin>(reader: &mut R) -> std::io::Result<Vec<u8>> {
    let mut got = Vec::new();
    reader.read_to_end(&mut got).await.map(|_| got)
}
