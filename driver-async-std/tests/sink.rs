//! `MessageSink`: records and sends of pieces that are fed, backpressure, cancellation and the end.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::join;
use futures_util::{AsyncReadExt, AsyncWriteExt, Sink, SinkExt, poll};
use proptest::prelude::*;
use support::pair::{Pair, connected, connected_with, gets, gets_all};
use support::pipe::Step;
use support::{configs, patient, run};
use tls_cork_async_std::TlsStream;
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags};
use tls_cork_testing::content::noise;

const RECORD: usize = 16 * 1024;
const HOLD: Duration = Duration::from_millis(10);

/// A full record leaves at once.
fn one_record() -> CorkConfig {
    patient().hold_limit(RECORD)
}

fn piece(len: usize, seed: u32) -> Bytes {
    Bytes::from(noise(len, seed))
}

/// Whether `poll_ready` is ready, in a task that nobody wakes.
fn is_ready(sink: &mut (impl Sink<Bytes, Error = std::io::Error> + Unpin)) -> bool {
    Pin::new(sink).poll_ready(&mut Context::from_waker(Waker::noop())).map(Result::unwrap).is_ready()
}

#[test]
fn a_header_and_its_body_are_one_record_and_one_send() {
    run(async {
        let Pair { client, mut server, up, .. } = connected(patient()).await;
        let mut sink = client.into_message_sink();
        sink.feed(piece(28, 1)).await.unwrap();
        assert_eq!(up.writes(), 0);
        sink.send(piece(512, 2)).await.unwrap();
        assert_eq!((up.application(), up.writes()), (vec![540], 1));
        // A turn of sixteen messages.
        for _ in 0..16 {
            sink.feed(piece(28, 1)).await.unwrap();
            sink.feed(piece(512, 2)).await.unwrap();
        }
        assert_eq!(up.writes(), 1);
        sink.flush().await.unwrap();
        assert_eq!((up.application(), up.writes()), (vec![540, 16 * 540], 2));
        // Empty pieces and flushes add nothing.
        sink.feed(Bytes::new()).await.unwrap();
        sink.send(Bytes::new()).await.unwrap();
        sink.flush().await.unwrap();
        assert_eq!(up.writes(), 2);
        let message = [&noise(28, 1)[..], &noise(512, 2)].concat();
        assert!(gets(&mut server, 17 * 540).await.chunks(540).all(|got| got == message));
    });
}

#[test]
fn a_large_piece_is_not_copied_and_leaves_with_its_header_in_one_send() {
    run(async {
        let Pair { client, mut server, up, .. } = connected(patient()).await;
        let mut sink = TlsStream::from(client).into_message_sink();
        sink.feed(piece(28, 1)).await.unwrap();
        sink.send(piece(40_000, 2)).await.unwrap();
        assert_eq!((up.application(), up.writes()), (vec![RECORD, RECORD, 40_028 - 2 * RECORD], 1));
        assert_eq!(sink.get_ref().stats().copied_bytes, 28);
        up.forget();
        // More than the buffer takes: in steps, still without a copy.
        sink.send(piece(1_000_000, 3)).await.unwrap();
        assert_eq!(up.application().len(), 1_000_000_usize.div_ceil(RECORD));
        assert_eq!(sink.get_ref().stats().copied_bytes, 28);
        let got = gets(&mut server, 28 + 40_000 + 1_000_000).await;
        assert!(got[28..40_028] == noise(40_000, 2) && got[40_028..] == noise(1_000_000, 3));
    });
}

#[test]
fn full_records_leave_at_the_next_poll_and_the_tail_with_the_flush() {
    run(async {
        let Pair { client, mut server, up, .. } = connected(one_record()).await;
        let mut sink = client.into_message_sink();
        sink.feed(piece(RECORD + 100, 1)).await.unwrap();
        assert_eq!(up.writes(), 0);
        sink.feed(piece(100, 2)).await.unwrap();
        assert_eq!(up.application(), [RECORD]);
        sink.flush().await.unwrap();
        assert_eq!((up.application(), up.writes()), (vec![RECORD, 200], 2));
        gets(&mut server, RECORD + 200).await;
    });
}

