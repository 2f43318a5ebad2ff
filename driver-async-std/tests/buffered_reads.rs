//! `AsyncBufRead`: plaintext that is looked at, then taken.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncBufRead, AsyncRead};
use futures_util::future::{join, join3};
use futures_util::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use futures_util::{StreamExt, TryStreamExt, poll};
use support::attacker::{Attacker, attacked};
use support::pair::{Pair, connected, connected_with, gets, gets_all};
use support::pipe::{End, pipe};
use support::{configs, patient, run};
use tls_cork_async_std::tls_cork::SendFlags;
use tls_cork_async_std::{TlsConnector, TlsStream, client};
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::name;

const MORE: SendFlags = SendFlags::MORE;
/// R16: what one poll may receive, and the read in which it ends.
const SHARE: usize = (256 + 96) * 1024;

trait Reads: AsyncBufRead + AsyncRead + Unpin {}
impl<T: AsyncBufRead + AsyncRead + Unpin> Reads for T {}

type Reader = Box<dyn Reads>;

/// Each of the types that read.
const READERS: [fn(client::TlsStream<End>) -> Reader; 4] = [
    |stream| Box::new(stream),
    |stream| Box::new(TlsStream::from(stream)),
    |stream| Box::new(stream.with_deadline_task().0),
    |stream| Box::new(stream.into_split().0),
];

/// What is shown, which has to be there.
fn shown(reader: &mut Reader) -> Vec<u8> {
    match Pin::new(reader).poll_fill_buf(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(shown)) => shown.to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lines_are_read_as_from_a_buf_reader() {
    for wrap in READERS {
        run(async {
            let Pair { client, mut server, .. } = connected(patient()).await;
            let mut reader = wrap(client);
            server.write_all(b"first\nsec").await.unwrap();
            let mut line = String::new();
            reader.read_line(&mut line).await.unwrap();
            assert_eq!(line, "first\n");
            // Begun in one record, ended in the next.
            let (read, written) = join(reader.read_line(&mut line), server.write_all(b"ond\n3\n4\n5")).await;
            assert_eq!((read.unwrap(), written.unwrap()), (7, ()));
            assert_eq!(line, "first\nsecond\n");
            let (lines, closed) = join((&mut reader).lines().try_collect::<Vec<_>>(), server.close()).await;
            closed.unwrap();
            assert_eq!(lines.unwrap(), ["3", "4", "5"]);
        });
    }
}

#[test]
fn what_is_shown_stays_until_it_is_taken() {
    for wrap in READERS {
        run(async {
            let Pair { client, mut server, .. } = connected(patient()).await;
            let mut reader = wrap(client);
            let data = noise(40_000, 1);
            server.send_all(&data, SendFlags::NONE).await.unwrap();
            let mut got: Vec<u8> = Vec::new();
            let mut turn = 0;
            while got.len() < data.len() {
                let now = shown(&mut reader);
                assert_eq!(shown(&mut reader), now, "the same without a consume");
                assert!(!now.is_empty() && data[got.len()..].starts_with(&now));
                turn += 1;
                match turn % 4 {
                    0 => {
                        // A read takes from the same bytes.
                        let mut buf = vec![0; 1000];
                        let n = reader.read(&mut buf).await.unwrap();
                        got.extend(&buf[..n]);
                    }
                    1 => {
                        let n = now.len().min(700);
                        got.extend(&now[..n]);
                        reader.consume_unpin(n);
                    }
                    2 => reader.consume_unpin(0),
                    _ => {
                        got.extend(&now);
                        reader.consume_unpin(now.len() + 1); // no more than was shown
                    }
                }
            }
            assert!(got == data);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut reader).poll_fill_buf(&mut cx).is_pending());
            reader.consume_unpin(1);
            // A read of nothing, before and after data.
            server.write_all(b"x").await.unwrap();
            assert_eq!(reader.read(&mut []).await.unwrap(), 0);
            assert_eq!(shown(&mut reader), b"x");
            reader.consume_unpin(1);
        });
    }
}

