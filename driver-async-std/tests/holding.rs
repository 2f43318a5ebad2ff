//! When bytes leave, and in how many records. Numbers are those of the design's list of what goes wrong elsewhere.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_io::Timer;
use bytes::Bytes;
use futures_io::AsyncRead;
use futures_util::AsyncWriteExt;
use futures_util::future::join;
use support::pair::{Pair, connected, gets};
use support::{patient, run};
use tls_cork_async_std::tls_cork::{CorkConfig, FlushReason, SendFlags};
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;

const MORE: SendFlags = SendFlags::MORE;
const NONE: SendFlags = SendFlags::NONE;
const HOLD: Duration = Duration::from_millis(10);

/// A task of its own, as its waker tells.
struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

fn other_task() -> Waker {
    Arc::new(Task).into()
}

#[test]
fn header_and_body_are_one_record_and_one_send() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        assert_eq!(client.send(b"header ", MORE).await.unwrap(), 7);
        assert_eq!(up.writes(), 0);
        assert_eq!(client.send(b"body", NONE).await.unwrap(), 4);
        assert_eq!((up.application(), up.writes()), (vec![11], 1));
        assert_eq!(gets(&mut server, 11).await, b"header body");
    });
}

#[test]
fn owned_bytes_join_the_header_uncopied() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        let body = noise(16_000, 3);
        let mut owned = Bytes::from(body.clone());
        client.send_all(b"header ", MORE).await.unwrap();
        assert_eq!(client.send_bytes(&mut owned, NONE).await.unwrap(), body.len());
        assert!(owned.is_empty());
        assert_eq!((up.application(), up.writes()), (vec![16_007], 1));
        assert_eq!(client.stats().copied_bytes, 7);
        assert_eq!(&gets(&mut server, 16_007).await[7..], body);
    });
}

#[test]
fn slices_are_one_record_and_one_send() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        let bufs = [IoSlice::new(b"header "), IoSlice::new(b""), IoSlice::new(b"body")];
        assert_eq!(client.send_vectored(&bufs, NONE).await.unwrap(), 11);
        assert_eq!(client.write_vectored(&bufs).await.unwrap(), 11);
        assert_eq!((up.application(), up.writes()), (vec![11, 11], 2));
        assert_eq!(gets(&mut server, 22).await, b"header bodyheader body");
    });
}

#[test]
fn a_plain_write_leaves_without_a_flush() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        assert_eq!(client.write(b"now").await.unwrap(), 3);
        assert_eq!(up.application(), [3]);
        assert_eq!(gets(&mut server, 3).await, b"now");
        // Sealed from the caller's slice: nothing is copied.
        let copied = client.stats().copied_bytes;
        let large = noise(640 * 1024, 4);
        client.write_all(&large).await.unwrap();
        assert_eq!(client.stats().copied_bytes, copied);
        assert!(gets(&mut server, large.len()).await == large);
    });
}

#[test]
fn an_empty_write_releases_and_flush_and_uncork_do() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        client.send_all(b"one", MORE).await.unwrap();
        assert_eq!(client.send(b"", MORE).await.unwrap(), 0);
        assert_eq!(up.writes(), 0);
        assert_eq!(client.send(b"", NONE).await.unwrap(), 0);
        assert_eq!(up.application(), [3]);
        client.cork();
        client.write_all(b"two").await.unwrap();
        assert_eq!(up.application(), [3]);
        client.flush().await.unwrap();
        client.write_all(b"three").await.unwrap();
        assert_eq!(up.application(), [3, 3], "the cork stays on");
        client.uncork().await.unwrap();
        assert_eq!(up.application(), [3, 3, 5]);
        assert_eq!(gets(&mut server, 11).await, b"onetwothree");
        assert_eq!(client.stats().flushes(FlushReason::Uncork), 1);
    });
}

