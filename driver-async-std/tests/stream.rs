//! One stream over a recorded transport: when bytes leave, and in how many records.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use futures_util::future::join;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use support::pipe::{End, Tap, pipe};
use support::{configs, name, noise, patient, run};
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags};
use tls_cork_async_std::{TlsAcceptor, TlsConnector, client, server};

const CAPACITY: usize = 1 << 20;

struct Pair {
    client: client::TlsStream<End>,
    server: server::TlsStream<End>,
    /// What the client writes.
    up: Tap,
    /// What the server writes.
    down: Tap,
}

async fn connected(cork: CorkConfig) -> Pair {
    let (client_config, server_config) = configs();
    let (client, server) = pipe(CAPACITY);
    let (up, down) = (client.outgoing(), server.outgoing());
    let connector = TlsConnector::from(client_config).with_cork(cork.clone()).unwrap();
    let acceptor = TlsAcceptor::from(server_config).with_cork(cork).unwrap();
    let (client, server) = join(connector.connect(name(), client), acceptor.accept(server)).await;
    up.forget();
    down.forget();
    Pair { client: client.unwrap(), server: server.unwrap(), up, down }
}

async fn gets<R: futures_io::AsyncRead + Unpin>(reader: &mut R, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    reader.read_exact(&mut got).await.unwrap();
    got
}

#[test]
fn header_and_body_are_one_record_and_one_send() {
    run(async {
        let mut pair = connected(patient()).await;
        assert_eq!(pair.client.send(b"header ", SendFlags::MORE).await.unwrap(), 7);
        assert_eq!(pair.up.writes(), 0);
        assert_eq!(pair.client.send(b"body", SendFlags::NONE).await.unwrap(), 4);
        assert_eq!(pair.up.application(), [11]);
        assert_eq!(pair.up.writes(), 1);
        assert_eq!(gets(&mut pair.server, 11).await, b"header body");
    });
}

#[test]
fn megabytes_go_both_ways() {
    run(async {
        let pair = connected(CorkConfig::default()).await;
        let (up, down) = (noise(5 << 20, 1), noise(5 << 20, 2));
        let (mut cr, mut cw) = pair.client.into_split();
        let (mut sr, mut sw) = pair.server.into_split();
        let writes = join(cw.write_all(&up), sw.write_all(&down));
        let ((a, b), (at_server, at_client)) =
            join(writes, join(gets(&mut sr, up.len()), gets(&mut cr, down.len()))).await;
        a.unwrap();
        b.unwrap();
        assert!(at_server == up && at_client == down);
    });
}
