//! How many records and sends the calls take, over a transport that counts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::poll_fn;
use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use tls_cork_mio::Transport;
use tls_cork_tokio::tls_cork::Connection;
use tls_cork_tokio::{CorkConfig, SendFlags};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use support::{Pair, configs, connected, connected_with, name, noise, patient};

const MORE: SendFlags = SendFlags::MORE;
const NONE: SendFlags = SendFlags::NONE;

#[tokio::test]
async fn a_header_and_its_body_are_one_record_and_one_send() {
    let Pair { mut client, mut server, up, .. } = connected(patient()).await;
    let header = [1; 28];
    let body = noise(512, 1);
    client.send_all(&header, MORE).await.unwrap();
    client.send_all(&body, NONE).await.unwrap();
    assert_eq!((up.records(), up.sends()), (vec![540], 1));
    up.forget();
    client.send_vectored(&[IoSlice::new(&header), IoSlice::new(&body)], NONE).await.unwrap();
    assert_eq!((up.records(), up.sends()), (vec![540], 1));
    up.forget();
    client.send_all(&header, MORE).await.unwrap();
    client.send_all_bytes(&mut Bytes::from(body.clone()), NONE).await.unwrap();
    assert_eq!((up.records(), up.sends()), (vec![540], 1));
    up.forget();
    assert_eq!(client.write_vectored(&[IoSlice::new(&header), IoSlice::new(&body)]).await.unwrap(), 540);
    assert_eq!((up.records(), up.sends()), (vec![540], 1));
    assert!(AsyncWrite::is_write_vectored(&client));
    let mut got = vec![0; 4 * 540];
    server.read_exact(&mut got).await.unwrap();
    let message = [&header[..], &body].concat();
    assert!(got.chunks(540).all(|got| got == message));
}

#[tokio::test]
async fn sixteen_messages_of_a_turn_are_one_record_and_one_send() {
    let Pair { mut client, server: _server, up, .. } = connected(patient()).await;
    for i in 0..16 {
        client.send_all(&[1; 28], MORE).await.unwrap();
        client.send_all(&[2; 512], SendFlags::more_if(i < 15)).await.unwrap();
    }
    assert_eq!((up.records(), up.sends()), (vec![16 * 540], 1));
}

/// A transport for mio that takes everything.
#[derive(Debug, Default)]
struct Endless {
    sends: usize,
}

impl Read for Endless {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Transport for Endless {
    fn send(&mut self, bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
        self.sends += 1;
        Ok(bufs.iter().map(|buf| buf.len()).sum())
    }
}

/// Sends that mio's driver takes for `data`.
fn sends_of_mio(data: &[u8]) -> usize {
    let (client, server) = configs();
    let mut client = Connection::client(client, name(), CorkConfig::default()).unwrap();
    let mut server = Connection::server(server, CorkConfig::default()).unwrap();
    for _ in 0..4 {
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let mut wire = Vec::new();
            from.poll_transmit(&mut wire).unwrap();
            assert_eq!(to.receive(Instant::now(), &wire).unwrap().bytes, wire.len());
        }
    }
    let mut stream = tls_cork_mio::TlsStream::new(Endless::default(), client).unwrap();
    io::Write::write_all(&mut stream, data).unwrap();
    assert!(!stream.connection().wants_transmit());
    stream.get_ref().sends
}

#[tokio::test]
async fn a_large_write_takes_the_sends_that_mios_driver_takes() {
    let data = noise(1 << 20, 5);
    let theirs = sends_of_mio(&data);
    let Pair { mut client, server: _server, up, .. } = connected_with(configs(), CorkConfig::default(), 2 << 20).await;
    client.write_all(&data).await.unwrap();
    client.flush().await.unwrap();
    let plain = up.sends();
    assert_eq!(up.records(), vec![16384; 64]);
    up.forget();
    let Pair { mut client, server: _server, up, .. } = connected_with(configs(), CorkConfig::default(), 2 << 20).await;
    client.send_all(&data, NONE).await.unwrap();
    client.flush().await.unwrap();
    let sent = up.sends();
    assert_eq!(up.records(), vec![16384; 64]);
    println!("1 MiB: mio {theirs} sends, write_all {plain}, send_all {sent}");
    assert!(sent * 10 <= theirs * 11, "{sent} sends, and {theirs} on mio");
    assert!(plain * 10 <= theirs * 11, "{plain} sends without flags, and {theirs} on mio");
    // R7's exception: a write without flags gives 64 KiB at a time until 256 KiB have been taken.
    assert_eq!(plain, 12);
}

/// What a transport of so much room leaves behind of a write without flags, in wire bytes.
async fn left_behind(room: usize) -> usize {
    let Pair { mut client, server: _server, .. } = connected_with(configs(), CorkConfig::default(), room).await;
    let data = noise(1 << 20, 6);
    let mut accepted = 0;
    poll_fn(|cx| {
        while let Poll::Ready(done) = Pin::new(&mut client).poll_write(cx, &data[accepted..]) {
            accepted += done.unwrap();
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(client.get_ref().1.waiting(), 0);
    accepted + 22 * client.stats().records as usize - room
}

/// R7's exception: what `poll_write` leaves behind when the transport begins to push back.
#[tokio::test]
async fn a_write_without_flags_leaves_64_kib_behind_or_96_where_256_have_flowed() {
    const STEP: usize = 4 * (16_384 + 22);
    for room in [30_000, STEP, STEP + 1, 200_000, 3 * STEP] {
        let left = left_behind(room).await;
        assert!(left <= STEP, "{room} bytes of room: {left} left behind");
    }
    assert_eq!(left_behind(4 * STEP).await, 6 * (16_384 + 22));
    assert_eq!(left_behind(4 * STEP - 1).await, 1);
}
