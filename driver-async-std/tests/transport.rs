//! Transports that take little, fail, or end. Numbers are those of the design's list of what goes wrong elsewhere.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use async_io::Timer;
use bytes::Bytes;
use futures_util::future::{Either, join, select};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use proptest::prelude::*;
use rustls::crypto::aws_lc_rs;
use rustls::{SupportedCipherSuite, Tls12CipherSuite};
use support::pair::{Pair, connected, connected_with, gets, gets_all};
use support::pipe::{End, Step};
use support::{configs, patient, run};
use tls_cork_async_std::client::TlsStream;
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags, TransmitError};
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions;

const MORE: SendFlags = SendFlags::MORE;
const NONE: SendFlags = SendFlags::NONE;
const TICK: Duration = Duration::from_millis(20);

/// Whether `future` is not done after a while.
async fn waits<T>(future: impl Future<Output = T>) -> bool {
    matches!(select(std::pin::pin!(future), Timer::after(TICK)).await, Either::Right(_))
}

#[test]
fn point_1_close_sends_what_is_held_then_the_end() {
    run(async {
        let Pair { mut client, mut server, up, down } = connected(patient()).await;
        client.send_all(b"held", MORE).await.unwrap();
        client.close().await.unwrap();
        assert!(up.is_closed());
        assert_eq!(gets_all(&mut server).await.unwrap(), b"held");
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0, "the end is told again");
        assert_eq!(client.write(b"late").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut late = Bytes::from_static(b"late");
        assert_eq!(client.send_bytes(&mut late, MORE).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(client.send_all_bytes(&mut late, MORE).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(late, &b"late"[..]);

        // Half-closed: the other direction goes on.
        assert!(!down.is_closed());
        server.write_all(b"later").await.unwrap();
        server.close().await.unwrap();
        assert_eq!(gets_all(&mut client).await.unwrap(), b"later");
    });
}

#[test]
fn point_1_a_cut_stream_is_told_from_its_end() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        client.write_all(b"cut").await.unwrap();
        up.cut();
        assert_eq!(gets(&mut server, 3).await, b"cut");
        for _ in 0..3 {
            assert_eq!(server.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
    });
}

#[test]
fn point_1_an_error_says_what_it_costs() {
    run(async {
        let Pair { mut client, mut server, up, down } = connected(patient()).await;
        // The client forgets the tickets; garbage follows.
        drop(down.steal());
        client.send_all(b"held", MORE).await.unwrap();
        let mut raw = server.get_mut().0;
        (&mut raw).write_all(&[23, 3, 3, 0, 40]).await.unwrap();
        (&mut raw).write_all(&[0; 40]).await.unwrap();
        let error = client.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("4 bytes that were accepted are lost"), "{error}");
        assert_eq!(up.records(), 1, "the alert has left");
        assert_eq!(client.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(client.flush().await.unwrap_err().kind(), ErrorKind::BrokenPipe, "what was held has not left");
        assert_eq!(client.close().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(up.is_closed());
        let told = server.read(&mut [0; 8]).await.unwrap_err();
        assert!(matches!(told.get_ref().and_then(|inner| inner.downcast_ref()), Some(rustls::Error::AlertReceived(_))));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn point_7_a_transport_may_take_as_little_as_it_likes(
        steps in prop::collection::vec(prop_oneof![
            3 => (1usize..3000).prop_map(Step::Take),
            1 => Just(Step::Take(1)),
            2 => Just(Step::Later),
            1 => Just(Step::Interrupted),
        ], 0..400),
        capacity in prop_oneof![Just(1usize), 2usize..2000, Just(100_000)],
        len in 0usize..60_000,
        piece in 1usize..20_000,
        more: bool,
    ) {
        let len = if capacity == 1 { len / 40 } else { len };
        run(async {
            let Pair { mut client, mut server, up, .. } =
                connected_with(configs(), patient(), capacity).await;
            up.script(steps);
            let data = noise(len, 6);
            let writes = async {
                for piece in data.chunks(piece) {
                    client.send_all(piece, SendFlags::more_if(more)).await.unwrap();
                }
                client.close().await.unwrap();
            };
            let ((), got) = join(writes, gets_all(&mut server)).await;
            assert!(got.unwrap() == data);
        });
    }
}

#[test]
fn point_7_a_retry_may_bring_other_bytes() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        up.set_capacity(10);
        for piece in [&b"first"[..], b" second", b" third"] {
            assert_eq!(client.send(piece, SendFlags::NONE).await.unwrap(), piece.len());
        }
        up.set_capacity(1 << 20);
        client.flush().await.unwrap();
        assert_eq!(gets(&mut server, 18).await, b"first second third");
        // Late sealing: what came while the first record waited shares one.
        assert_eq!(up.application(), [5, 13]);
    });
}

#[test]
fn point_7_what_was_not_taken_leaves_when_a_read_is_polled() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        up.set_capacity(10);
        client.write_all(b"request").await.unwrap();
        up.set_capacity(1 << 20);
        let (answer, ()) = join(gets(&mut client, 6), async {
            assert_eq!(gets(&mut server, 7).await, b"request");
            server.write_all(b"answer").await.unwrap();
        })
        .await;
        assert_eq!(answer, b"answer");
    });
}

