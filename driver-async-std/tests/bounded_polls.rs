//! R16: one poll does its share and leaves the rest to the next, in proportion to its slices; and nothing is tried on a transport that has
//! not woken us.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::AsyncWriteExt;
use support::attacker::{Attacker, attacked};
use support::pair::{Pair, connected, connected_with};
use support::pipe::{End, Tap};
use support::{configs, patient, run};
use tls_cork_async_std::client;
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags};
use tls_cork_testing::content::noise;

const NONE: SendFlags = SendFlags::NONE;
const MORE: SendFlags = SendFlags::MORE;
const LEN: usize = 64 << 20;
/// What one poll may accept or transmit: its share, and the batch in which it ends.
const SHARE: usize = (256 + 96) * 1024;
/// The same in bytes on the wire.
const SHARE_ON_WIRE: usize = SHARE + 10_000;

/// A task that counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// What passed a tap since it was last asked; the bytes go, as to a peer that reads everything.
fn passed(up: &Tap) -> usize {
    let passed = up.steal().len();
    up.forget();
    passed
}

/// Polls `future` to its end; each poll but the last has to do something, within its share, and to ask for the next.
fn in_shares<T>(future: impl Future<Output = T>, up: &Tap) -> (T, usize) {
    let (count, waker) = Count::new();
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut polls = 0;
    loop {
        polls += 1;
        let polled = future.as_mut().poll(&mut cx);
        let sent = passed(up);
        assert!(sent <= SHARE_ON_WIRE, "{sent} bytes in one poll");
        match polled {
            Poll::Ready(done) => return (done, polls),
            Poll::Pending => assert!(sent > 0 && count.take() > 0, "poll {polls}: {sent} bytes, and not woken"),
        }
    }
}

/// A client whose transport takes everything.
async fn endless() -> (client::TlsStream<End>, Tap, impl Sized) {
    let Pair { client, server, up, down } = connected(CorkConfig::default()).await;
    up.set_capacity(usize::MAX);
    (client, up, (server, down))
}

#[test]
fn a_send_to_a_transport_that_never_fills_is_many_polls() {
    let data = Bytes::from(vec![7; LEN]);
    run(async {
        let (mut client, up, _rest) = endless().await;
        let (sent, polls) = in_shares(client.send_all(&data, NONE), &up);
        sent.unwrap();
        assert!(polls >= LEN / SHARE, "{polls}");
        let mut owned = data.clone();
        let (sent, polls) = in_shares(client.send_all_bytes(&mut owned, NONE), &up);
        sent.unwrap();
        assert!(owned.is_empty() && polls >= LEN / SHARE, "{polls}");
        // By hand, as the documentation has it: until all is accepted.
        let bufs: Vec<_> = data.chunks(100_000).map(IoSlice::new).collect();
        let mut done = 0;
        while done < 4 << 20 {
            let (sent, polls) = in_shares(client.send(&data[done..4 << 20], NONE), &up);
            done += sent.unwrap();
            assert_eq!(polls, 1);
            let mut owned = data.clone();
            let (sent, polls) = in_shares(client.send_bytes(&mut owned, NONE), &up);
            let accepted = sent.unwrap();
            assert!(polls == 1 && accepted <= SHARE && accepted == LEN - owned.len(), "send_bytes: {accepted}");
            let accepted = client.send_vectored(&bufs, NONE).await.unwrap();
            assert!(accepted <= SHARE && passed(&up) <= SHARE_ON_WIRE, "send_vectored: {accepted}");
            let accepted = client.write(&data).await.unwrap();
            assert!(accepted <= SHARE && passed(&up) <= SHARE_ON_WIRE, "write: {accepted}");
            let accepted = client.write_vectored(&bufs).await.unwrap();
            assert!(accepted <= SHARE && passed(&up) <= SHARE_ON_WIRE, "write_vectored: {accepted}");
        }
    });
}

#[test]
fn the_halves_of_a_stream_take_turns_during_a_large_send() {
    run(async {
        let Pair { client, mut server, up, .. } = connected(CorkConfig::default()).await;
        up.set_capacity(usize::MAX);
        let (mut reader, mut writer) = client.into_split();
        server.write_all(b"answer").await.unwrap();
        let data = vec![7; LEN];
        let mut cx = Context::from_waker(Waker::noop());
        let mut sends = pin!(writer.send_all(&data, NONE));
        assert!(sends.as_mut().poll(&mut cx).is_pending(), "the lock is given back");
        let mut buf = [0; 6];
        assert!(matches!(Pin::new(&mut reader).poll_read(&mut cx, &mut buf), Poll::Ready(Ok(6))));
    });
}

