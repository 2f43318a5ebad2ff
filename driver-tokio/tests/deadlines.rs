//! R15: what is held leaves within `max_hold` while nothing of the stream is polled.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use tls_cork_tokio::tls_cork::FlushReason;
use tls_cork_tokio::{CorkConfig, SendFlags, TlsAcceptor, TlsConnector, TlsStream};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{Instant, sleep};

use support::{Counts, HOLD, Pair, configs, connected, connected_with, name, noise, patient};

const MORE: SendFlags = SendFlags::MORE;
const NONE: SendFlags = SendFlags::NONE;

/// `len` bytes, and how long they took.
async fn gets(reader: &mut (impl AsyncRead + Unpin), len: usize) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut got = vec![0; len];
    reader.read_exact(&mut got).await.unwrap();
    (got, start.elapsed())
}

/// Tasks on this runtime, without the one of `block_on`.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

fn outside<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn each_call_that_holds_keeps_the_deadline_exactly() {
    let Pair { mut client, mut server, up, .. } = connected(CorkConfig::default()).await;
    client.send_all(b"send", MORE).await.unwrap();
    assert_eq!(gets(&mut server, 4).await, (b"send".to_vec(), HOLD));
    client.send_vectored(&[IoSlice::new(b"vec"), IoSlice::new(b"tored")], MORE).await.unwrap();
    assert_eq!(gets(&mut server, 8).await, (b"vectored".to_vec(), HOLD));
    client.send_all_bytes(&mut Bytes::from_static(b"bytes"), MORE).await.unwrap();
    assert_eq!(gets(&mut server, 5).await, (b"bytes".to_vec(), HOLD));
    client.cork();
    client.write_all(b"corked").await.unwrap();
    assert_eq!(gets(&mut server, 6).await, (b"corked".to_vec(), HOLD));
    client.uncork().await.unwrap();
    // The first held byte counts, not the last.
    client.send_all(b"one ", MORE).await.unwrap();
    sleep(Duration::from_millis(4)).await;
    client.send_all(b"two", MORE).await.unwrap();
    assert_eq!(gets(&mut server, 7).await, (b"one two".to_vec(), Duration::from_millis(6)));
    assert_eq!(up.records(), [4, 8, 5, 6, 7]);
    assert_eq!((client.stats().flushes(FlushReason::Deadline), tasks()), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_is_fed_to_a_sink_leaves_at_its_deadline_and_its_full_records_at_once() {
    let Pair { client, mut server, up, .. } = connected(CorkConfig::default().hold_limit(16_384)).await;
    let mut sink = client.into_message_sink();
    assert_eq!(tasks(), 0);
    sink.feed(Bytes::from_static(b"fed")).await.unwrap();
    assert_eq!(gets(&mut server, 3).await, (b"fed".to_vec(), HOLD));
    // Nothing polls the sink, before and after the task has begun to wait.
    for _ in 0..2 {
        let data = Bytes::from(noise(20_000, 7));
        sink.feed(data.clone()).await.unwrap();
        assert_eq!(gets(&mut server, 16_384).await.1, Duration::ZERO);
        assert_eq!(gets(&mut server, 20_000 - 16_384).await.1, HOLD);
    }
    assert_eq!((up.records(), tasks()), (vec![3, 16_384, 3616, 16_384, 3616], 1));
    // The other half does not send what the sink has fed.
    let (_reader, writer) = sink.into_inner().0.into_split();
    let mut sink = writer.into_message_sink();
    sink.feed(Bytes::from_static(b"half")).await.unwrap();
    assert_eq!(gets(&mut server, 4).await, (b"half".to_vec(), HOLD));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_starts_corked_keeps_it_too() {
    let Pair { client, mut server, .. } = connected(CorkConfig::default().corked(true)).await;
    let mut client = TlsStream::from(client);
    client.write_all(b"written").await.unwrap();
    assert_eq!(gets(&mut server, 7).await, (b"written".to_vec(), HOLD));
    client.write_all(b"flushed").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(gets(&mut server, 7).await, (b"flushed".to_vec(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_time_jump_and_a_server_that_holds() {
    let Pair { client: _client, mut server, down, .. } = connected(CorkConfig::default()).await;
    server.send_all(b"held", MORE).await.unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::task::yield_now().await;
    assert_eq!(down.records(), [4]);
}

#[tokio::test]
async fn a_stream_that_never_holds_has_no_task_and_one_that_is_dropped_has_none_left() {
    let Pair { mut client, mut server, .. } = connected(CorkConfig::default()).await;
    let data = noise(3_000_000, 1);
    let reads = async { assert!(gets(&mut server, 9 + data.len()).await.0[9..] == data) };
    let writes = async {
        client.write_all(b"plain").await.unwrap();
        client.send_all(b"sent", NONE).await.unwrap();
        client.write_all(&data).await.unwrap();
    };
    tokio::join!(reads, writes);
    assert_eq!(tasks(), 0);
    client.send_all(b"held", MORE).await.unwrap();
    assert_eq!(tasks(), 1);
    client.send_all(b"held", MORE).await.unwrap();
    server.send_all(b"held", MORE).await.unwrap();
    assert_eq!(tasks(), 2);
    // The tasks wait for the deadlines.
    tokio::task::yield_now().await;
    assert_eq!(tasks(), 2);
    drop(client);
    drop(server);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tasks(), 0);
}

/// Once there is a task, it sends what the transport did not take.
#[tokio::test]
async fn what_the_transport_did_not_take_leaves_unpolled() {
    let Pair { mut client, mut server, .. } = connected_with(configs(), CorkConfig::default(), 1000).await;
    client.send_all(b"held ", MORE).await.unwrap();
    let data = noise(100_000, 3);
    client.send_all(&data, NONE).await.unwrap();
    assert!(client.with_ref(|_, session| session.waiting()) > 30_000);
    let (got, _) = gets(&mut server, 5 + data.len()).await;
    assert!(got[5..] == data);
    assert_eq!(client.stats().plaintext_bytes, 100_005);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_is_kept_on_several_threads() {
    let streams: Vec<_> = (0..50u32)
        .map(|i| {
            tokio::spawn(async move {
                let Pair { mut client, mut server, .. } = connected(CorkConfig::default()).await;
                let data = noise(5000, i);
                for round in 0..3 {
                    client.send_all(&data, MORE).await.unwrap();
                    assert!(gets(&mut server, data.len()).await.0 == data, "{round}");
                    // A look takes the stream from the task; the next call gives it back.
                    assert!(!client.get_ref().1.is_handshaking());
                }
                let (_reader, mut writer) = client.into_split();
                writer.send_all(&data, MORE).await.unwrap();
                assert!(gets(&mut server, data.len()).await.0 == data);
            })
        })
        .collect();
    for stream in streams {
        stream.await.unwrap();
    }
}

/// The task uses the stream on one thread while calls use it on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_task_and_the_calls_do_not_lose_one_another() {
    let cork = CorkConfig::default().max_hold(Duration::from_micros(300));
    let Pair { mut client, mut server, .. } = connected_with(configs(), cork, 3000).await;
    let data = noise(400_000, 9);
    let expected = data.clone();
    let writes = tokio::spawn(async move {
        for (i, piece) in data.chunks(97).enumerate() {
            client.send_all(piece, MORE).await.unwrap();
            match i % 64 {
                0 => sleep(Duration::from_micros(500)).await,
                16 => drop(client.get_ref().1.stats()),
                32 => drop(client.with_ref(|_, session| session.stats())),
                48 => client.flush().await.unwrap(),
                _ => {}
            }
        }
        // Nothing is polled from here on, and nothing is dropped before it has arrived.
        client
    });
    assert!(gets(&mut server, expected.len()).await.0 == expected);
    drop(writes.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_look_releases_what_is_held_and_with_ref_does_not() {
    let Pair { mut client, mut server, up, .. } =
        connected_with(support::configs_with(&[b"proto"]), CorkConfig::default(), support::ROOM).await;
    client.send_all(b"held", MORE).await.unwrap();
    assert_eq!(client.with_ref(|_, session| session.waiting()), 4);
    assert!(up.records().is_empty());
    // Two looks in one statement, and both parts of one.
    let ((io, session), again) = (client.get_ref(), client.get_ref().1.alpn_protocol());
    assert_eq!((session.waiting(), session.alpn_protocol(), again), (0, Some(&b"proto"[..]), Some(&b"proto"[..])));
    let _: &support::Counted<DuplexStream> = io;
    assert_eq!(up.records(), [4]);
    assert_eq!(gets(&mut server, 4).await.1, Duration::ZERO);
    // The deadline is kept behind it, too.
    client.send_all(b"again", MORE).await.unwrap();
    assert_eq!(gets(&mut server, 5).await.1, HOLD);
    client.send_all(b"mut", MORE).await.unwrap();
    assert_eq!(client.get_mut().1.waiting(), 0);
    client.send_all(b"able", MORE).await.unwrap();
    assert_eq!(gets(&mut server, 7).await.1, HOLD);
    let (_, session) = client.into_inner();
    assert_eq!(session.waiting(), 0);
}

/// The task comes for the deadline of bytes that a look has released, and finds nothing; it has to be
/// told of what is held later.
#[tokio::test(start_paused = true)]
async fn the_task_that_came_while_the_stream_was_looked_at_comes_again() {
    let Pair { mut client, mut server, .. } = connected(CorkConfig::default()).await;
    for _ in 0..3 {
        client.send_all(b"held", MORE).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(client.get_ref().1.waiting(), 0);
        assert_eq!(gets(&mut server, 4).await.1, Duration::ZERO);
        sleep(HOLD * 2).await;
        client.send_all(b"again", MORE).await.unwrap();
        let arrives = tokio::time::timeout(HOLD * 10, gets(&mut server, 5)).await;
        assert_eq!(arrives.unwrap().1, HOLD);
    }
}

#[tokio::test(start_paused = true)]
async fn halves_keep_it_and_so_does_the_stream_they_become_again() {
    let Pair { mut client, mut server, .. } = connected(CorkConfig::default()).await;
    client.send_all(b"held ", MORE).await.unwrap();
    let (reader, mut writer) = client.into_split();
    writer.send_all(b"by halves", MORE).await.unwrap();
    assert_eq!(gets(&mut server, 14).await.1, HOLD);
    writer.send_all(b"held", MORE).await.unwrap();
    let mut client = reader.reunite(writer).unwrap();
    assert!(matches!(client, TlsStream::Client(_)));
    assert_eq!(gets(&mut server, 4).await.1, HOLD);
    client.send_all(b"once more", MORE).await.unwrap();
    assert_eq!(gets(&mut server, 9).await.1, HOLD);
    let (reader, _) = server.into_split();
    let (_, writer) = client.into_split();
    assert!(writer.reunite(reader).unwrap_err().to_string().contains("not of the same stream"));
}

/// A reader that waits in another task releases nothing, and is not in the way of the deadline.
#[tokio::test(start_paused = true)]
async fn a_half_that_waits_does_not_cut_short_what_the_other_gathers() {
    let Pair { client, mut server, up, .. } = connected(CorkConfig::default()).await;
    let (mut reader, mut writer) = client.into_split();
    let reads = tokio::spawn(async move { gets(&mut reader, 6).await.0 });
    sleep(Duration::from_millis(1)).await;
    writer.send_all(b"one ", MORE).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert!(up.records().is_empty());
    writer.send_all(b"two", MORE).await.unwrap();
    assert_eq!(gets(&mut server, 7).await.1, Duration::from_millis(9));
    server.write_all(b"answer").await.unwrap();
    assert_eq!(reads.await.unwrap(), b"answer");
}

/// Plaintext that a caller looks at does not keep the task from the stream.
#[tokio::test(start_paused = true)]
async fn a_line_that_is_looked_at_does_not_hold_up_the_deadline() {
    let Pair { mut client, mut server, .. } = connected(CorkConfig::default()).await;
    server.write_all(b"one\ntwo\n").await.unwrap();
    let mut line = String::new();
    client.read_line(&mut line).await.unwrap();
    client.send_all(b"reply", MORE).await.unwrap();
    assert_eq!(client.fill_buf().await.unwrap(), b"two\n");
    assert_eq!(gets(&mut server, 5).await.1, HOLD);
    client.consume(1);
    let mut rest = [0; 3];
    client.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"wo\n");
}

/// Neither `Send` nor `'static`.
struct Local<'a>(DuplexStream, Rc<Cell<bool>>, &'a Cell<usize>);

impl AsyncRead for Local<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Local<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.2.set(self.2.get() + 1);
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.set(true);
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_stream_keeps_its_deadline_while_it_is_polled() {
    let (client_config, server_config) = configs();
    let (up, down) = duplex(support::ROOM);
    let (closed, writes) = (Rc::new(Cell::new(false)), Cell::new(0));
    let cork = CorkConfig::default().flush_on_read_wait(false);
    let connector = TlsConnector::from(client_config).with_cork(cork).unwrap();
    let (client, server) = tokio::join!(
        connector.connect_local(name(), Local(up, Rc::clone(&closed), &writes)),
        TlsAcceptor::from(server_config).accept_local(down)
    );
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    writes.set(0);
    client.send_all(b"held", MORE).await.unwrap();
    sleep(HOLD * 2).await;
    assert_eq!((writes.get(), tasks()), (0, 0), "nothing was polled");
    // A read that waits is woken for it.
    client.send_all(b"again", MORE).await.unwrap();
    assert_eq!(writes.get(), 1);
    client.send_all(b"!", MORE).await.unwrap();
    let start = Instant::now();
    let mut buf = [0];
    let reads = async { client.read(&mut buf).await.unwrap() };
    let answers = async {
        assert_eq!(gets(&mut server, 10).await.0, b"heldagain!");
        assert_eq!(start.elapsed(), HOLD);
        server.write_all(b"x").await.unwrap();
    };
    tokio::join!(reads, answers);
    client.shutdown().await.unwrap();
    assert!(closed.get());
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn holding_outside_of_a_runtime_is_an_error_and_accepts_nothing() {
    let Pair { mut client, mut server, up, .. } = runtime().block_on(connected(patient()));
    let Poll::Ready(Err(error)) = outside(client.send(b"held", MORE)) else { panic!("held") };
    assert!(error.to_string().contains("tokio runtime"), "{error}");
    client.cork();
    assert!(matches!(outside(client.write(b"corked")), Poll::Ready(Err(_))));
    assert!(matches!(outside(client.uncork()), Poll::Ready(Ok(()))));
    assert_eq!(client.get_ref().1.waiting(), 0);
    // Everything else needs no runtime.
    assert!(matches!(outside(client.write(b"plain")), Poll::Ready(Ok(5))));
    assert_eq!(up.records(), [5]);
    let (mut reader, mut writer) = server.into_split();
    assert!(matches!(outside(writer.send(b"held", MORE)), Poll::Ready(Err(_))));
    let mut got = [0; 5];
    assert!(matches!(outside(reader.read_exact(&mut got)), Poll::Ready(Ok(5))));
    server = match writer.reunite(reader).unwrap() {
        TlsStream::Server(server) => server,
        TlsStream::Client(_) => panic!("a client"),
    };
    assert!(matches!(outside(server.write(b"plain")), Poll::Ready(Ok(5))));
    assert_eq!(&got, b"plain");
}

/// The task is inside: the caller need not be.
#[test]
fn with_a_task_a_caller_outside_of_the_runtime_may_hold() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let Pair { mut client, mut server, .. } = runtime.block_on(async {
        let mut pair = connected(CorkConfig::default()).await;
        pair.client.send_all(b"inside", MORE).await.unwrap();
        gets(&mut pair.server, 6).await;
        pair
    });
    assert!(matches!(outside(client.send(b"outside", MORE)), Poll::Ready(Ok(7))));
    assert_eq!(runtime.block_on(gets(&mut server, 7)).0, b"outside");
}

#[test]
fn the_next_runtime_fires_the_deadline_when_the_first_is_gone() {
    let first = runtime();
    let Pair { mut client, mut server, .. } = first.block_on(async {
        let mut pair = connected(CorkConfig::default()).await;
        pair.client.send_all(b"one", MORE).await.unwrap();
        gets(&mut pair.server, 3).await;
        pair
    });
    drop(first);
    runtime().block_on(async {
        sleep(HOLD).await;
        client.send_all(b"two", MORE).await.unwrap();
        assert_eq!(gets(&mut server, 3).await.0, b"two");
    });
}

#[test]
fn a_runtime_without_timers_panics_in_the_call_that_holds() {
    let without = Builder::new_current_thread().build().unwrap();
    let Pair { mut client, mut server, up, .. } = without.block_on(connected(CorkConfig::default()));
    let held =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| without.block_on(client.send_all(b"held", MORE))));
    assert!(held.is_err());
    without.block_on(async {
        client.write_all(b"plain").await.unwrap();
        assert_eq!(gets(&mut server, 5).await.0, b"plain");
    });
    assert_eq!(up.records(), [5]);
}

/// R12, by a read of the same task.
#[tokio::test(start_paused = true)]
async fn a_read_that_waits_releases_what_its_task_holds() {
    let Pair { mut client, mut server, .. } = connected(CorkConfig::default()).await;
    let start = Instant::now();
    let asks = async {
        client.send_all(b"request", MORE).await.unwrap();
        gets(&mut client, 6).await.0
    };
    let answers = async {
        gets(&mut server, 7).await;
        server.write_all(b"answer").await.unwrap();
    };
    assert_eq!(tokio::join!(asks, answers).0, b"answer");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// A look within a poll does not take the waker of a write that waits.
#[tokio::test]
async fn a_look_does_not_forget_who_waits() {
    let Pair { mut client, mut server, up, .. } = connected_with(configs(), patient(), 1000).await;
    client.send_all(b"held", MORE).await.unwrap();
    let data = noise(100_000, 2);
    let writes = tokio::spawn(async move {
        poll_fn(|cx| {
            let flushed = Pin::new(&mut client).poll_flush(cx);
            assert!(!client.get_ref().1.is_handshaking());
            flushed
        })
        .await
        .unwrap();
        let mut done = 0;
        poll_fn(|cx| {
            while done < data.len() {
                let written = Pin::new(&mut client).poll_write(cx, &data[done..]);
                assert!(!client.get_ref().1.is_handshaking());
                done += std::task::ready!(written).unwrap();
            }
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| {
            let flushed = Pin::new(&mut client).poll_flush(cx);
            assert!(!client.get_ref().1.is_handshaking());
            flushed
        })
        .await
        .unwrap();
        client
    });
    let (got, _) = gets(&mut server, 100_004).await;
    assert_eq!(got.len(), 100_004);
    drop(writes.await.unwrap());
    let _: Counts = up;
}

#[test]
fn streams_are_as_free_as_their_transports() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    // Send, not Sync.
    type Odd = (DuplexStream, Cell<u8>);
    is_send::<tls_cork_tokio::client::TlsStream<Odd>>();
    is_send::<TlsStream<Odd>>();
    is_send::<tls_cork_tokio::OwnedReadHalf<Odd>>();
    is_sync::<tls_cork_tokio::OwnedWriteHalf<Odd>>();
    is_sync::<TlsStream<tokio::net::TcpStream>>();
    is_send::<tls_cork_tokio::Connect<Odd>>();
}

/// How long bytes are held by the clock on the wall, on both kinds of runtime. Prints, and asserts
/// nothing of time.
#[test]
#[ignore = "prints times"]
fn real_time() {
    let kinds = [
        ("current thread", runtime()),
        ("two threads", { Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap() }),
    ];
    for (kind, runtime) in kinds {
        let mut times = runtime.block_on(async {
            let Pair { mut client, mut server, .. } = connected(CorkConfig::default()).await;
            let mut times = Vec::new();
            for _ in 0..200 {
                let start = std::time::Instant::now();
                client.send_all(b"held", MORE).await.unwrap();
                gets(&mut server, 4).await;
                times.push(start.elapsed());
            }
            times
        });
        times.sort();
        println!("held for {:?} in the median, {:?} at most ({kind})", times[100], times[199]);
    }
}
