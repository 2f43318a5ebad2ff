//! The example `https_client`: hyper-util's client over the connector of the feature `hyper-util`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hyper::{Uri, Version};
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tls_cork_tokio::{HttpsConnector, TlsConnector, TlsStream, client};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/https_client.rs"]
mod https_client;

use https_client::{configs, post, serve};

/// A server that agrees to one version of HTTP.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// A connector that trusts it.
    connector: TlsConnector,
}

impl Server {
    async fn start(version: Version) -> Self {
        let (connector, acceptor) = configs(version).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let tcp = listener.accept().await.unwrap().0;
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(acceptor.clone(), tcp));
            }
        });
        Self { address, connections, connector }
    }

    fn uri(&self, scheme: &str) -> Uri {
        format!("{scheme}://localhost:{}/echo", self.address.port()).parse().unwrap()
    }
}

/// All texts of an error and its causes.
fn texts(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(|error| format!("{error}; ")).collect()
}

#[tokio::test]
async fn alpn_chooses_the_version_and_one_connection_serves_all_requests() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let server = Server::start(version).await;
        let client = https_client::client(server.connector.clone());
        for len in [0, 5, 16_384, 1 << 20] {
            let answer = post(&client, server.uri("https"), Bytes::from(vec![7; len])).await.unwrap();
            assert_eq!(answer.version, version);
            assert_eq!(answer.from, Some(server.address));
            assert_eq!(answer.text, format!("{version:?} /echo: {len} bytes\n"));
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{version:?}");
    }
}

#[tokio::test]
async fn a_connection_has_the_facts_of_its_socket_and_of_alpn() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let server = Server::start(version).await;
        let mut connector = HttpsConnector::new(server.connector.clone());
        // The transport is the socket itself, which is on the closed list for `MSG_MORE`.
        let stream: TokioIo<client::TlsStream<TcpStream>> = connector.call(server.uri("https")).await.unwrap();
        assert!(stream.inner().get_ref().0.nodelay().unwrap());
        assert_eq!(stream.connected().is_negotiated_h2(), version == Version::HTTP_2);
        let either = TlsStream::from(stream.into_inner());
        assert_eq!(either.connected().is_negotiated_h2(), version == Version::HTTP_2);
    }
}

#[tokio::test]
async fn what_is_not_https_and_who_is_not_trusted_is_refused() {
    let server = Server::start(Version::HTTP_2).await;
    let client = https_client::client(server.connector.clone());
    let error = post(&client, server.uri("http"), Bytes::new()).await.err().unwrap();
    assert!(texts(&*error).contains("begins with https://"), "{}", texts(&*error));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);

    let nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let client = https_client::client(TlsConnector::from(Arc::new(nobody)));
    let error = post(&client, server.uri("https"), Bytes::new()).await.err().unwrap();
    assert!(texts(&*error).contains("UnknownIssuer"), "{}", texts(&*error));
}

#[tokio::test]
async fn an_address_in_brackets_is_checked_without_them() {
    let server = Server::start(Version::HTTP_11).await;
    let client = https_client::client(server.connector.clone());
    let listener = TcpListener::bind("[::1]:0").await;
    // A machine may have no IPv6.
    let Ok(listener) = listener else { return };
    let port = listener.local_addr().unwrap().port();
    let (_, acceptor) = configs(Version::HTTP_11).unwrap();
    tokio::spawn(async move { serve(acceptor, listener.accept().await.unwrap().0).await });
    let uri: Uri = format!("https://[::1]:{port}/").parse().unwrap();
    // The certificate is for another name, so the name was read.
    let error = post(&client, uri, Bytes::new()).await.err().unwrap();
    assert!(texts(&*error).contains("invalid peer certificate"), "{}", texts(&*error));
}