#[test]
fn a_reader_in_another_task_sends_the_full_records_of_a_piece() {
    run(async {
        let Pair { client, mut server, .. } = connected(one_record()).await;
        let (mut reader, writer) = client.into_split();
        let mut sink = writer.into_message_sink();
        let reading = smol::spawn(async move { reader.read(&mut [0; 8]).await.unwrap() });
        sink.feed(piece(RECORD, 1)).await.unwrap();
        // Nobody polls the sink any more.
        assert_eq!(gets(&mut server, RECORD).await, noise(RECORD, 1));
        server.write_all(b"answer").await.unwrap();
        assert_eq!(reading.await, 6);
    });
}

#[test]
fn a_fed_piece_leaves_at_its_deadline_and_before_a_read_of_its_task_waits() {
    run(async {
        let Pair { client, mut server, up, .. } = connected(CorkConfig::default().flush_on_read_wait(false)).await;
        let mut sink = client.into_message_sink();
        sink.feed(piece(28, 1)).await.unwrap();
        std::thread::sleep(HOLD);
        // Any poll fires it.
        assert!(poll!(pin!(sink.get_mut().read(&mut [0; 8]))).is_pending());
        assert_eq!(up.application(), [28]);
        sink.feed(piece(28, 1)).await.unwrap();
        std::thread::sleep(HOLD);
        sink.feed(piece(28, 2)).await.unwrap();
        assert_eq!(up.application(), [28, 28]);
        sink.flush().await.unwrap();
        gets(&mut server, 84).await;

        let Pair { client, server: _server, up, .. } = connected(patient()).await;
        let mut sink = client.into_message_sink();
        sink.feed(piece(28, 1)).await.unwrap();
        assert!(poll!(pin!(sink.get_mut().read(&mut [0; 8]))).is_pending());
        assert_eq!(up.application(), [28], "R12");
    });
}

#[test]
fn point_8_a_sink_is_not_ready_while_nothing_is_accepted_and_goes_on_after() {
    const LIMIT: usize = 128 * 1024;
    run(async {
        let cork = patient().send_buffer_limit(LIMIT);
        for len in [1000, 50_000, 1 << 20] {
            let Pair { client, mut server, up, .. } = connected_with(configs(), cork.clone(), 30_000).await;
            let mut sink = client.into_message_sink();
            let mut fed = Vec::new();
            while is_ready(&mut sink) {
                Pin::new(&mut sink).start_send(piece(len, 7)).unwrap();
                fed.extend_from_slice(&noise(len, 7));
                assert!(fed.len() < 64 * 1024 + LIMIT + 30_000 + 2 * len, "{} bytes", fed.len());
            }
            let waiting = sink.get_ref().get_ref().1.waiting();
            assert!(waiting <= LIMIT, "{waiting} bytes");
            // It is not called again before it has woken someone.
            let calls = up.lane().calls;
            assert!(!is_ready(&mut sink));
            assert_eq!(up.lane().calls, calls);
            // A flush and a close bring everything, as the peer reads.
            let ends = async {
                sink.send(piece(5, 8)).await.unwrap();
                sink.close().await.unwrap();
            };
            fed.extend_from_slice(&noise(5, 8));
            assert!(join(ends, gets_all(&mut server)).await.1.unwrap() == fed, "pieces of {len}");
        }
    });
}

