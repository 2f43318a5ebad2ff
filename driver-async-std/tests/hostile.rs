//! Peers that mean harm, over the driver: an error that says what happened, or a stream that goes on, in bounded memory.
//!
//! The core's own test of this name has every attack; here are those in which the driver has a part.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use futures_util::future::{Either, join, select};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use rustls::server::Acceptor;
use rustls::version::TLS13;
use rustls::{AlertDescription, Error, InvalidMessage};
use smol::future::yield_now;
use support::pipe::{End, Tap, pipe};
use support::run;
use tls_cork_async_std::tls_cork::{ReceiveError, SendFlags};
use tls_cork_async_std::{LazyConfigAcceptor, TlsAcceptor, server};
use tls_cork_testing::attack::bounds::{GATHERING, Limits};
use tls_cork_testing::attack::{APPLICATION, HANDSHAKE, Meter, Peer, Side, configs, offences, record};
use tls_cork_testing::meter;

const CAPACITY: usize = 8 << 20;
const SENDING: usize = Limits::DEFAULT.sending();

/// Polls `future` on the meter.
async fn metered<F: Future>(meter: &mut Meter, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| meter.run(|| future.as_mut().poll(cx))).await
}

/// The attacker: a hostile peer, and what the victim writes.
struct Attacker {
    peer: Peer,
    end: End,
    said: Tap,
}

impl Attacker {
    async fn send(&mut self, wire: &[u8]) {
        self.end.write_all(wire).await.unwrap();
    }

    /// What the victim has said since the last time.
    fn hear(&mut self) -> Result<Vec<u8>, Error> {
        self.peer.hear(&self.said.steal())
    }

    fn hears_alert(&mut self, due: AlertDescription) {
        assert_eq!(self.hear(), Err(Error::AlertReceived(due)));
    }
}

/// An acceptor, the transport that it is to use, and who is at the other end.
fn fresh() -> (TlsAcceptor, End, Attacker) {
    let (client, server) = configs(&TLS13, Side::Client, 1);
    let (near, end) = pipe(CAPACITY);
    let said = near.outgoing();
    (TlsAcceptor::from(Arc::new(server)), near, Attacker { peer: Peer::client(client), end, said })
}

/// A server of ours, hands shaken, with the meter at zero.
async fn connected() -> (server::TlsStream<End>, Attacker, Meter) {
    let (acceptor, near, mut attacker) = fresh();
    let mut meter = meter!();
    let hello = attacker.peer.output();
    attacker.send(&hello).await;
    let finish = async {
        while attacker.peer.0.is_handshaking() {
            attacker.hear().unwrap();
            yield_now().await;
        }
        let finished = attacker.peer.output();
        attacker.send(&finished).await;
        attacker
    };
    let accept = metered(&mut meter, acceptor.accept(near));
    let (stream, attacker) = join(accept, finish).await;
    meter.reset();
    (stream.unwrap(), attacker, meter)
}

/// The error of TLS that `error` carries.
fn named(error: &io::Error) -> &Error {
    let inner = error.get_ref().unwrap_or_else(|| panic!("{error:?}"));
    if let Some(ReceiveError::Tls { error, not_tls: true, discarded: 0 }) = inner.downcast_ref() {
        assert!(inner.to_string().contains("does not seem to speak TLS"), "{inner}");
        return error;
    }
    inner.downcast_ref().unwrap_or_else(|| panic!("{error:?}"))
}

/// Whether `future` is not done after a while.
async fn waits<T>(future: impl Future<Output = T>) -> bool {
    matches!(select(pin!(future), Timer::after(Duration::from_millis(20))).await, Either::Right(_))
}

/// A while in which whoever is ready gets on.
async fn settle() {
    Timer::after(Duration::from_millis(1)).await;
}

#[test]
fn garbage_is_refused_by_both_acceptors() {
    run(async {
        let noise = vec![0x5A; 1 << 20];
        let too_long = [&[HANDSHAKE, 3, 1, 0xff, 0xff][..], &[0; 1 << 16]].concat();
        let request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
        for (wire, expected) in [
            (noise, InvalidMessage::InvalidContentType),
            (too_long, InvalidMessage::MessageTooLarge),
            (request, InvalidMessage::InvalidContentType),
        ] {
            let (acceptor, near, mut attacker) = fresh();
            attacker.send(&wire).await;
            let mut meter = meter!();
            let error = metered(&mut meter, acceptor.accept(near)).await.unwrap_err();
            assert_eq!((error.kind(), named(&error)), (ErrorKind::InvalidData, &expected.into()));
            attacker.hears_alert(AlertDescription::DecodeError);
            assert!(meter.peak() < GATHERING, "{}", meter.peak());

            let (_, near, mut attacker) = fresh();
            attacker.send(&wire).await;
            let mut meter = meter!();
            let error = metered(&mut meter, LazyConfigAcceptor::new(Acceptor::default(), near)).await.unwrap_err();
            assert_eq!((error.kind(), named(&error)), (ErrorKind::InvalidData, &expected.into()));
            attacker.hears_alert(AlertDescription::DecodeError);
            assert!(meter.peak() < GATHERING, "{}", meter.peak());
        }
    });
}

