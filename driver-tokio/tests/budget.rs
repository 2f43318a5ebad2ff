//! tokio's cooperative budget: a task whose calls are always ready lets others have their turn.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::SinkExt;
use tls_cork_tokio::SendFlags;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use support::{Pair, connected, patient};

/// Turns that another task of this thread has had.
fn turns() -> Arc<AtomicUsize> {
    let turns = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&turns);
    tokio::spawn(async move {
        loop {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    turns
}

/// Ready calls between two turns of others: the budget of tokio is 128.
const CALLS: usize = 10_000;
const LEAST: usize = CALLS / 200;
/// Pieces that are only held, and turns of others meanwhile: sixteen take a unit together, because
/// each is a copy.
const PIECES: usize = 60_000;
const LEAST_OF_PIECES: usize = PIECES / 16 / 200;

#[tokio::test]
async fn reads_of_plaintext_that_is_there_do_not_starve_others() {
    let Pair { mut client, mut server, .. } = connected(patient()).await;
    server.write_all(&[7; CALLS]).await.unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).await.unwrap();
    let turns = turns();
    for _ in 1..CALLS {
        client.read_exact(&mut byte).await.unwrap();
    }
    assert!(turns.load(Ordering::Relaxed) >= LEAST, "{turns:?}");
}

#[tokio::test]
async fn lines_that_are_there_do_not_starve_others() {
    let Pair { client, mut server, .. } = connected(patient()).await;
    server.write_all(&[b'\n'; CALLS]).await.unwrap();
    let mut lines = client.lines();
    lines.next_line().await.unwrap().unwrap();
    let turns = turns();
    for _ in 1..CALLS {
        lines.next_line().await.unwrap().unwrap();
    }
    assert!(turns.load(Ordering::Relaxed) >= LEAST, "{turns:?}");
}

#[tokio::test]
async fn sends_that_only_hold_do_not_starve_others() {
    let Pair { mut client, server: _server, up, .. } = connected(patient()).await;
    client.send_all(b"x", SendFlags::MORE).await.unwrap();
    let turns = turns();
    for _ in 0..PIECES {
        client.send_all(b"x", SendFlags::MORE).await.unwrap();
    }
    assert_eq!(up.sends(), 0);
    assert!(turns.load(Ordering::Relaxed) >= LEAST_OF_PIECES, "{turns:?}");
}

#[tokio::test]
async fn pieces_that_are_only_held_do_not_starve_others() {
    let Pair { client, server: _server, up, .. } = connected(patient()).await;
    let mut sink = client.into_message_sink();
    sink.feed(Bytes::from_static(b"x")).await.unwrap();
    let turns = turns();
    for _ in 0..PIECES {
        sink.feed(Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(up.sends(), 0);
    assert!(turns.load(Ordering::Relaxed) >= LEAST_OF_PIECES, "{turns:?}");
}

/// Without budget, nothing of the stream is touched: what is held stays held (R12).
#[tokio::test]
async fn a_read_without_budget_does_not_release_what_is_held() {
    let Pair { mut client, mut server, up, .. } = connected(patient()).await;
    server.write_all(&[7; 1000]).await.unwrap();
    client.send_all(b"held", SendFlags::MORE).await.unwrap();
    let mut byte = [0];
    for _ in 0..1000 {
        client.read_exact(&mut byte).await.unwrap();
    }
    assert!(up.records().is_empty());
}
