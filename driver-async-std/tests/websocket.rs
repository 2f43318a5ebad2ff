//! WebSocket messages over corked TLS.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{Bytes, Message};
use async_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};
use futures_util::future::join;
use futures_util::{SinkExt, StreamExt};
use support::pair::{Pair, connected};
use support::pipe::{End, Tap};
use support::{patient, run};
use tls_cork_async_std::{client, server};
use tls_cork_testing::content::noise;

struct Sockets {
    client: WebSocketStream<client::TlsStream<End>>,
    server: WebSocketStream<server::TlsStream<End>>,
    up: Tap,
    down: Tap,
}

/// `eager`: each message that is fed is written at once.
async fn sockets(eager: bool) -> Sockets {
    let Pair { client, server, up, down } = connected(patient()).await;
    let config = eager.then(|| WebSocketConfig::default().write_buffer_size(0));
    let (client, server) =
        join(client_async_with_config("wss://localhost/", client, config), accept_async_with_config(server, config))
            .await;
    up.forget();
    down.forget();
    Sockets { client: client.unwrap().0, server: server.unwrap(), up, down }
}

fn message(len: usize) -> Message {
    Message::Binary(Bytes::from(noise(len, 1)))
}

#[test]
fn a_message_is_one_record() {
    run(async {
        for eager in [false, true] {
            let Sockets { mut client, mut server, up, down } = sockets(eager).await;
            for len in [0, 1, 125, 126, 5000, 16_000, 16_376] {
                client.send(message(len)).await.unwrap();
                assert_eq!(server.next().await.unwrap().unwrap(), message(len));
                server.send(message(len)).await.unwrap();
                assert_eq!(client.next().await.unwrap().unwrap(), message(len));
                let header = if len < 126 { 2 } else { 4 };
                assert_eq!(up.application(), [header + 4 + len], "a client masks with four bytes");
                assert_eq!(down.application(), [header + len]);
                assert_eq!((up.writes(), down.writes()), (1, 1));
                up.forget();
                down.forget();
            }
            let (closed, _) = join(client.close(None), server.next()).await;
            closed.unwrap();
        }
    });
}

#[test]
fn messages_fed_before_a_flush_share_a_record() {
    run(async {
        let Sockets { mut client, mut server, up, .. } = sockets(false).await;
        for _ in 0..10 {
            client.feed(message(100)).await.unwrap();
        }
        assert_eq!(up.writes(), 0);
        client.flush().await.unwrap();
        assert_eq!((up.application(), up.writes()), (vec![1060], 1));
        for _ in 0..10 {
            assert_eq!(server.next().await.unwrap().unwrap(), message(100));
        }
    });
}

#[test]
fn messages_written_one_by_one_share_a_record_under_a_cork() {
    run(async {
        let Sockets { mut client, mut server, up, .. } = sockets(true).await;
        for _ in 0..10 {
            client.feed(message(100)).await.unwrap();
        }
        let separately = up.application();
        assert!(separately.iter().all(|len| len % 106 == 0), "header and payload together: {separately:?}");
        client.flush().await.unwrap();
        up.forget();

        client.get_mut().cork();
        for _ in 0..10 {
            client.feed(message(100)).await.unwrap();
        }
        assert_eq!(up.writes(), 0);
        client.flush().await.unwrap();
        assert_eq!((up.application(), up.writes()), (vec![1060], 1));
        for _ in 0..20 {
            assert_eq!(server.next().await.unwrap().unwrap(), message(100));
        }
    });
}