#[test]
fn what_waits_leaves_in_shares_too() {
    type Ends = fn(&mut client::TlsStream<End>, &mut Context<'_>) -> Poll<io::Result<()>>;
    let flush: Ends = |client, cx| Pin::new(client).poll_flush(cx);
    let close: Ends = |client, cx| Pin::new(client).poll_close(cx);
    for ends in [flush, close] {
        run(async {
            let cork = CorkConfig::default().send_buffer_limit(8 << 20);
            let Pair { mut client, server: _server, up, .. } = connected_with(configs(), cork, 0).await;
            let (count, waker) = Count::new();
            let mut cx = Context::from_waker(&waker);
            let mut data = Bytes::from(vec![7; 16 << 20]);
            while client.poll_send_bytes(&mut cx, &mut data, NONE).is_ready() {}
            up.set_capacity(usize::MAX);
            let mut polls = 0;
            loop {
                count.take();
                polls += 1;
                let polled = ends(&mut client, &mut cx);
                let sent = passed(&up);
                assert!(sent <= SHARE_ON_WIRE, "{sent} bytes in one poll");
                if polled.is_ready() {
                    break;
                }
                assert!(sent > 0 && count.take() > 0, "poll {polls}: {sent} bytes, and not woken");
            }
            assert!(polls >= (8 << 20) / SHARE, "{polls}");
        });
    }
}

/// A client with megabytes that wait for a transport which now takes everything.
async fn behind_a_full_transport() -> (client::TlsStream<End>, Tap, impl Sized) {
    let cork = CorkConfig::default().send_buffer_limit(8 << 20);
    let Pair { mut client, server, up, down } = connected_with(configs(), cork, 0).await;
    let mut cx = Context::from_waker(Waker::noop());
    let mut data = Bytes::from(vec![7; 16 << 20]);
    while client.poll_send_bytes(&mut cx, &mut data, NONE).is_ready() {}
    up.set_capacity(usize::MAX);
    (client, up, (server, down))
}

#[test]
fn a_send_and_an_uncork_leave_nothing_behind_that_the_transport_would_take() {
    run(async {
        let (mut client, up, _rest) = behind_a_full_transport().await;
        let (uncorked, polls) = in_shares(client.uncork(), &up);
        uncorked.unwrap();
        assert!(polls > 20 && client.get_ref().1.waiting() == 0, "{polls}");

        let (mut client, up, _rest) = behind_a_full_transport().await;
        let (sent, polls) = in_shares(client.send(b"last", NONE), &up);
        assert_eq!(sent.unwrap(), 4);
        assert!(polls > 20 && client.get_ref().1.waiting() == 0, "{polls}");
        assert!(!client.get_ref().1.wants_transmit());
    });
}

#[test]
fn a_write_after_a_close_is_refused_though_the_transport_is_full() {
    run(async {
        let Pair { mut client, server: _server, .. } = connected_with(configs(), patient(), 0).await;
        let mut cx = Context::from_waker(Waker::noop());
        assert!(client.poll_send(&mut cx, b"waits", NONE).is_ready());
        assert!(Pin::new(&mut client).poll_close(&mut cx).is_pending());
        for _ in 0..2 {
            let written = Pin::new(&mut client).poll_write(&mut cx, b"late");
            assert!(
                matches!(written, Poll::Ready(Err(ref error)) if error.kind() == io::ErrorKind::BrokenPipe),
                "{written:?}"
            );
            let bufs = [IoSlice::new(b"late")];
            assert!(matches!(Pin::new(&mut client).poll_write_vectored(&mut cx, &bufs), Poll::Ready(Err(_))));
        }
    });
}

#[test]
fn a_flood_of_records_without_content_leaves_others_their_turn() {
    run(async {
        let (mut stream, Attacker { mut peer, mut end, to_victim }) = attacked(b"").await;
        let flood = peer.key_updates(100_000);
        let mut left = flood.len();
        end.write_all(&flood).await.unwrap();
        let (count, waker) = Count::new();
        let mut cx = Context::from_waker(&waker);
        let mut polls = 0;
        loop {
            count.take();
            assert!(Pin::new(&mut stream).poll_read(&mut cx, &mut [0; 16]).is_pending());
            let waits = to_victim.waiting();
            assert!(left - waits <= SHARE, "{} bytes in one poll", left - waits);
            left = waits;
            polls += 1;
            if left == 0 {
                break;
            }
            assert!(count.take() > 0, "it is not read on");
        }
        assert!(polls > 5, "{polls}");
    });
}

#[test]
fn reads_and_writes_leave_a_transport_alone_that_has_not_woken_them() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected_with(configs(), patient(), 10_000).await;
        let (count, waker) = Count::new();
        let mut cx = Context::from_waker(&waker);
        let data = noise(300_000, 1);
        while client.poll_send(&mut cx, &data, NONE).is_ready() {}
        let calls = up.lane().calls;
        // Reads that find nothing, and reads that find something.
        for _ in 0..1000 {
            assert!(Pin::new(&mut client).poll_read(&mut cx, &mut [0; 8]).is_pending());
        }
        server.write_all(&noise(1000, 2)).await.unwrap();
        for _ in 0..1000 {
            assert!(Pin::new(&mut client).poll_read(&mut cx, &mut [0; 1]).is_ready());
        }
        for _ in 0..1000 {
            assert!(client.poll_send(&mut cx, &data, NONE).is_pending());
            assert!(Pin::new(&mut client).poll_write(&mut cx, &data).is_pending());
            assert!(Pin::new(&mut client).poll_flush(&mut cx).is_pending());
        }
        client.uncork().await.unwrap();
        assert_eq!(up.lane().calls, calls, "the transport was tried");
        count.take();
        drop(up.steal());
        assert!(count.take() > 0, "the transport wakes");
        assert!(client.poll_send(&mut cx, &data, NONE).is_pending() || up.lane().calls > calls);
        assert!(up.lane().calls > calls, "woken, and not tried");
    });
}

