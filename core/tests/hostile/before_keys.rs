//! Attacks before keys exist, when received bytes are not authenticated.

use std::io;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, HandshakeType, InvalidMessage, PeerMisbehaved};
use tls_cork::{ReceiveError, SendFlags, WriteError};
use tls_cork_testing::attack::bounds::{GATHERING, Limits, MESSAGE_MAX};
use tls_cork_testing::attack::{CHANGE_CIPHER_SPEC, HANDSHAKE, Side, record};

use crate::victim::Victim;
use crate::{Attack, Row};

pub(crate) const ATTACKS: &[Attack] = &[
    ("another protocol", another_protocol),
    ("noise", noise),
    ("a length field of 65,535", long_length),
    ("a handshake message of 16 MiB", long_message),
    ("a handshake message in records of one byte", message_in_crumbs),
    ("a record full of empty handshake messages", empty_messages),
    ("change_cipher_spec without end", change_cipher_spec),
    ("a certificate chain of 3 MB", long_chain),
    ("a certificate chain of 60 KB", longest_chain),
    ("an end within the handshake", truncated),
    ("a handshake of one byte a second", trickled),
    ("no handshake while the application writes", silent),
];

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// The attack in which `wire` is what the peer sends first.
fn begins_with(wire: &[u8], error: Error, alert: Option<AlertDescription>) -> Vec<Row> {
    let attacked = |side| {
        let (mut victim, mut peer) = Victim::fresh(&TLS13, side);
        victim.output(); // a client's hello, which the peer does not read
        victim.ends(&mut peer, wire, error.clone(), alert)
    };
    SIDES.map(attacked).into()
}

fn another_protocol() -> Vec<Row> {
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let error = InvalidMessage::InvalidContentType.into();
    begins_with(request, error, Some(AlertDescription::DecodeError))
}

fn noise() -> Vec<Row> {
    let error = InvalidMessage::InvalidContentType.into();
    begins_with(&[0x5A; 1 << 20], error, Some(AlertDescription::DecodeError))
}

fn long_length() -> Vec<Row> {
    let wire = [&[HANDSHAKE, 3, 1, 0xff, 0xff][..], &[0; 1 << 16]].concat();
    let error = InvalidMessage::MessageTooLarge.into();
    begins_with(&wire, error, Some(AlertDescription::DecodeError))
}

fn long_message() -> Vec<Row> {
    let first = record(HANDSHAKE, &[&[1, 0xff, 0xff, 0xff][..], &[0; 16_000]].concat());
    begins_with(&first.repeat(1000), InvalidMessage::HandshakePayloadTooLarge.into(), None)
}

fn message_in_crumbs() -> Vec<Row> {
    // The longest message that is allowed. rustls keeps the headers of its records until the
    // message is complete.
    let mut wire = record(HANDSHAKE, &[1, 0, 0xff, 0xff]);
    wire.extend(record(HANDSHAKE, &[0]).repeat(0xffff));
    begins_with(&wire, InvalidMessage::HandshakePayloadTooLarge.into(), None)
}

fn empty_messages() -> Vec<Row> {
    let wire = record(HANDSHAKE, &[0; 16_384]).repeat(64);
    let attacked = |side, expect_types| {
        let error = Error::InappropriateHandshakeMessage { expect_types, got_type: HandshakeType::HelloRequest };
        let (mut victim, mut peer) = Victim::fresh(&TLS13, side);
        victim.output();
        victim.ends(&mut peer, &wire, error, Some(AlertDescription::UnexpectedMessage))
    };
    vec![
        attacked(Side::Client, vec![HandshakeType::ServerHello, HandshakeType::HelloRetryRequest]),
        attacked(Side::Server, vec![HandshakeType::ClientHello]),
    ]
}

fn change_cipher_spec() -> Vec<Row> {
    let (mut victim, mut peer) = Victim::fresh(&TLS13, Side::Server);
    // The server waits for the client's second flight.
    victim.hear(&peer.output()).expect("a hello");
    peer.hear(&victim.output()).expect("an answer");
    let wire = record(CHANGE_CIPHER_SPEC, &[1]).repeat(100_000);
    vec![victim.ends(&mut peer, &wire, PeerMisbehaved::IllegalMiddleboxChangeCipherSpec.into(), None)]
}

