//! Transports that take little, push back or fail, and sessions that do.

mod support;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Events, Poll};
use rustls::crypto::aws_lc_rs;
use rustls::{CipherSuite, SupportedCipherSuite, Tls12CipherSuite};
use socket2::{Domain, Socket, Type};
use support::memory::{Endless, endless};
use support::{APPLICATION_DATA, BOTH, CLIENT, Pair, Step, Watch, drain, patient, send_some};
use tls_cork::{CorkConfig, SendFlags, TransmitError};
use tls_cork_mio::TlsStream;
use tls_cork_testing::content::noise;
use tls_cork_testing::sessions::{configs, name};

#[test]
fn point_8_a_full_buffer_would_block_and_does_not_spin() {
    let limit = 256 * 1024;
    let mut pair = Pair::connected(CorkConfig::default().send_buffer_limit(limit));
    let data = noise(64 << 20, 5);
    let mut sent = 0;
    loop {
        let (before, calls) = (sent, pair.client.get_ref().calls);
        send_some(&mut pair.client, &data, &mut sent);
        let events = pair.poll_for(Duration::from_millis(50)).unwrap();
        if sent == before && events == 0 && pair.client.get_ref().calls == calls {
            break;
        }
    }
    assert!(sent < data.len());
    assert!(pair.client.connection().waiting() <= limit);
    let calls = pair.client.get_ref().calls;
    for _ in 0..100 {
        assert_eq!(pair.client.send(&data[sent..], SendFlags::NONE).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(pair.client.flush().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(pair.client.get_ref().calls, calls);
    assert!(pair.server_gets(sent) == data[..sent]);
    assert!(pair.client.send(&data[sent..], SendFlags::NONE).unwrap() > 0);
}

#[test]
fn point_7_short_sends_and_interruptions_lose_nothing() {
    let mut pair = Pair::fresh(CorkConfig::default(), None);
    let steps = [Step::Take(1), Step::Interrupted, Step::WouldBlock, Step::Take(3), Step::Take(700)];
    let script: VecDeque<Step> = steps.into_iter().cycle().take(1000).collect();
    for stream in [&mut pair.client, &mut pair.server] {
        stream.get_mut().sends = script.clone();
        stream.get_mut().reads = script.clone();
    }
    let mut pair = pair.shake_hands();
    let data = noise(300_000, 6);
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < data.len() {
        send_some(&mut pair.client, &data, &mut sent);
        assert!(!drain(&mut pair.server, &mut got).unwrap());
        if got.len() < data.len() {
            pair.poll_for(Duration::from_millis(1)).unwrap();
        }
    }
    assert!(got == data);
    assert!(pair.client.get_ref().sends.is_empty());
}

#[test]
fn point_7_a_retry_may_bring_other_bytes() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Take(10), Step::WouldBlock].into();
    assert_eq!(pair.client.write(b"first").unwrap(), 5);
    assert!(pair.client.wants_transmit());
    assert_eq!(pair.client.write(b" second").unwrap(), 7);
    assert_eq!(pair.client.write(b" third").unwrap(), 6);
    assert_eq!(pair.server_gets(18), b"first second third");
    // Late sealing: what came while the first record waited shares one.
    assert_eq!(pair.client.get_ref().records, [APPLICATION_DATA; 2]);
}

#[test]
fn a_send_of_zero_bytes_is_an_error() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Zero, Step::Zero].into();
    // The bytes are accepted; the error comes with the next call.
    assert_eq!(pair.client.write(b"lost").unwrap(), 4);
    assert_eq!(pair.client.flush().unwrap_err().kind(), ErrorKind::WriteZero);
}

