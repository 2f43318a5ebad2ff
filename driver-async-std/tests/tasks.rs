//! Several tasks at one stream: wake-ups, deadlines that nobody polls for, cancellation and backpressure.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_io::AsyncRead;
use futures_util::future::join;
use futures_util::io::BufWriter;
use futures_util::{AsyncReadExt, AsyncWriteExt, poll};
use proptest::prelude::*;
use smol::LocalExecutor;
use smol::future::yield_now;
use support::pair::{Pair, connected, connected_with, gets, gets_all};
use support::pipe::{Step, pipe};
use support::{configs, pass, patient, run};
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags};
use tls_cork_async_std::{TlsAcceptor, TlsConnector};
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;

const MORE: SendFlags = SendFlags::MORE;
const NONE: SendFlags = SendFlags::NONE;
const HOLD: Duration = Duration::from_millis(10);

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

/// Polls as if it were another task.
struct Polls<F> {
    future: F,
    count: Arc<AtomicUsize>,
}

impl<F: Future + Unpin> Future for Polls<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.count.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.future).poll(cx)
    }
}

#[test]
fn point_4_the_deadline_wakes_a_read_that_waits() {
    let tasks = LocalExecutor::new();
    run(tasks.run(async {
        let Pair { client, mut server, up, .. } = connected(CorkConfig::default().flush_on_read_wait(false)).await;
        let (mut reader, mut writer) = client.into_split();
        let reads = tasks.spawn(async move { gets(&mut reader, 6).await });
        // The reader sleeps afterwards.
        pass(HOLD).await;
        let start = Instant::now();
        writer.send_all(b"never finished", MORE).await.unwrap();
        assert_eq!(up.writes(), 0);
        // A timer that is set now fires behind the deadline.
        pass(HOLD).await;
        assert_eq!(up.application(), [14]);
        assert!(up.lane().last.unwrap() - start >= HOLD);
        assert_eq!(gets(&mut server, 14).await, b"never finished");
        server.write_all(b"answer").await.unwrap();
        assert_eq!(reads.await, b"answer");
    }));
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
fn a_transport_that_buffers_is_flushed_when_what_waited_for_it_has_left() {
    run(async {
        let (client, server) = pipe(1000);
        let (client_config, server_config) = configs();
        let connector = TlsConnector::from(client_config);
        // The first writes fill it, and then wait; the last ones stay in it until somebody flushes.
        let client = connector.connect(name(), BufWriter::with_capacity(2000, client));
        let (client, server) = join(client, TlsAcceptor::from(server_config).accept(server)).await;
        let (client, deadlines) = client.unwrap().with_deadline_task();
        let task = smol::spawn(deadlines);
        let (mut reader, mut writer) = client.into_split();
        let reading = smol::spawn(async move { reader.read(&mut [0; 8]).await });
        let data = noise(50_000, 1);
        let mut server = server.unwrap();
        let received = smol::spawn(async move {
            let first = gets(&mut server, 50_000).await;
            let held = gets(&mut server, 4).await;
            (first, held, server)
        });
        // No flush: the reader and the deadline task are the ones to do it.
        writer.send_all(&data, MORE).await.unwrap();
        writer.send_all(b"held", MORE).await.unwrap();
        let (first, held, server) = received.await;
        assert!(first == data && held == b"held");
        drop(server);
        assert!(reading.await.is_err(), "the pipe was cut");
        drop(writer);
        task.await;
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
fn the_deadline_task_sends_what_nobody_polls_for() {
    let tasks = LocalExecutor::new();
    run(tasks.run(async {
        let Pair { client, mut server, up, .. } = connected(CorkConfig::default()).await;
        let (mut client, deadlines) = client.with_deadline_task();
        let polls = Arc::new(AtomicUsize::new(0));
        let task = tasks.spawn(Polls { future: deadlines, count: Arc::clone(&polls) });
        for _ in 0..3 {
            pass(HOLD * 2).await;
            up.forget();
            let start = Instant::now();
            client.send_all(b"never finished", MORE).await.unwrap();
            assert_eq!(up.writes(), 0);
            // A timer that is set now fires behind the deadline.
            pass(HOLD).await;
            assert_eq!(up.application(), [14]);
            let took = up.lane().last.unwrap() - start;
            assert!(took >= HOLD, "{took:?}");
            println!("held unpolled for {took:?}, max_hold is {HOLD:?}");
            assert_eq!(gets(&mut server, 14).await, b"never finished");
        }

        // What the transport does not take at once leaves unpolled too.
        up.set_capacity(10);
        client.write_all(b"left behind").await.unwrap();
        up.set_capacity(1 << 20);
        assert_eq!(gets(&mut server, 11).await, b"left behind");

        // Asleep while nothing is due, and gone with the stream.
        while client.with_ref(|_, connection| connection.poll_timeout()).is_some() {
            pass(HOLD).await;
        }
        polls.store(0, Ordering::SeqCst);
        pass(HOLD * 30).await;
        assert_eq!(polls.load(Ordering::SeqCst), 0);
        drop(client);
        task.await;
    }));
}

#[test]
fn the_deadline_task_is_not_woken_for_each_message() {
    let tasks = LocalExecutor::new();
    run(tasks.run(async {
        let Pair { client, mut server, .. } = connected(CorkConfig::default()).await;
        let (mut client, deadlines) = client.with_deadline_task();
        let polls = Arc::new(AtomicUsize::new(0));
        let task = tasks.spawn(Polls { future: deadlines, count: Arc::clone(&polls) });
        pass(HOLD).await;
        let start = Instant::now();
        let mut messages = 0;
        while start.elapsed() < HOLD * 20 {
            client.send_all(b"header", MORE).await.unwrap();
            client.send_all(b"body", NONE).await.unwrap();
            gets(&mut server, 10).await;
            messages += 1;
            // The task has its turn between messages: whatever it waits for then is `HOLD` away.
            yield_now().await;
        }
        let (polls, periods) = (polls.load(Ordering::SeqCst), start.elapsed().as_millis() as usize / 10);
        println!("{messages} messages, each held: the task was polled {polls} times in {periods} times max_hold");
        assert!(polls <= periods + 10, "{polls} polls in {periods} periods");
        drop(client);
        task.await;
    }));
}

#[test]
fn the_deadline_task_leaves_an_error_to_the_next_call() {
    run(async {
        let Pair { client, server: _server, up, .. } = connected(CorkConfig::default()).await;
        let (client, deadlines) = client.with_deadline_task();
        let task = smol::spawn(deadlines);
        let (mut reader, mut writer) = client.into_split();
        up.script([Step::Reset]);
        let reads = async { reader.read(&mut [0; 8]).await.unwrap_err().kind() };
        let writes = async { writer.send_all(b"never finished", MORE).await.unwrap() };
        assert_eq!(join(reads, writes).await.0, std::io::ErrorKind::ConnectionReset);
        assert!(writer.reunite(reader).is_ok());
        task.await;
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
