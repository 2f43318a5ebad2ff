//! Several tasks at one stream: wake-ups, cancellation and backpressure.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_io::AsyncRead;
use futures_util::future::join;
use futures_util::{AsyncReadExt, AsyncWriteExt, poll};
use proptest::prelude::*;
use support::pair::{Pair, connected, connected_with, gets, gets_all};
use support::{configs, patient, run};
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags};
use tls_cork_testing::content::noise;

const MORE: SendFlags = SendFlags::MORE;
const NONE: SendFlags = SendFlags::NONE;

/// A task that counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_reader_does_not_take_the_writers_wake_up() {
    run(async {
        let Pair { client, mut server, up, .. } = connected_with(configs(), CorkConfig::default(), 1000).await;
        let (mut reader, mut writer) = client.into_split();
        let (reading, writing) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (reading_waker, writing_waker) = (Waker::from(Arc::clone(&reading)), Waker::from(Arc::clone(&writing)));
        let data = noise(300_000, 1);
        let mut cx = Context::from_waker(&writing_waker);
        while writer.poll_send(&mut cx, &data, NONE).is_ready() {}
        // The reader has something to send too, and polls the transport last.
        let mut cx = Context::from_waker(&reading_waker);
        assert!(Pin::new(&mut reader).poll_read(&mut cx, &mut [0; 8]).is_pending());
        assert_eq!((reading.take(), writing.take()), (0, 0));
        drop(up.steal());
        assert!(writing.take() > 0, "the writer waits for the transport");

        // And the other way about: the writer polls last, and the reader's data comes.
        let mut cx = Context::from_waker(&reading_waker);
        assert!(Pin::new(&mut reader).poll_read(&mut cx, &mut [0; 8]).is_pending());
        let mut cx = Context::from_waker(&writing_waker);
        while writer.poll_send(&mut cx, &data, NONE).is_ready() {}
        reading.take();
        server.write_all(b"x").await.unwrap();
        assert!(reading.take() > 0, "the reader waits for data");
    });
}

#[test]
fn a_reader_leaves_a_transport_alone_that_has_not_woken_the_writer() {
    run(async {
        let Pair { client, server: _server, up, .. } = connected_with(configs(), CorkConfig::default(), 400_000).await;
        let (mut reader, mut writer) = client.into_split();
        let task = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&task));
        let mut cx = Context::from_waker(&waker);
        let data = noise(300_000, 1);
        while writer.poll_send(&mut cx, &data, NONE).is_ready() {}
        task.take();
        // In the same turn of the task, after the writer was told to wait: there is room, and the wake-up is on its way.
        drop(up.steal_untold());
        let calls = up.lane().calls;
        assert!(Pin::new(&mut reader).poll_read(&mut cx, &mut [0; 8]).is_pending());
        assert!(writer.poll_send(&mut cx, &data, NONE).is_pending());
        assert_eq!((up.lane().calls, task.take()), (calls, 0));
        drop(up.steal());
        assert!(task.take() > 0, "nobody wakes the task");
        assert!(writer.poll_send(&mut cx, &data, NONE).is_ready(), "there is room");
    });
}

#[test]
fn two_threads_read_and_write_at_once() {
    const LEN: usize = 3 << 20;
    run(async {
        let Pair { client, server, .. } = connected_with(configs(), CorkConfig::default(), 30_000).await;
        let (mut client_reader, mut client_writer) = client.into_split();
        // The halves of futures-util, which know no flags.
        let (mut server_reader, mut server_writer) = AsyncReadExt::split(server);
        let (up, down) = (noise(LEN, 2), noise(LEN, 3));
        let (want_up, want_down) = (up.clone(), down.clone());
        let tasks = [
            smol::spawn(async move {
                for (n, piece) in up.chunks(7001).enumerate() {
                    client_writer.send_all(piece, SendFlags::more_if(n % 3 > 0)).await.unwrap();
                }
                client_writer.close().await.unwrap();
            }),
            smol::spawn(async move {
                for piece in down.chunks(50_001) {
                    server_writer.write_all(piece).await.unwrap();
                }
                server_writer.close().await.unwrap();
            }),
            smol::spawn(async move { assert!(gets_all(&mut server_reader).await.unwrap() == want_up) }),
            smol::spawn(async move { assert!(gets_all(&mut client_reader).await.unwrap() == want_down) }),
        ];
        for task in tasks {
            task.await;
        }
    });
}