#[test]
fn point_2_plaintext_of_the_settings_closure_is_not_lost() {
    run(async {
        let (client_config, server_config) = support::configs();
        let (client, server) = support::pipe::pipe(1 << 20);
        let up = client.outgoing();
        let connect = tls_cork_async_std::TlsConnector::from(client_config).connect_with(name(), client, |session| {
            use std::io::Write;
            session.set_buffer_limit(Some(1000));
            session.writer().write_all(b"early ").unwrap();
        });
        let (client, server) = join(connect, tls_cork_async_std::TlsAcceptor::from(server_config).accept(server)).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        up.forget();
        let data = noise(100_000, 5);
        client.write_all(&data).await.unwrap();
        let got = gets(&mut server, 6 + data.len()).await;
        assert!(got.starts_with(b"early ") && got[6..] == data);
        assert_eq!(up.application().len(), 7, "rustls's limit cuts no record short");
    });
}

#[test]
fn point_3_key_updates_are_answered_beside_held_data() {
    run(async {
        let (client_config, server_config) = support::configs();
        let (client, server) = support::pipe::pipe(1 << 20);
        let up = client.outgoing();
        let connector = tls_cork_async_std::TlsConnector::from(client_config).with_cork(patient()).unwrap();
        let acceptor = futures_rustls::TlsAcceptor::from(server_config);
        let (client, server) = join(connector.connect(name(), client), acceptor.accept(server)).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        up.forget();
        client.send_all(b"held ", MORE).await.unwrap();
        for _ in 0..20 {
            server.get_mut().1.refresh_traffic_keys().unwrap();
        }
        server.flush().await.unwrap();
        let other = other_task();
        assert!(Pin::new(&mut client).poll_read(&mut Context::from_waker(&other), &mut [0; 8]).is_pending());
        assert_eq!((up.records(), up.writes()), (1, 1), "one answer, nothing of what is held");
        client.send_all(b"until now", NONE).await.unwrap();
        assert_eq!(gets(&mut server, 14).await, b"held until now");
        assert_eq!(up.records(), 2);
    });
}

#[test]
fn point_3_a_key_update_that_a_read_decrypts_ahead_is_answered_by_that_read() {
    run(async {
        let (client_config, server_config) = support::configs();
        let (client, server) = support::pipe::pipe(1 << 20);
        let up = client.outgoing();
        let connector = tls_cork_async_std::TlsConnector::from(client_config);
        let acceptor = futures_rustls::TlsAcceptor::from(server_config);
        let (client, server) = join(connector.connect(name(), client), acceptor.accept(server)).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        // rustls takes 4 KiB at a time: the KeyUpdate is decrypted when the first record has been read.
        for _ in 0..2 {
            server.write_all(&[7; 6000]).await.unwrap();
        }
        server.get_mut().1.refresh_traffic_keys().unwrap();
        server.flush().await.unwrap();
        up.forget();
        assert_eq!(gets(&mut client, 6000).await, [7; 6000]);
        assert_eq!((up.records(), up.writes()), (1, 1), "the answer, though nothing is read any more");
    });
}

#[test]
fn point_4_the_deadline_fires_when_a_read_is_polled() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(CorkConfig::default().flush_on_read_wait(false)).await;
        client.send_all(b"never finished", MORE).await.unwrap();
        Timer::after(HOLD * 3).await;
        assert_eq!(up.writes(), 0, "nobody polled");
        let mut buf = [0; 8];
        poll_fn(|cx| {
            assert!(Pin::new(&mut client).poll_read(cx, &mut buf).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(up.application(), [14]);
        assert_eq!(client.stats().flushes(FlushReason::Deadline), 1);
        assert_eq!(gets(&mut server, 14).await, b"never finished");
    });
}