fn long_chain() -> Vec<Row> {
    let attacked = |version| {
        let (mut victim, mut peer) = Victim::with(version, Side::Client, 9000, Limits::DEFAULT);
        peer.hear(&victim.output()).expect("a hello");
        let flight = peer.output();
        assert!(flight.len() > 3 << 20, "{}", flight.len());
        victim.ends(&mut peer, &flight, InvalidMessage::HandshakePayloadTooLarge.into(), None)
    };
    vec![attacked(&TLS12), attacked(&TLS13)]
}

fn longest_chain() -> Vec<Row> {
    let attacked = |version| {
        let (mut victim, mut peer) = Victim::with(version, Side::Client, 150, Limits::DEFAULT);
        victim.shake_hands(&mut peer).expect("long, and legal");
        victim.works(&mut peer);
        let chain: usize = victim.conn.peer_certificates().expect("a chain").iter().map(|one| one.len()).sum();
        // Beside the buffer, the chain is there once parsed and once as the session keeps it.
        victim.row(format!("works; {chain} bytes of certificates"), GATHERING + 2 * MESSAGE_MAX)
    };
    vec![attacked(&TLS12), attacked(&TLS13)]
}

fn truncated() -> Vec<Row> {
    let attacked = |side| {
        let (mut victim, mut peer) = Victim::fresh(&TLS13, side);
        peer.hear(&victim.output()).expect("a hello, or nothing");
        victim.write(b"early", SendFlags::NONE).expect("room");
        let flight = peer.output();
        victim.hear(&flight[..flight.len() / 2]).expect("nothing wrong so far");
        for lost in [5, 0, 0] {
            match victim.conn.receive_from(victim.now, &mut io::empty()) {
                Err(ReceiveError::HandshakeEof { discarded }) => assert_eq!(discarded, lost),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(victim.write(b"x", SendFlags::NONE), Err(WriteError::Failed));
        // Output that was ready still leaves.
        assert!(victim.output().len() < 100 && victim.conn.is_finished());
        victim.row("HandshakeEof, no alert", GATHERING)
    };
    SIDES.map(attacked).into()
}

fn trickled() -> Vec<Row> {
    let attacked = |version, side| {
        let (mut victim, mut peer) = Victim::fresh(version, side);
        victim.write(b"early", SendFlags::MORE).expect("room");
        let mut seconds = 0;
        while victim.conn.is_handshaking() {
            let _ = peer.hear(&victim.output()).expect("an honest victim");
            for byte in peer.output() {
                victim.sleep(Duration::from_secs(1));
                seconds += 1;
                victim.hear(&[byte]).expect("slow, not wrong");
                assert!(!victim.conn.is_handshaking() || victim.conn.poll_timeout().is_none(), "R6");
            }
        }
        assert_eq!(peer.hear(&victim.output()).expect("content"), b"early");
        victim.works(&mut peer);
        victim.row(format!("works, after {seconds} s: no time limit but the caller's"), GATHERING)
    };
    [&TLS12, &TLS13].into_iter().flat_map(|version| SIDES.map(|side| attacked(version, side))).collect()
}

fn silent() -> Vec<Row> {
    let attacked = |side| {
        let limits = Limits::DEFAULT;
        let (mut victim, _) = Victim::fresh(&TLS13, side);
        let mut accepted = 0;
        for n in 0..10_000 {
            victim.sleep(Duration::from_secs(1));
            match victim.write(&[7; 1000], SendFlags::more_if(n % 2 == 0)) {
                Ok(taken) => accepted += taken,
                Err(error) => assert_eq!(error, WriteError::Blocked),
            }
            victim.output();
        }
        assert_eq!(accepted, limits.send_buffer);
        match victim.conn.receive_from(victim.now, &mut io::empty()) {
            Err(ReceiveError::HandshakeEof { discarded }) => assert_eq!(discarded, accepted),
            other => panic!("{other:?}"),
        }
        victim.row(format!("Blocked after {accepted} bytes; HandshakeEof says that they are lost"), limits.sending())
    };
    SIDES.map(attacked).into()
}