#[test]
fn point_7_a_reset_is_told_once_by_the_next_call() {
    run(async {
        let Pair { mut client, server: _server, up, .. } = connected(patient()).await;
        up.script([Step::Reset]);
        assert_eq!(client.write(b"lost").await.unwrap(), 4);
        assert_eq!(client.write(b"more").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn point_7_a_failing_transport_does_not_hide_what_was_received() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(CorkConfig::default()).await;
        client.send_all(b"held", MORE).await.unwrap();
        server.write_all(b"last words").await.unwrap();
        Timer::after(TICK).await;
        up.script([Step::Reset, Step::Reset]);
        assert_eq!(gets(&mut client, 10).await, b"last words");
        // Then it is told, instead of waiting for an answer that cannot come; once.
        assert_eq!(client.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(waits(client.read(&mut [0; 8])).await);
        server.write_all(b"one more").await.unwrap();
        assert_eq!(gets(&mut client, 8).await, b"one more");
    });
}

#[test]
fn point_8_a_write_of_zero_bytes_is_an_error() {
    run(async {
        let Pair { mut client, server: _server, up, .. } = connected(patient()).await;
        up.script([Step::Zero, Step::Zero]);
        assert_eq!(client.write(b"lost").await.unwrap(), 4);
        assert_eq!(client.flush().await.unwrap_err().kind(), ErrorKind::WriteZero);
        assert!(up.lane().calls < 10);
    });
}

#[test]
fn point_8_a_full_buffer_waits_and_does_not_spin() {
    run(async {
        let limit = 64 * 1024;
        let cork = CorkConfig::default().send_buffer_limit(limit);
        let Pair { mut client, mut server, up, .. } = connected_with(configs(), cork, 20_000).await;
        let data = noise(1 << 20, 7);
        let mut sent = 0;
        while !waits(client.send(&data[sent..], NONE)).await {
            sent = client.stats().plaintext_bytes as usize + client.get_ref().1.waiting();
        }
        assert!(client.get_ref().1.waiting() <= limit);
        let calls = up.lane().calls;
        assert!(waits(client.flush()).await);
        assert!(waits(client.send(&data[sent..], NONE)).await);
        assert!(up.lane().calls <= calls + 4, "{} calls", up.lane().calls - calls);
        let writes = async {
            client.write_all(&data[sent..]).await.unwrap();
            client.flush().await.unwrap();
        };
        assert!(join(writes, gets(&mut server, data.len())).await.1 == data);
    });
}

#[test]
fn point_9_close_behind_a_full_buffer_ends_the_stream() {
    run(async {
        let Pair { mut client, mut server, .. } = connected_with(configs(), CorkConfig::default(), 5000).await;
        let data = noise(1 << 20, 8);
        while !waits(client.send(&data, NONE)).await {}
        let sent = client.stats().plaintext_bytes as usize + client.get_ref().1.waiting();
        let (closed, got) = join(client.close(), gets_all(&mut server)).await;
        closed.unwrap();
        assert_eq!(got.unwrap().len(), sent);
    });
}

/// What a stream is asked to do, each time with an error of the transport or of the call before.
const CALLS: [&str; 9] =
    ["send", "send_vectored", "send_bytes", "send_all", "send_all_bytes", "write", "flush", "uncork", "close"];

async fn call(name: &str, client: &mut TlsStream<End>) -> io::Result<()> {
    match name {
        "send" => client.send(b"x", NONE).await.map(drop),
        "send_vectored" => client.send_vectored(&[IoSlice::new(b"x")], NONE).await.map(drop),
        "send_bytes" => client.send_bytes(&mut Bytes::from_static(b"x"), NONE).await.map(drop),
        "send_all" => client.send_all(b"x", NONE).await,
        "send_all_bytes" => client.send_all_bytes(&mut Bytes::from_static(b"x"), NONE).await,
        "write" => client.write(b"x").await.map(drop),
        "flush" => client.flush().await,
        "uncork" => client.uncork().await,
        _ => client.close().await,
    }
}

#[test]
fn an_error_of_the_operating_system_comes_through_unchanged() {
    for code in [32, 104, 113, 90] {
        for name in CALLS {
            run(async {
                let Pair { mut client, server: _server, up, .. } = connected(patient()).await;
                client.send_all(b"held", MORE).await.unwrap();
                up.script([Step::Os(code), Step::Os(code)]);
                let first = call(name, &mut client).await;
                // The bytes of a send are accepted: its error is returned by the next call.
                let error = if first.is_ok() { client.flush().await } else { first }.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(code), "{name}: {error}");
            });
        }
    }
}

#[test]
fn a_transport_that_reports_more_than_it_was_offered_ends_the_stream() {
    for name in CALLS {
        run(async {
            let Pair { mut client, server: _server, up, .. } = connected(patient()).await;
            client.send_all(b"held", MORE).await.unwrap();
            up.script([Step::Surplus(50)]);
            let first = call(name, &mut client).await;
            let error = if first.is_ok() { client.flush().await } else { first }.unwrap_err();
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            assert!(matches!(inner, Some(TransmitError::Overrun { .. })), "{name}: {error:?}");
            let calls = up.lane().calls;
            assert!(client.send(b"x", NONE).await.is_err() && client.flush().await.is_err());
            assert!(client.close().await.is_err());
            assert_eq!(up.lane().calls, calls, "{name}: more was offered");
        });
    }
}

/// A TLS 1.2 suite whose keys are good for a few records.
fn short_lived_suite() -> SupportedCipherSuite {
    let suite = aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let SupportedCipherSuite::Tls12(suite) = suite else { panic!("not TLS 1.2") };
    let mut copy = Tls12CipherSuite { common: rustls::crypto::CipherSuiteCommon { ..suite.common }, ..*suite };
    copy.common.confidentiality_limit = 8;
    SupportedCipherSuite::Tls12(Box::leak(Box::new(copy)))
}

#[test]
fn point_10_used_up_keys_are_told_to_the_writer() {
    run(async {
        let configs = sessions::configs(Some(short_lived_suite()));
        let Pair { mut client, server: _server, .. } = connected_with(configs, patient(), 1 << 20).await;
        let mut written = 0;
        let error = loop {
            match client.write(b"record").await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 100);
        };
        assert_eq!(written, client.stats().records, "no write that was lost is said to have gone");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("keys are used up"), "{error}");
        assert_eq!(client.write(b"record").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}
