//! A program for tokio-rustls works with its imports changed, reads the same, and sends no more
//! records.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

use std::future::Future;

use tokio::io::{DuplexStream, duplex};

use support::{Counted, Counts, ROOM, configs};

mod with_tls_cork {
    use tls_cork_tokio as tls;
    include!("source.rs");
}

mod with_tokio_rustls {
    use tokio_rustls as tls;
    include!("source.rs");
}

/// What one run of a part read, and how many records each end sent.
async fn run<F>(part: impl FnOnce(Counted<DuplexStream>, Counted<DuplexStream>) -> F) -> (F::Output, [Counts; 2])
where
    F: Future,
{
    let (client, server) = duplex(ROOM);
    let ((client, up), (server, down)) = (Counted::new(client), Counted::new(server));
    (part(client, server).await, [up, down])
}

fn compare<T: PartialEq>(part: &str, (ours, our_counts): (T, [Counts; 2]), (theirs, their_counts): (T, [Counts; 2])) {
    assert!(ours == theirs, "{part}: other bytes");
    for (end, ours, theirs) in
        [("client", &our_counts[0], &their_counts[0]), ("server", &our_counts[1], &their_counts[1])]
    {
        let counts = [ours.records().len(), theirs.records().len(), ours.sends(), theirs.sends()];
        println!(
            "{part}, {end}: {} records with tls-cork, {} with tokio-rustls; {} and {} sends",
            counts[0], counts[1], counts[2], counts[3]
        );
        assert!(counts[0] <= counts[1], "{part}, {end}: more records");
    }
}

macro_rules! same {
    ($($part:ident),*) => {$(
        #[tokio::test]
        async fn $part() {
            let configs = configs();
            let ours = run(|up, down| with_tls_cork::$part(configs.clone(), up, down)).await;
            let theirs = run(|up, down| with_tokio_rustls::$part(configs.clone(), up, down)).await;
            compare(stringify!($part), ours, theirs);
        }
    )*};
}

same!(http, rpc, relay, lines);

#[tokio::test]
async fn socket() {
    let (client, server) = configs();
    let server = std::sync::Arc::new({
        let mut server = rustls::ServerConfig::clone(&server);
        server.alpn_protocols = vec![b"wish".to_vec()];
        server
    });
    let ours = with_tls_cork::socket((client.clone(), server.clone())).await;
    assert_eq!(ours, with_tokio_rustls::socket((client, server)).await);
    assert_eq!(ours, b"welcomewish");
}
