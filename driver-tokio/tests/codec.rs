//! `Framed` of tokio-util over both crates: never more records, bytes or sends than over
//! tokio-rustls.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use support::{Counted, Counts, configs, name, noise};

/// The lengths of the frames of a turn. The buffer of `Framed` is full at 8 KiB.
const TURNS: [&[usize]; 5] = [&[28], &[512; 16], &[10, 20_000, 10], &[70_000, 100, 8192], &[300_000]];

/// Sends each turn, flushes at its end, and checks the frames at the other end.
async fn exchange(client: impl AsyncRead + AsyncWrite + Unpin, server: impl AsyncRead + AsyncWrite + Unpin) {
    let mut client = Framed::new(client, LengthDelimitedCodec::new());
    let mut server = Framed::new(server, LengthDelimitedCodec::new());
    for turn in TURNS {
        let sends = async {
            for (n, &len) in turn.iter().enumerate() {
                client.feed(Bytes::from(noise(len, n as u32))).await.unwrap();
            }
            SinkExt::<Bytes>::flush(&mut client).await.unwrap();
        };
        let receives = async {
            for (n, &len) in turn.iter().enumerate() {
                assert!(server.next().await.unwrap().unwrap() == noise(len, n as u32));
            }
        };
        tokio::join!(sends, receives);
    }
    SinkExt::<Bytes>::close(&mut client).await.unwrap();
    assert!(server.next().await.is_none());
}

macro_rules! counted {
    ($tls:ident) => {{
        let (client_config, server_config) = configs();
        let (client, server) = duplex(1 << 20);
        let ((client, up), (server, _)) = (Counted::new(client), Counted::new(server));
        let (client, server) = tokio::join!(
            $tls::TlsConnector::from(client_config).connect(name(), client),
            $tls::TlsAcceptor::from(server_config).accept(server)
        );
        up.forget();
        exchange(client.unwrap(), server.unwrap()).await;
        up
    }};
}

#[tokio::test]
async fn frames_cost_no_more_records_bytes_and_sends_than_over_tokio_rustls() {
    let (ours, theirs): (Counts, Counts) = (counted!(tls_cork_tokio), counted!(tokio_rustls));
    let counts = |counts: &Counts| (counts.records().len(), counts.bytes(), counts.sends());
    let (ours, theirs) = (counts(&ours), counts(&theirs));
    println!("records, bytes and sends: {ours:?} with tls-cork, {theirs:?} with tokio-rustls");
    assert!(ours.0 <= theirs.0 && ours.1 <= theirs.1 && ours.2 <= theirs.2);
}