#[test]
fn a_reset_while_sending_is_told() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Reset; 3].into();
    assert_eq!(pair.client.write(b"lost").unwrap(), 4);
    assert_eq!(pair.client.before_poll().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(pair.client.flush().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_close_that_tells_an_earlier_failure_closes() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Zero].into();
    assert_eq!(pair.client.write(b"waits").unwrap(), 5);
    assert_eq!(pair.client.close().unwrap_err().kind(), ErrorKind::WriteZero);
    assert_eq!(pair.client.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    pair.client.before_poll().unwrap();
    assert!(pair.client.is_finished());
    assert_eq!(pair.server_gets_all().unwrap(), b"waits");
}

#[test]
fn a_reset_while_receiving_is_told() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.client.write(b"x").unwrap(), 1);
    pair.server.get_mut().reads = [Step::Interrupted, Step::Reset].into();
    assert_eq!(pair.server_gets_all().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// A TLS 1.2 suite whose keys are good for a few records.
fn short_lived_suite() -> SupportedCipherSuite {
    let suite = aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let SupportedCipherSuite::Tls12(suite) = suite else { panic!("not TLS 1.2") };
    let mut copy = Tls12CipherSuite { common: rustls::crypto::CipherSuiteCommon { ..suite.common }, ..*suite };
    assert_eq!(copy.common.suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    copy.common.confidentiality_limit = 8;
    SupportedCipherSuite::Tls12(Box::leak(Box::new(copy)))
}

#[test]
fn point_10_used_up_keys_are_told() {
    let mut pair = Pair::fresh(CorkConfig::default(), Some(short_lived_suite())).shake_hands();
    let mut outcome = Ok(0);
    for _ in 0..100 {
        outcome = pair.client.write(b"record");
        if outcome.is_err() {
            break;
        }
    }
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    assert!(error.to_string().contains("keys are used up"), "{error}");
}

#[test]
fn what_the_peer_said_last_is_read_although_sending_fails() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.server.write(b"refused: and why").unwrap(), 16);
    pair.client.get_mut().sends = [Step::Reset; 100].into();
    assert_eq!(pair.client.write(b"request").unwrap(), 7, "an error of the transport comes one call late");
    let mut got = Vec::new();
    while got.len() < 16 {
        pair.watch.tick();
        // No `before_poll`: that is where the error is told.
        pair.poll.poll(&mut pair.events, Some(Duration::from_millis(100))).unwrap();
        for event in pair.events.iter().filter(|event| event.token() == CLIENT) {
            pair.client.handle_event(event).unwrap();
        }
        drain(&mut pair.client, &mut got).unwrap();
    }
    assert_eq!(got, b"refused: and why");
    assert_eq!(pair.client.before_poll().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_dead_socket_is_told_by_the_second_send() {
    let mut pair = Pair::connected(CorkConfig::default());
    pair.client.get_mut().sends = [Step::Reset; 100].into();
    assert_eq!(pair.client.write(b"one").unwrap(), 3);
    for _ in 0..3 {
        assert_eq!(pair.client.write(b"two").unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(pair.client.write(b"three").unwrap(), 5);
    }
}

#[test]
fn a_refused_connection_is_told_as_such() {
    // Bound, so that nobody else gets the port, and not listening.
    let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    deaf.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = deaf.local_addr().unwrap().as_socket().unwrap();
    let mut poll = Poll::new().unwrap();
    let mut stream =
        TlsStream::client(TcpStream::connect(address).unwrap(), configs(None).0, name(), CorkConfig::default())
            .unwrap();
    poll.registry().register(&mut stream, CLIENT, BOTH).unwrap();
    let mut events = Events::with_capacity(4);
    let mut watch = Watch::new();
    let error = loop {
        watch.tick();
        poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        if let Some(error) = events.iter().find_map(|event| stream.handle_event(event).err()) {
            break error;
        }
        match stream.read(&mut [0; 8]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn broken_tls_is_said_again() {
    let mut pair = Pair::connected(CorkConfig::default());
    assert_eq!(pair.client.get_mut().socket.write(&[0x5A; 100]).unwrap(), 100);
    let first = pair.server_gets_to_the_end().1.unwrap_err();
    assert_eq!(first.kind(), ErrorKind::InvalidData);
    for _ in 0..3 {
        assert_eq!(pair.server.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}

#[test]
fn flush_and_close_do_not_hide_what_a_failure_cost() {
    let mut pair = Pair::connected(patient().flush_on_read_wait(false));
    assert_eq!(pair.server.send(b"held", SendFlags::MORE).unwrap(), 4);
    assert_eq!(pair.client.get_mut().socket.write(&[0x5A; 100]).unwrap(), 100);
    let error = pair.server_gets_to_the_end().1.unwrap_err();
    assert!(error.to_string().contains("4 bytes that were accepted are lost"), "{error}");
    for _ in 0..2 {
        assert_eq!(pair.server.flush().unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(pair.server.close().unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

/// Something that a stream is asked to do.
type Call = fn(&mut TlsStream<Endless>) -> io::Result<()>;

const SENDING_CALLS: [(&str, Call); 9] = [
    ("send", |stream| stream.send(b"x", SendFlags::NONE).map(drop)),
    ("send_vectored", |stream| stream.send_vectored(&[IoSlice::new(b"x")], SendFlags::NONE).map(drop)),
    ("send_bytes", |stream| stream.send_bytes(&mut Bytes::from_static(b"x"), SendFlags::NONE).map(drop)),
    ("send_all_bytes", |stream| stream.send_all_bytes(&mut Bytes::from_static(b"x"), SendFlags::NONE)),
    ("flush", |stream| stream.flush()),
    ("uncork", |stream| stream.uncork()),
    ("before_poll", |stream| stream.before_poll().map(drop)),
    ("handle_timeout", |stream| stream.handle_timeout()),
    ("close", |stream| stream.close()),
];

#[test]
fn an_error_of_the_operating_system_comes_through_unchanged() {
    /// EPIPE and ECONNRESET have kinds of their own, EHOSTUNREACH and EMSGSIZE by their number alone.
    const CODES: [i32; 4] = [32, 104, 113, 90];
    for code in CODES {
        for (name, call) in SENDING_CALLS {
            let (mut stream, _peer) = endless(patient());
            assert_eq!(stream.send(b"held", SendFlags::MORE).unwrap(), 4);
            stream.get_mut().fails = Some(code);
            // The bytes of a send are accepted: its error is returned by the next call.
            let error = call(&mut stream).and_then(|()| call(&mut stream)).and_then(|()| stream.flush()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code), "{name}: {error}");
        }
        let (mut stream, _peer) = endless(patient());
        stream.get_mut().fails = Some(code);
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(code), "read: {error}");
    }
}

#[test]
fn a_transport_that_reports_more_than_it_was_offered_ends_the_stream() {
    for (name, call) in SENDING_CALLS {
        let (mut stream, _peer) = endless(patient());
        assert_eq!(stream.send(b"held", SendFlags::MORE).unwrap(), 4);
        stream.get_mut().surplus = 50;
        let error = call(&mut stream).and_then(|()| stream.flush()).unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(TransmitError::Overrun { .. })), "{name}: {error:?}");
        let sends = stream.get_ref().sends;
        assert!(stream.send(b"x", SendFlags::NONE).is_err() && stream.flush().is_err() && stream.close().is_err());
        assert_eq!(stream.get_ref().sends, sends, "{name}: more was offered");
    }
}