#[test]
fn a_piece_behind_one_that_is_not_accepted_is_refused() {
    run(async {
        let Pair { client, mut server, .. } = connected_with(configs(), patient(), 1000).await;
        let mut sink = client.into_message_sink();
        sink.feed(piece(400_000, 1)).await.unwrap();
        let refused = Pin::new(&mut sink).start_send(piece(10, 2)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        // What has not been accepted is not lost with the sink.
        let (mut client, mut rest) = sink.into_inner();
        assert_eq!(rest.len(), 400_000 - client.stats().plaintext_bytes as usize - client.get_ref().1.waiting());
        let sends = async {
            client.send_all_bytes(&mut rest, SendFlags::NONE).await.unwrap();
            client.flush().await.unwrap();
        };
        assert!(join(sends, gets(&mut server, 400_000)).await.1 == noise(400_000, 1));
    });
}

#[test]
fn a_close_is_that_of_the_stream() {
    run(async {
        let Pair { client, mut server, up, .. } = connected(patient()).await;
        let mut sink = client.into_message_sink();
        sink.feed(piece(28, 1)).await.unwrap();
        sink.close().await.unwrap();
        assert!(up.is_closed());
        // The message, and close_notify.
        assert_eq!(up.application(), [28, 2]);
        assert_eq!(gets_all(&mut server).await.unwrap(), noise(28, 1));
        assert_eq!(sink.feed(piece(1, 1)).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(sink.send(piece(1, 1)).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        sink.close().await.unwrap();
    });
}

#[test]
fn an_error_of_the_transport_is_returned_once() {
    run(async {
        let Pair { client, server: _server, up, .. } = connected(one_record()).await;
        let mut sink = client.into_message_sink();
        up.script([Step::Reset]);
        sink.feed(piece(RECORD, 1)).await.unwrap();
        assert_eq!(sink.feed(piece(1, 2)).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        sink.feed(piece(1, 3)).await.unwrap();
        sink.flush().await.unwrap();
        assert_eq!(up.application(), [RECORD, 1]);
        up.script([Step::Zero]);
        assert_eq!(sink.send(piece(1, 2)).await.unwrap_err().kind(), ErrorKind::WriteZero);
    });
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Feed(usize),
    Send(usize),
    Flush,
}

fn op() -> impl Strategy<Value = Op> {
    let len = || prop_oneof![1usize..200, 1000usize..3000, 10_000usize..400_000];
    prop_oneof![4 => len().prop_map(Op::Feed), 2 => len().prop_map(Op::Send), 1 => Just(Op::Flush)]
}

/// A piece whose length and number can be read from it.
fn numbered(number: u32, len: usize) -> Bytes {
    let mut piece = BytesMut::with_capacity(8 + len);
    piece.put_u32(number);
    piece.put_u32(len as u32);
    piece.extend_from_slice(&noise(len, number));
    piece.freeze()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Futures are dropped at random points. A piece arrives whole and once, or was in a future that
    /// was dropped before it began to send; the order is that of the calls.
    #[test]
    fn dropped_futures_lose_and_repeat_nothing(
        ops in prop::collection::vec((op(), 1usize..5), 1..20),
        reads in prop::collection::vec(1usize..60_000, 1..8),
        capacity in 50usize..40_000,
    ) {
        run(async {
            let Pair { client, mut server, .. } = connected_with(configs(), patient(), capacity).await;
            let mut sink = client.into_message_sink();
            let (mut done, mut got) = (Vec::new(), Vec::new());
            let mut buf = vec![0; 60_000];
            let mut sizes = reads.iter().cycle();
            for (number, (op, polls)) in ops.into_iter().enumerate() {
                let number = number as u32;
                let mut call = pin!(async {
                    match op {
                        Op::Feed(len) => sink.feed(numbered(number, len)).await.unwrap(),
                        Op::Send(len) => sink.send(numbered(number, len)).await.unwrap(),
                        Op::Flush => sink.flush().await.unwrap(),
                    }
                });
                for _ in 0..polls {
                    if poll!(call.as_mut()).is_ready() {
                        if !matches!(op, Op::Flush) {
                            done.push(number);
                        }
                        break;
                    }
                    let size = *sizes.next().unwrap();
                    if let Poll::Ready(n) = poll!(pin!(server.read(&mut buf[..size]))) {
                        got.extend_from_slice(&buf[..n.unwrap()]);
                    }
                }
            }
            let (closed, rest) = join(sink.close(), gets_all(&mut server)).await;
            closed.unwrap();
            got.extend_from_slice(&rest.unwrap());
            let (mut got, mut arrived) = (Bytes::from(got), Vec::new());
            while !got.is_empty() {
                let (number, len) = (got.get_u32(), got.get_u32() as usize);
                assert!(got.split_to(len) == noise(len, number), "piece {number}");
                assert!(arrived.last() < Some(&number), "{number} behind {arrived:?}");
                arrived.push(number);
            }
            assert!(done.iter().all(|number| arrived.contains(number)), "{done:?} sent, {arrived:?} arrived");
        });
    }
}
