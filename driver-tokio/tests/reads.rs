//! What a read does to the buffer of its caller.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use support::{Pair, connected, patient};

/// hyper reads into large buffers that it does not initialize. Zeroes for all of the buffer would
/// cost more than the rest of the read.
#[tokio::test]
async fn a_read_initializes_only_the_bytes_that_it_returns() {
    let Pair { mut client, mut server, .. } = connected(patient()).await;
    let mut memory = [MaybeUninit::uninit(); 65_536];
    let mut buf = ReadBuf::uninit(&mut memory);
    let waits = poll_fn(|cx| Poll::Ready(Pin::new(&mut server).poll_read(cx, &mut buf).is_pending())).await;
    assert!(waits && buf.initialized().is_empty());
    client.write_all(b"hello").await.unwrap();
    poll_fn(|cx| Pin::new(&mut server).poll_read(cx, &mut buf)).await.unwrap();
    assert_eq!((buf.filled(), buf.initialized()), (&b"hello"[..], &b"hello"[..]));
}

#[tokio::test]
async fn a_read_returns_all_records_that_have_been_received() {
    let Pair { mut client, mut server, up, .. } = connected(patient()).await;
    for piece in [&b"one"[..], b"two", b"three"] {
        client.write_all(piece).await.unwrap();
    }
    assert_eq!(up.records(), [3, 3, 5]);
    let mut buf = [0; 8];
    assert_eq!(server.read(&mut buf).await.unwrap(), 8);
    assert_eq!(&buf, b"onetwoth");
    assert_eq!(server.read(&mut buf).await.unwrap(), 3);
    assert_eq!(&buf[..3], b"ree");
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut buf).await.unwrap(), 0);
}
