//! Deadlines of a stream that other tasks use, or that nobody polls; in the order of async-io's timers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::join;
use futures_util::io::BufWriter;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use smol::LocalExecutor;
use smol::future::yield_now;
use support::pair::{Pair, connected, gets};
use support::pipe::{Step, pipe};
use support::{configs, pass, run};
use tls_cork_async_std::tls_cork::{CorkConfig, FlushReason, SendFlags};
use tls_cork_async_std::{TlsAcceptor, TlsConnector};
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;

const MORE: SendFlags = SendFlags::MORE;
const NONE: SendFlags = SendFlags::NONE;
const HOLD: Duration = Duration::from_millis(10);

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
fn a_piece_sees_a_deadline_that_the_dropped_task_does_not_fire() {
    run(async {
        let Pair { client, up, .. } = connected(CorkConfig::default()).await;
        let (mut client, mut deadlines) = client.with_deadline_task();
        // The task has kept deadlines, then goes.
        assert!(smol::future::poll_once(&mut deadlines).await.is_none());
        drop(deadlines);
        client.send_all(b"never finished", MORE).await.unwrap();
        assert_eq!(up.writes(), 0);
        pass(HOLD).await;
        client.send_all(b"joins", MORE).await.unwrap();
        assert_eq!(client.stats().flushes(FlushReason::Deadline), 1);
    });
}

#[test]
fn a_piece_sees_a_deadline_that_a_read_which_was_given_up_does_not_fire() {
    run(async {
        let Pair { mut client, server: _server, up, .. } =
            connected(CorkConfig::default().flush_on_read_wait(false)).await;
        let read = smol::future::poll_once(client.read(&mut [0; 8])).await;
        assert!(read.is_none(), "{read:?}");
        client.send_all(b"never finished", MORE).await.unwrap();
        assert_eq!(up.writes(), 0);
        pass(HOLD).await;
        client.send_all(b"joins", MORE).await.unwrap();
        assert_eq!(client.stats().flushes(FlushReason::Deadline), 1);
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