#[test]
fn a_due_deadline_does_not_try_a_blocked_transport() {
    run(async {
        let Pair { mut client, server: _server, up, .. } = connected_with(configs(), CorkConfig::default(), 0).await;
        client.send_all(b"held", MORE).await.unwrap();
        // The deadline fires and finds the transport full; the timer's later wake-ups say nothing of the transport.
        let mut cx = Context::from_waker(Waker::noop());
        let calls = up.lane().calls;
        while up.lane().calls == calls {
            assert!(Pin::new(&mut client).poll_read(&mut cx, &mut [0; 8]).is_pending());
        }
        let calls = up.lane().calls;
        for _ in 0..3 {
            client.send_all(b"held again", MORE).await.unwrap();
            async_io::Timer::after(std::time::Duration::from_millis(15)).await;
            assert!(Pin::new(&mut client).poll_read(&mut cx, &mut [0; 8]).is_pending());
        }
        assert_eq!(up.lane().calls, calls);
    });
}

#[test]
fn slices_are_copied_once_however_many_polls_take_them() {
    let data = noise(1 << 20, 3);
    let allocated = |slices: usize, plain: bool| {
        run(async {
            let (mut client, up, _rest) = endless().await;
            let mut cx = Context::from_waker(Waker::noop());
            let mut bufs: Vec<_> = data[..slices].chunks(1).map(IoSlice::new).collect();
            let mut rest = &mut bufs[..];
            let mut allocated = 0;
            while !rest.is_empty() {
                let mut accepted = 0;
                allocated += measure(|| {
                    let written = match plain {
                        true => Pin::new(&mut client).poll_write_vectored(&mut cx, rest),
                        false => client.poll_send_vectored(&mut cx, rest, NONE),
                    };
                    let Poll::Ready(Ok(n)) = written else { panic!("{written:?}") };
                    accepted = n;
                })
                .bytes_total;
                IoSlice::advance_slices(&mut rest, accepted);
                passed(&up);
            }
            allocated
        })
    };
    for plain in [false, true] {
        let (some, many) = (allocated(1 << 18, plain), allocated(1 << 20, plain));
        assert!(many <= 4 * some + some / 5, "{some} bytes, and {many} for four times the slices");
    }
}