#[test]
fn a_stream_of_its_own_shows_what_was_decrypted_and_a_shared_one_a_copy() {
    run(async {
        let Pair { mut client, mut server, .. } = connected(patient()).await;
        server.write_all(b"shown").await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(shown)) = Pin::new(&mut client).poll_fill_buf(&mut cx) else { panic!("nothing shown") };
        let at = shown.as_ptr();
        for _ in 0..2 {
            let Poll::Ready(Ok(shown)) = Pin::new(&mut client).poll_fill_buf(&mut cx) else { panic!("nothing shown") };
            assert_eq!(shown.as_ptr(), at);
        }
        // What a half has shown and not taken is still the stream's.
        let (mut reader, mut writer) = client.into_split();
        assert_eq!(Pin::new(&mut reader).fill_buf().await.unwrap(), b"shown");
        writer.send_all(b"between", SendFlags::NONE).await.unwrap();
        reader.consume_unpin(1);
        let mut stream = writer.reunite(reader).unwrap();
        assert_eq!(Pin::new(&mut stream).fill_buf().await.unwrap(), b"hown");
        let (reader, writer) = stream.into_split();
        drop(reader);
        let (_, mut connection) = writer.into_inner().unwrap();
        assert_eq!(connection.fill_buf().unwrap(), b"hown");
    });
}

#[test]
fn the_end_is_an_empty_slice_and_a_cut_is_an_error() {
    for wrap in READERS {
        for cut in [false, true] {
            run(async {
                let Pair { client, mut server, down, .. } = connected(patient()).await;
                let mut reader = wrap(client);
                server.write_all(b"last words").await.unwrap();
                if cut {
                    down.cut();
                } else {
                    server.close().await.unwrap();
                }
                assert_eq!(shown(&mut reader), b"last words");
                reader.consume_unpin(10);
                for _ in 0..2 {
                    match reader.fill_buf().await {
                        Ok(shown) => assert!(!cut && shown.is_empty(), "{shown:?}"),
                        Err(error) => assert!(cut && error.kind() == ErrorKind::UnexpectedEof, "{error}"),
                    }
                    reader.consume_unpin(1);
                    assert_eq!(reader.read(&mut [0; 8]).await.is_err(), cut);
                }
                let mut line = String::new();
                assert_eq!(reader.read_line(&mut line).await.is_err(), cut);
            });
        }
    }
}

/// R12, and that a `fill_buf` is a read like another.
#[test]
fn point_5_a_fill_buf_that_waits_releases_what_its_task_holds() {
    run(async {
        let Pair { mut client, mut server, up, .. } = connected(patient()).await;
        client.send_all(b"request", MORE).await.unwrap();
        assert_eq!(up.writes(), 0);
        let answers = async {
            let request = gets(&mut server, 7).await;
            server.write_all(b"answer\n").await.unwrap();
            request
        };
        let mut line = String::new();
        let (read, request) = join(client.read_line(&mut line), answers).await;
        assert_eq!((read.unwrap(), line.as_str(), &request[..]), (7, "answer\n", &b"request"[..]));

        // The same of a shared stream; of halves, whose tasks are two, not.
        let (mut stream, _deadlines) = client.with_deadline_task();
        up.forget();
        stream.send_all(b"request", MORE).await.unwrap();
        assert!(poll!(pin!(stream.fill_buf())).is_pending());
        assert_eq!(up.application(), [7]);
        let (mut reader, mut writer) = stream.into_split();
        writer.send_all(b"request", MORE).await.unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut reader).poll_fill_buf(&mut cx).is_pending());
        assert_eq!(up.application(), [7]);
    });
}