/// What hyper does for a response: one gathered write of its head and body, and a flush.
#[test]
fn a_corked_response_of_16_kib_is_one_send() {
    run(async {
        for (hold_limit, sends) in [(CorkConfig::default().get_hold_limit(), 1), (16_384, 2)] {
            let config = patient().corked(true).hold_limit(hold_limit);
            let Pair { mut client, mut server, up, .. } = connected(config).await;
            let (head, body) = (noise(130, 1), noise(16_384, 2));
            let bufs = [IoSlice::new(&head), IoSlice::new(&body)];
            assert_eq!(client.write_vectored(&bufs).await.unwrap(), 130 + 16_384);
            client.flush().await.unwrap();
            assert_eq!((up.application(), up.writes()), (vec![16_384, 130], sends));
            assert_eq!(gets(&mut server, 130 + 16_384).await, [head, body].concat());
        }
    });
}

#[test]
fn point_4_the_deadline_stays_under_a_cork() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(CorkConfig::default()).await;
        client.cork();
        client.write_all(b"corked").await.unwrap();
        Timer::after(HOLD * 2).await;
        client.write_all(b" still").await.unwrap();
        assert_eq!(up.application(), [12]);
        client.write_all(b" on").await.unwrap();
        assert_eq!(up.application(), [12], "the cork stays on");
        client.close().await.unwrap();
        assert_eq!(gets(&mut server, 15).await, b"corked still on");
    });
}

#[test]
fn point_5_a_read_releases_the_request_that_its_task_holds() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        let asks = async {
            client.send_all(b"request", MORE).await.unwrap();
            gets(&mut client, 6).await
        };
        let answers = async {
            assert_eq!(gets(&mut server, 7).await, b"request");
            server.write_all(b"answer").await.unwrap();
        };
        assert_eq!(join(asks, answers).await.0, b"answer");
        assert_eq!(client.stats().flushes(FlushReason::ReadWait), 1);
        assert_eq!(up.application(), [7]);
    });
}

#[test]
fn point_5_a_read_in_another_task_does_not_release() {
    run(async {
        let Pair { mut client, server: _server, up, .. } = connected(patient()).await;
        client.send_all(b"request", MORE).await.unwrap();
        let other = other_task();
        for _ in 0..10 {
            let read = Pin::new(&mut client).poll_read(&mut Context::from_waker(&other), &mut [0; 8]);
            assert!(read.is_pending());
        }
        assert_eq!(up.writes(), 0);
        // The task that holds it is about to sleep.
        poll_fn(|cx| {
            assert!(Pin::new(&mut client).poll_read(cx, &mut [0; 8]).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(up.application(), [7]);
    });
}

#[test]
fn point_5_a_read_that_need_not_wait_does_not_release() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        server.write_all(b"pipelined requests").await.unwrap();
        for _ in 0..18 {
            let request = gets(&mut client, 1).await;
            client.send_all(&request, MORE).await.unwrap();
        }
        assert_eq!(up.writes(), 0);
        let _ = join(gets(&mut client, 1), async {
            assert_eq!(gets(&mut server, 18).await, b"pipelined requests");
            server.write_all(b"x").await.unwrap();
        })
        .await;
        assert_eq!(up.application(), [18]);
    });
}

#[test]
fn point_6_there_is_no_second_delay_in_a_transport_that_buffers() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(CorkConfig::default()).await;
        up.set_buffering();
        client.send_all(b"request", MORE).await.unwrap();
        // Releases by waiting to read, and flushes the transport then.
        let asks = async { gets(&mut client, 6).await };
        let answers = async {
            assert_eq!(gets(&mut server, 7).await, b"request");
            server.write_all(b"answer").await.unwrap();
        };
        assert_eq!(join(asks, answers).await.0, b"answer");
    });
}

#[test]
fn point_12_flush_and_close_reach_a_transport_that_buffers() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        up.set_buffering();
        client.send_all(b"flushed", MORE).await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(gets(&mut server, 7).await, b"flushed");
        client.send_all(b"closed", MORE).await.unwrap();
        client.close().await.unwrap();
        assert_eq!(support::pair::gets_all(&mut server).await.unwrap(), b"closed");
    });
}
