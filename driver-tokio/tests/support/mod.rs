//! What the tests share: TLS configurations, and a transport in memory that counts.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test program uses a part")]

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tls_cork_testing::RecordCounter;
use tls_cork_tokio::{CorkConfig, TlsAcceptor, TlsConnector, client, server};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

pub const HOLD: Duration = Duration::from_millis(10);

const APPLICATION_DATA: u8 = 23;

/// Room in each direction of a pipe.
pub const ROOM: usize = 1 << 20;

/// TLS configurations for both ends.
pub fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    configs_with(&[])
}

/// As [`configs`]; both ends speak the protocols `alpn`.
pub fn configs_with(alpn: &[&[u8]]) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    server.alpn_protocols = client.alpn_protocols.clone();
    (Arc::new(client), Arc::new(server))
}

pub fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

/// A hold that ends by other means, or never.
pub fn patient() -> CorkConfig {
    CorkConfig::default().max_hold(Duration::from_secs(50))
}

/// Bytes without a pattern that a mistake could hide behind.
pub fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Both ends of one connection.
pub struct Pair<A = Counted<DuplexStream>, B = Counted<DuplexStream>> {
    pub client: client::TlsStream<A>,
    pub server: server::TlsStream<B>,
    /// What the client sends.
    pub up: Counts,
    /// What the server sends.
    pub down: Counts,
}

/// Shaken hands over a pipe, with nothing counted yet.
pub async fn connected(cork: CorkConfig) -> Pair {
    connected_with(configs(), cork, ROOM).await
}

pub async fn connected_with(
    (client_config, server_config): (Arc<ClientConfig>, Arc<ServerConfig>),
    cork: CorkConfig,
    room: usize,
) -> Pair {
    let (client, server) = duplex(room);
    let (client, up) = Counted::new(client);
    let (server, down) = Counted::new(server);
    let connector = TlsConnector::from(client_config).with_cork(cork.clone()).unwrap();
    let acceptor = TlsAcceptor::from(server_config).with_cork(cork).unwrap();
    let (client, server) = tokio::join!(connector.connect(name(), client), acceptor.accept(server));
    up.forget();
    down.forget();
    Pair { client: client.unwrap(), server: server.unwrap(), up, down }
}

/// Counts what goes by in one direction.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    sends: usize,
    counter: RecordCounter,
    /// Content type and length of each record, with its header.
    records: Vec<(u8, usize)>,
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub fn sends(&self) -> usize {
        self.lock().sends
    }

    /// Lengths of the plaintext of all encrypted records (TLS 1.3).
    pub fn records(&self) -> Vec<usize> {
        self.lock().records.iter().filter(|(kind, _)| *kind == APPLICATION_DATA).map(|(_, len)| len - 22).collect()
    }

    /// Bytes of all records, with their headers.
    pub fn bytes(&self) -> usize {
        self.lock().records.iter().map(|(_, len)| len).sum()
    }

    pub fn forget(&self) {
        let mut counts = self.lock();
        counts.sends = 0;
        counts.records.clear();
    }

    fn count(&self, bufs: &[IoSlice<'_>], taken: usize) {
        let Inner { sends, counter, records } = &mut *self.lock();
        *sends += 1;
        counter.advance_slices(bufs, taken, |kind, len| records.push((kind, len)));
    }
}

/// A transport whose sends are counted.
#[derive(Debug)]
pub struct Counted<IO> {
    pub io: IO,
    counts: Counts,
}

impl<IO> Counted<IO> {
    pub fn new(io: IO) -> (Self, Counts) {
        let counts = Counts::default();
        (Self { io, counts: counts.clone() }, counts)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.counts.count(bufs, taken);
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