#[test]
fn dropped_fill_bufs_lose_nothing_and_wake_the_next() {
    for wrap in READERS {
        run(async {
            let Pair { client, mut server, .. } = connected_with(configs(), patient(), 5000).await;
            let mut reader = wrap(client);
            let data = noise(100_000, 2);
            let sends = async {
                server.write_all(&data).await.unwrap();
                server.close().await.unwrap();
            };
            let reads = async {
                let mut got: Vec<u8> = Vec::new();
                loop {
                    // Polled once and dropped, then awaited.
                    drop(poll!(pin!(reader.fill_buf())));
                    let shown = reader.fill_buf().await.unwrap();
                    if shown.is_empty() {
                        break got;
                    }
                    let n = shown.len().min(3000);
                    got.extend(&shown[..n]);
                    reader.consume_unpin(n);
                }
            };
            let ((), got) = join(sends, reads).await;
            assert!(got == data);
        });
    }
}

#[test]
fn a_half_that_fills_and_one_that_writes_take_turns() {
    run(async {
        let Pair { client, server, .. } = connected_with(configs(), patient(), 20_000).await;
        let (mut reader, mut writer) = client.into_split();
        let (mut echo_reader, mut echo_writer) = server.into_split();
        let line = |n: usize| format!("{n} {}\n", "x".repeat(n % 3000));
        let sends = async {
            for n in 0..1000 {
                writer.send_all(line(n).as_bytes(), SendFlags::more_if(n % 5 > 0)).await.unwrap();
            }
            writer.close().await.unwrap();
        };
        let echoes = async {
            futures_util::io::copy_buf(&mut echo_reader, &mut echo_writer).await.unwrap();
            echo_writer.close().await.unwrap();
        };
        let reads = async {
            let mut lines = (&mut reader).lines().enumerate();
            let mut count = 0;
            while let Some((n, got)) = lines.next().await {
                assert_eq!(got.unwrap() + "\n", line(n));
                count += 1;
            }
            assert_eq!(count, 1000);
        };
        join3(sends, echoes, reads).await;
    });
}

/// Plaintext that came together with the handshake's last message.
#[test]
fn early_bytes_are_shown_first() {
    run(async {
        let (mut stream, _attacker) = attacked(b"early\n").await;
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(shown)) = Pin::new(&mut stream).poll_fill_buf(&mut cx) else { panic!("nothing shown") };
        assert_eq!(shown, b"early\n");
    });
}

/// R16: records without content.
#[test]
fn a_flood_of_records_without_content_leaves_others_their_turn() {
    run(async {
        let (mut stream, Attacker { mut peer, mut end, to_victim }) = attacked(b"").await;
        let mut cx = Context::from_waker(Waker::noop());
        let flood = peer.key_updates(50_000);
        let mut left = flood.len();
        end.write_all(&flood).await.unwrap();
        end.write_all(&peer.say(b"at last")).await.unwrap();
        let mut polls = 0;
        loop {
            polls += 1;
            let filled = Pin::new(&mut stream).poll_fill_buf(&mut cx);
            let waits = to_victim.waiting();
            assert!(left.saturating_sub(waits) <= SHARE, "{} bytes in one poll", left - waits);
            left = waits;
            if let Poll::Ready(shown) = filled {
                assert_eq!(shown.unwrap(), b"at last");
                break;
            }
        }
        assert!(polls > 3, "{polls}");
    });
}

#[test]
fn futures_rustls_reads_the_same_lines() {
    run(async {
        let (client_config, server_config) = configs();
        let (client, server) = pipe(1 << 20);
        let theirs = futures_rustls::TlsAcceptor::from(server_config);
        let ours = TlsConnector::from(client_config);
        let (client, server) = join(ours.connect(name(), client), theirs.accept(server)).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let text = "one\ntwo\n\nlast";
        client.write_all(text.as_bytes()).await.unwrap();
        let mut echoed = vec![0; text.len()];
        server.read_exact(&mut echoed).await.unwrap();
        server.write_all(&echoed).await.unwrap();
        server.close().await.unwrap();
        let lines: Vec<String> = (&mut client).lines().try_collect().await.unwrap();
        assert_eq!(lines, text.lines().collect::<Vec<_>>());
        assert!(gets_all(&mut client).await.unwrap().is_empty());
    });
}
