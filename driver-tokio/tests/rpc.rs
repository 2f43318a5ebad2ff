//! The example `rpc`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use tls_cork_tokio::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tls_cork_tokio::{TlsAcceptor, TlsConnector};
use tokio::net::{TcpListener, TcpStream};

#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/rpc.rs"]
mod rpc;

/// What the client and the server return.
async fn both(
    client: ClientConfig,
    server: ServerConfig,
    requests: &[Bytes],
) -> (io::Result<Vec<Vec<u8>>>, io::Result<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0;
    let server = tokio::spawn(rpc::serve(TlsAcceptor::from(Arc::new(server)), accepted));
    let replies = rpc::call(TlsConnector::from(Arc::new(client)), tcp, requests).await;
    (replies, server.await.unwrap())
}

#[tokio::test]
async fn requests_of_all_sizes_are_answered_and_both_sides_end() {
    let (client, server) = rpc::configs().unwrap();
    let requests = [0, 1, 512, 16_384, 1 << 20].map(|len| Bytes::from(vec![b'a'; len]));
    let (replies, served) = both(client, server, &requests).await;
    served.unwrap();
    let replies = replies.unwrap();
    assert_eq!(replies.len(), requests.len());
    for (reply, request) in replies.iter().zip(&requests) {
        assert!(reply.len() == request.len() && reply.iter().all(|byte| *byte == b'A'), "{} bytes", reply.len());
    }
}

#[tokio::test]
async fn a_client_that_does_not_know_the_authority_is_refused_on_both_sides() {
    let (_, server) = rpc::configs().unwrap();
    let client = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let (replies, served) = both(client, server, &["x".into()]).await;
    let error = replies.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    served.unwrap_err();
}

#[tokio::test]
async fn a_body_that_is_too_long_ends_the_call() {
    let (client, server) = rpc::configs().unwrap();
    let (replies, served) = both(client, server, &[Bytes::from(vec![0; (1 << 20) + 1])]).await;
    replies.unwrap_err();
    let error = served.unwrap_err();
    assert!(error.to_string().contains("1048577 bytes"), "{error}");
}