#[test]
fn a_hello_in_records_of_one_byte_is_refused_when_the_buffer_is_full() {
    run(async {
        let mut wire = record(HANDSHAKE, &[1, 0, 0xff, 0xff]);
        wire.extend(record(HANDSHAKE, &[0]).repeat(0xffff));

        let (acceptor, near, mut attacker) = fresh();
        attacker.send(&wire).await;
        let error = acceptor.accept(near).await.unwrap_err();
        let expected = InvalidMessage::HandshakePayloadTooLarge.into();
        assert_eq!((error.kind(), named(&error)), (ErrorKind::InvalidData, &expected));

        // rustls's own `Acceptor` has no name for it.
        let (_, near, mut attacker) = fresh();
        attacker.send(&wire).await;
        let mut meter = meter!();
        let error = metered(&mut meter, LazyConfigAcceptor::new(Acceptor::default(), near)).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidData, "message buffer full"));
        assert!(meter.peak() < GATHERING, "{}", meter.peak());
    });
}

#[test]
fn a_handshake_that_ends_early_is_told_by_both_acceptors() {
    run(async {
        let (acceptor, near, mut attacker) = fresh();
        let hello = attacker.peer.output();
        attacker.send(&hello[..hello.len() / 2]).await;
        attacker.end.close().await.unwrap();
        assert_eq!(acceptor.accept(near).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);

        let (_, near, mut attacker) = fresh();
        attacker.send(&hello[..hello.len() / 2]).await;
        attacker.end.close().await.unwrap();
        let outcome = LazyConfigAcceptor::new(Acceptor::default(), near).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn a_client_that_says_nothing_waits_for_the_caller_s_time_limit() {
    run(async {
        let (acceptor, near, mut attacker) = fresh();
        assert!(waits(acceptor.accept(near)).await);
        // The future was dropped, and the transport with it.
        assert_eq!(attacker.end.read(&mut [0; 8]).await.unwrap(), 0);

        let (_, near, mut attacker) = fresh();
        assert!(waits(LazyConfigAcceptor::new(Acceptor::default(), near)).await);
        assert_eq!(attacker.end.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

#[test]
fn a_handshake_byte_by_byte_works() {
    run(async {
        let (acceptor, near, mut attacker) = fresh();
        let trickle = async {
            while attacker.peer.0.is_handshaking() {
                for byte in attacker.peer.output() {
                    attacker.send(&[byte]).await;
                    yield_now().await;
                }
                attacker.hear().unwrap();
                yield_now().await;
            }
            for byte in attacker.peer.output() {
                attacker.send(&[byte]).await;
                yield_now().await;
            }
            attacker
        };
        let (stream, mut attacker) = join(acceptor.accept(near), trickle).await;
        let mut stream = stream.unwrap();
        let wire = attacker.peer.say(b"at last");
        attacker.send(&wire).await;
        let mut got = [0; 7];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"at last");
    });
}

#[test]
fn forged_and_endless_records_end_the_stream_by_name() {
    run(async {
        for (says, expected, alert) in offences() {
            let (mut stream, mut attacker, mut meter) = connected().await;
            let wire = says(&mut attacker.peer);
            attacker.send(&wire).await;
            for _ in 0..3 {
                let error = metered(&mut meter, stream.read(&mut [0; 8])).await.unwrap_err();
                assert_eq!((error.kind(), named(&error)), (ErrorKind::InvalidData, &expected));
            }
            assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
            match alert {
                Some(alert) => attacker.hears_alert(alert),
                None => assert!(attacker.said.steal().is_empty()),
            }
            assert!(meter.peak() < GATHERING, "{}", meter.peak());
        }
    });
}

#[test]
fn a_peer_that_never_reads_costs_bounded_memory_whatever_it_sends() {
    run(async {
        let (mut stream, mut attacker, mut meter) = connected().await;
        attacker.said.steal();
        attacker.said.set_capacity(0);
        let data: Vec<u8> = (0..4_000_000u32).map(|n| (n / 251) as u8).collect();
        let mut accepted = 0;
        for round in 0..313 {
            let wire = attacker.peer.key_updates(32);
            attacker.send(&wire).await;
            let flags = SendFlags::more_if(round % 3 == 0);
            let step = [1, 100, 30_000][round % 3];
            let send = metered(&mut meter, stream.send(&data[accepted..accepted + step], flags));
            match select(pin!(send), pin!(settle())).await {
                Either::Left((sent, _)) => accepted += sent.unwrap(),
                Either::Right(_) => {}
            }
            // The reader takes the KeyUpdates, and has nothing to give.
            let mut buf = [0; 8];
            let read = metered(&mut meter, stream.read(&mut buf));
            assert!(matches!(select(pin!(read), pin!(settle())).await, Either::Right(_)));
        }
        assert!((256 * 1024..500_000).contains(&accepted), "{accepted}");
        let peak = meter.peak();
        println!(
            "10,016 KeyUpdates and {accepted} bytes for a peer that never reads: {peak} bytes of heap, may be {SENDING}"
        );
        assert!(peak <= SENDING, "{peak} bytes of heap");
        // It begins to read after all.
        attacker.said.set_capacity(CAPACITY);
        stream.flush().await.unwrap();
        assert!(attacker.hear().unwrap() == data[..accepted]);
        let wire = attacker.peer.say(b"still there");
        attacker.send(&wire).await;
        let mut got = [0; 11];
        stream.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"still there");
    });
}

#[test]
// rustls 0.23 asserts in debug builds that it has not yet sent an alert of any kind.
#[cfg_attr(debug_assertions, should_panic(expected = "sent_fatal_alert"))]
fn point_13_garbage_after_our_own_close_is_an_error() {
    run(async {
        let (mut stream, mut attacker, _) = connected().await;
        stream.close().await.unwrap();
        attacker.end.write_all(&record(APPLICATION, &[0x5A; 64])).await.unwrap();
        let error = stream.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(named(&error), &Error::DecryptError);
    });
}
