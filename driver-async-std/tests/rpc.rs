//! The example `rpc`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use smol::net::{TcpListener, TcpStream};
use support::run;
use tls_cork_async_std::rustls::{ClientConfig, RootCertStore};
use tls_cork_async_std::{TlsAcceptor, TlsConnector};

#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/rpc.rs"]
mod rpc;

#[test]
fn requests_of_all_sizes_are_answered_and_both_sides_end() {
    let (client, server) = rpc::configs().unwrap();
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        let server = smol::spawn(rpc::serve(TlsAcceptor::from(Arc::new(server)), accepted));
        let requests = [0, 1, 512, 16_384, 1 << 20].map(|len| Bytes::from(vec![b'a'; len]));
        let replies = rpc::call(TlsConnector::from(Arc::new(client)), tcp, &requests).await.unwrap();
        server.await.unwrap();
        assert_eq!(replies.len(), requests.len());
        for (reply, request) in replies.iter().zip(&requests) {
            assert!(reply.len() == request.len() && reply.iter().all(|byte| *byte == b'A'), "{} bytes", reply.len());
        }
    });
}

#[test]
fn a_client_that_does_not_know_the_authority_is_refused_on_both_sides() {
    let (_, server) = rpc::configs().unwrap();
    let client = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        let server = smol::spawn(rpc::serve(TlsAcceptor::from(Arc::new(server)), accepted));
        let error = rpc::call(TlsConnector::from(Arc::new(client)), tcp, &["x".into()]).await.unwrap_err();
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");
        server.await.unwrap_err();
    });
}

#[test]
fn a_body_that_is_too_long_ends_the_call() {
    let (client, server) = rpc::configs().unwrap();
    run(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        let server = smol::spawn(rpc::serve(TlsAcceptor::from(Arc::new(server)), accepted));
        let requests = [Bytes::from(vec![0; (1 << 20) + 1])];
        rpc::call(TlsConnector::from(Arc::new(client)), tcp, &requests).await.unwrap_err();
        let error = server.await.unwrap_err();
        assert!(error.to_string().contains("1048577 bytes"), "{error}");
    });
}
