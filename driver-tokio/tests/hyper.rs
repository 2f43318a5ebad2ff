//! The example `hyper`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::Ipv4Addr;

use ::hyper::Version;
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};

#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/hyper.rs"]
mod hyper;

async fn answer(version: Version, len: usize) -> String {
    let (connector, acceptor) = hyper::configs(version).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let serving = tokio::spawn(hyper::serve(acceptor, listener.accept().await.unwrap().0));
    let answer = hyper::post(&connector, tcp, Bytes::from(vec![7; len])).await.unwrap();
    // The client is gone, with or without a proper end.
    let _ = serving.await.unwrap();
    answer
}

#[tokio::test]
async fn http_1_and_http_2_carry_small_and_large_bodies() {
    for len in [0, 5, 16_384, 1 << 20] {
        assert_eq!(answer(Version::HTTP_11, len).await, format!("HTTP/1.1 /echo: {len} bytes\n"));
        assert_eq!(answer(Version::HTTP_2, len).await, format!("HTTP/2.0 /echo: {len} bytes\n"));
    }
}