#[test]
fn halves_of_two_streams_are_given_back() {
    run(async {
        let (one, two) = (connected(patient()).await, connected(patient()).await);
        let ((reader, writer), (other_reader, other_writer)) = (one.client.into_split(), two.client.into_split());
        let error = writer.reunite(other_reader).unwrap_err();
        assert!(error.to_string().contains("not of the same stream"), "{error}");
        let (other_reader, writer) = (error.0, error.1);
        assert!(writer.reunite(reader).is_ok() && other_writer.reunite(other_reader).is_ok());
    });
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Send { len: usize, more: bool },
    SendBytes { len: usize, more: bool },
    SendAllBytes { len: usize, more: bool },
    Flush,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![0usize..40, 0usize..30_000, Just(300_000usize)];
    prop_oneof![
        4 => (len.clone(), any::<bool>()).prop_map(|(len, more)| Op::Send { len, more }),
        4 => (len.clone(), any::<bool>()).prop_map(|(len, more)| Op::SendBytes { len, more }),
        4 => (len, any::<bool>()).prop_map(|(len, more)| Op::SendAllBytes { len, more }),
        1 => Just(Op::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    /// After each poll of a write the peer reads a little; then the write may be dropped, as may each read.
    #[test]
    fn dropped_futures_lose_and_repeat_nothing(
        ops in prop::collection::vec((op(), 1usize..6), 1..40),
        reads in prop::collection::vec(0usize..20_000, 1..8),
        capacity in 50usize..40_000,
    ) {
        run(async {
            let Pair { mut client, mut server, .. } = connected_with(configs(), patient(), capacity).await;
            let (mut reported, mut got, mut seed) = (Vec::new(), Vec::new(), 1);
            let mut buf = vec![0; 20_000];
            let mut sizes = reads.iter().cycle();
            for (op, polls) in ops {
                let len = match op {
                    Op::Send { len, .. } | Op::SendBytes { len, .. } | Op::SendAllBytes { len, .. } => len,
                    Op::Flush => 0,
                };
                seed += 1;
                let data = noise(len, seed);
                let mut owned = Bytes::from(data.clone());
                {
                    let mut write = pin!(async {
                        match op {
                            Op::Send { more, .. } => client.send(&data, SendFlags::more_if(more)).await.unwrap(),
                            Op::SendBytes { more, .. } => {
                                client.send_bytes(&mut owned, SendFlags::more_if(more)).await.unwrap()
                            }
                            Op::SendAllBytes { more, .. } => {
                                client.send_all_bytes(&mut owned, SendFlags::more_if(more)).await.map(|()| 0).unwrap()
                            }
                            Op::Flush => client.flush().await.map(|()| 0).unwrap(),
                        }
                    });
                    for _ in 0..polls {
                        if let Poll::Ready(n) = poll!(write.as_mut()) {
                            if matches!(op, Op::Send { .. }) {
                                reported.extend_from_slice(&data[..n]);
                            }
                            break;
                        }
                        // A read that is dropped if it has to wait.
                        let size = *sizes.next().unwrap();
                        if let Poll::Ready(n) = poll!(pin!(server.read(&mut buf[..size]))) {
                            got.extend_from_slice(&buf[..n.unwrap()]);
                        }
                    }
                }
                if matches!(op, Op::SendBytes { .. } | Op::SendAllBytes { .. }) {
                    reported.extend_from_slice(&data[..data.len() - owned.len()]);
                }
            }
            let (closed, rest) = join(client.close(), gets_all(&mut server)).await;
            closed.unwrap();
            got.extend_from_slice(&rest.unwrap());
            assert!(got == reported, "{} bytes received, {} reported", got.len(), reported.len());
        });
    }
}

#[test]
fn point_11_a_peer_that_never_reads_bounds_what_is_held() {
    const LIMIT: usize = 128 * 1024;
    const BATCH: usize = 64 * 1024;
    run(async {
        let cork = CorkConfig::default().send_buffer_limit(LIMIT).batch_size(BATCH..=BATCH);
        for len in [100, 5000, 1 << 20] {
            let Pair { mut client, server: _server, up, .. } = connected_with(configs(), cork.clone(), 50_000).await;
            let data = noise(len, 4);
            let mut accepted = 0;
            for (n, flags) in [MORE, NONE].into_iter().cycle().enumerate() {
                let sent = if n % 2 == 0 {
                    poll!(pin!(client.send(&data, flags))).map(Result::unwrap)
                } else {
                    let mut owned = Bytes::copy_from_slice(&data);
                    let _ = poll!(pin!(client.send_bytes(&mut owned, flags)));
                    match data.len() - owned.len() {
                        0 => Poll::Pending,
                        n => Poll::Ready(n),
                    }
                };
                let Poll::Ready(sent) = sent else { break };
                accepted += sent;
                assert!(accepted < LIMIT + BATCH + 50_000, "{accepted} bytes accepted");
            }
            let (_, connection) = client.get_ref();
            assert!(connection.waiting() <= LIMIT);
            let sealed = connection.stats().plaintext_bytes as usize + 22 * connection.stats().records as usize;
            let waiting = sealed - up.lane().bytes_seen();
            assert!(waiting <= BATCH + 32 * 22, "{waiting} bytes sealed and not taken");
            println!("pieces of {len}: {accepted} accepted, {} in plaintext, {waiting} sealed", connection.waiting());
        }
    });
}

#[test]
fn a_woken_write_goes_on() {
    run(async {
        let Pair { mut client, mut server, .. } = connected_with(configs(), patient(), 3000).await;
        let data = noise(1 << 20, 5);
        let writes = async {
            client.write_all(&data).await.unwrap();
            client.flush().await.unwrap();
        };
        assert!(join(writes, gets(&mut server, data.len())).await.1 == data);
        // A read that was given up does not keep the next one from waking.
        poll_fn(|cx| {
            assert!(Pin::new(&mut client).poll_read(cx, &mut [0; 8]).is_pending());
            Poll::Ready(())
        })
        .await;
        let _ = join(gets(&mut client, 1), server.write_all(b"x")).await;
    });
}
