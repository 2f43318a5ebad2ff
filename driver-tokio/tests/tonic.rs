//! The example `tonic`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::Ipv4Addr;

use bytes::Bytes;
use hyper::Version;
use tokio::net::TcpListener;

#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/tonic/main.rs"]
mod example;

/// The port of a server, and a client of another server's authority if `trusted` is false.
async fn server(trusted: bool) -> (u16, tls_cork_tokio::TlsConnector) {
    let (mut connector, acceptor) = example::configs(Version::HTTP_2).unwrap();
    if !trusted {
        connector = example::configs(Version::HTTP_2).unwrap().0;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(example::serve(acceptor, listener));
    (port, connector)
}

#[tokio::test]
async fn a_call_has_the_address_of_its_client() {
    let (port, connector) = server(true).await;
    let mut client = example::connect(connector, port).await.unwrap();
    for len in [0, 5, 16_384, 3 << 20] {
        let answer = example::measure(&mut client, Bytes::from(vec![7; len])).await.unwrap();
        let text = String::from_utf8(answer.into()).unwrap();
        assert!(text.starts_with("127.0.0.1:") || text.starts_with("[::1]:"), "{text}");
        assert!(text.ends_with(&format!(": {len} bytes")), "{text}");
    }
}

#[tokio::test]
async fn streams_of_messages_go_both_ways_at_once() {
    let (port, connector) = server(true).await;
    let client = example::connect(connector, port).await.unwrap();
    let calls = (0..4_u8).map(|call| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let lens = [0, 1, 500, 20_000, 1 << 20];
            let messages: Vec<Bytes> = lens.iter().map(|&len| Bytes::from(vec![call; len])).cycle().take(20).collect();
            assert!(example::echo(&mut client, messages.clone()).await.unwrap() == messages, "call {call}");
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_refused() {
    let (port, connector) = server(false).await;
    let error = example::connect(connector, port).await.err().unwrap();
    assert!(
        format!("{error:?}").contains("UnknownIssuer") || format!("{error:?}").contains("BadSignature"),
        "{error:?}"
    );
}
