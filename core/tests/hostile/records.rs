//! Attacks with the records of an established session, most of which are genuine.

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, HandshakeType, InvalidMessage, PeerMisbehaved};
use tls_cork::{ReceiveError, SendFlags};
use tls_cork_testing::attack::bounds::{GATHERING, IDLE, READ_AHEAD};
use tls_cork_testing::attack::{ALERT, APPLICATION, HANDSHAKE, KEY_UPDATES_MAX, Peer, Side, record};
use tls_cork_testing::sessions::Version;

use crate::victim::Victim;
use crate::{Attack, Row};

pub(crate) const ATTACKS: &[Attack] = &[
    ("a length field of 65,535, mid-session", long_length),
    ("noise, mid-session", noise),
    ("a forged record", forged),
    ("a genuine record that is too long", oversize),
    ("a genuine record of the greatest length", largest),
    ("a genuine record of nothing but padding", padding),
    ("empty records", empty),
    ("an empty record before each byte", mostly_empty),
    ("100,000 records of one byte", crumbs),
    ("content that the application does not read", unread),
    ("KeyUpdates in a row", key_updates_in_a_row),
    ("renegotiation, asked for once", renegotiation_once),
    ("renegotiation, asked for again", renegotiation_twice),
    ("a ClientHello in TLS 1.3", late_hello),
    ("a record full of empty handshake messages", empty_messages),
    ("a handshake message in records of one byte", message_in_crumbs),
    ("10,000 session tickets", tickets),
    ("warning alerts", warnings),
    ("records after the peer's close_notify", after_their_close),
    ("records after our close_notify", after_our_close),
];

const BOTH: [Version; 2] = [&TLS12, &TLS13];

fn connected(version: Version) -> (Victim, Peer) {
    Victim::connected(version, Side::Server)
}

/// The attack, in each version, in which the peer sends the bytes of `say`.
fn ends(say: impl Fn(&mut Peer) -> Vec<u8>, error: impl Into<Error>, alert: Option<AlertDescription>) -> Vec<Row> {
    let error = error.into();
    let attacked = |version| {
        let (mut victim, mut peer) = connected(version);
        victim.works(&mut peer);
        let wire = say(&mut peer);
        victim.ends(&mut peer, &wire, error.clone(), alert)
    };
    BOTH.map(attacked).into()
}

fn long_length() -> Vec<Row> {
    let wire = [&[APPLICATION, 3, 3, 0xff, 0xff][..], &[0; 1 << 16]].concat();
    ends(|_| wire.clone(), InvalidMessage::MessageTooLarge, Some(AlertDescription::DecodeError))
}

fn noise() -> Vec<Row> {
    ends(|_| vec![0x5A; 1 << 20], InvalidMessage::InvalidContentType, Some(AlertDescription::DecodeError))
}

fn forged() -> Vec<Row> {
    let wire = record(APPLICATION, &[0x5A; 18_431]);
    ends(|_| wire.clone(), Error::DecryptError, Some(AlertDescription::BadRecordMac))
}

fn oversize() -> Vec<Row> {
    let overflow = Some(AlertDescription::RecordOverflow);
    let one_more = ends(|peer| peer.forge(APPLICATION, &[], 16_385), Error::PeerSentOversizedRecord, overflow);
    let much_more = ends(|peer| peer.forge(APPLICATION, &[1], 18_000), Error::PeerSentOversizedRecord, overflow);
    one_more.into_iter().chain(much_more).collect()
}

fn largest() -> Vec<Row> {
    let attacked = |version| {
        let (mut victim, mut peer) = connected(version);
        let wire = peer.forge(APPLICATION, &[], 16_384);
        assert!(victim.hear(&wire).expect("legal") == [0; 16_384]);
        victim.works(&mut peer);
        victim.row("works", IDLE)
    };
    BOTH.map(attacked).into()
}

fn padding() -> Vec<Row> {
    let (mut victim, mut peer) = connected(&TLS13);
    victim.works(&mut peer);
    let wire = peer.forge(0, &[], 16_000);
    let error = PeerMisbehaved::IllegalTlsInnerPlaintext.into();
    vec![victim.ends(&mut peer, &wire, error, None)]
}

fn empty() -> Vec<Row> {
    let say = |peer: &mut Peer| peer.forge(APPLICATION, &[], 0);
    ends(|peer| (0..10_000).flat_map(|_| say(peer)).collect(), PeerMisbehaved::TooManyEmptyFragments, None)
}

fn mostly_empty() -> Vec<Row> {
    let attacked = |version| {
        let (mut victim, mut peer) = connected(version);
        for n in 0..10_000u16 {
            let mut wire: Vec<u8> = (0..n % 33).flat_map(|_| peer.forge(APPLICATION, &[], 0)).collect();
            wire.extend(peer.say(&[n as u8]));
            assert_eq!(victim.hear(&wire).expect("legal"), [n as u8]);
        }
        victim.works(&mut peer);
        victim.row("works", IDLE)
    };
    BOTH.map(attacked).into()
}

fn crumbs() -> Vec<Row> {
    let attacked = |version| {
        let (mut victim, mut peer) = connected(version);
        let wire: Vec<u8> = (0..100_000u32).flat_map(|n| peer.say(&[n as u8])).collect();
        let got = victim.hear(&wire).expect("legal");
        assert!(got.iter().copied().eq((0..100_000u32).map(|n| n as u8)));
        victim.row("works", IDLE)
    };
    BOTH.map(attacked).into()
}

fn unread() -> Vec<Row> {
    let attacked = |version| {
        let (mut victim, mut peer) = connected(version);
        let wire = peer.say(&vec![7; 1 << 20]);
        let mut taken = 0;
        for _ in 0..1000 {
            taken += victim.receive(&wire[taken..]).expect("legal");
        }
        let most = if victim.ahead { READ_AHEAD } else { 16_384 + 2048 + 5 };
        assert!(!victim.conn.wants_receive() && taken <= most, "{taken}");
        assert!(victim.hear(&wire[taken..]).expect("legal") == vec![7; 1 << 20]);
        victim.row(format!("works; {taken} bytes of a megabyte were taken"), IDLE)
    };
    BOTH.map(attacked).into()
}

fn key_updates_in_a_row() -> Vec<Row> {
    let (mut victim, mut peer) = connected(&TLS13);
    let fine = peer.key_updates(KEY_UPDATES_MAX - 1);
    assert!(victim.hear(&fine).expect("legal").is_empty());
    let answers = victim.output();
    assert!(!answers.is_empty() && answers.len() < 100, "one answer is enough: {}", answers.len());
    peer.hear(&answers).expect("an answer");
    let mut flood = Vec::new();
    for _ in 0..10_000 {
        peer.0.refresh_traffic_keys().expect("TLS 1.3");
        flood.extend(peer.output());
    }
    // The first of them is still answered.
    let held = victim.write(b"held", SendFlags::MORE).expect("room");
    match victim.hear(&flood) {
        Err(ReceiveError::Tls { error, discarded, .. }) => {
            assert_eq!((error, discarded), (PeerMisbehaved::TooManyKeyUpdateRequests.into(), held));
        }
        other => panic!("{other:?}"),
    }
    assert!(victim.output().len() < 100);
    for _ in 0..2 {
        assert!(matches!(victim.hear(&flood), Err(ReceiveError::Tls { .. })), "said again");
    }
    vec![victim.row("PeerMisbehaved(TooManyKeyUpdateRequests), no alert", IDLE)]
}

/// Returns a message that asks for a new handshake in TLS 1.2: a HelloRequest from a server, a
/// ClientHello from a client.
fn asks_to_renegotiate(side: Side) -> (Victim, Peer, Vec<u8>) {
    let (mut victim, mut peer) = Victim::fresh(&TLS12, side);
    let hello = match side {
        Side::Client => vec![0, 0, 0, 0],
        Side::Server => {
            let wire = peer.output();
            victim.hear(&wire).expect("a hello");
            wire[5..].to_vec()
        }
    };
    victim.shake_hands(&mut peer).expect("an honest handshake");
    victim.meter.reset();
    (victim, peer, hello)
}

fn renegotiation_once() -> Vec<Row> {
    let attacked = |side| {
        let (mut victim, mut peer, hello) = asks_to_renegotiate(side);
        victim.write(b"held", SendFlags::MORE).expect("room");
        let wire = peer.forge(HANDSHAKE, &hello, 0);
        victim.hear(&wire).expect("refused, and no more than that");
        let refusal = victim.output();
        assert_eq!(refusal[0], ALERT);
        peer.hear(&refusal).expect("a warning");
        assert_eq!(victim.conn.waiting(), 4, "what was held still is");
        victim.works(&mut peer);
        victim.row("works, alert NoRenegotiation", IDLE)
    };
    vec![attacked(Side::Client), attacked(Side::Server)]
}

fn renegotiation_twice() -> Vec<Row> {
    let attacked = |side| {
        let (mut victim, mut peer, hello) = asks_to_renegotiate(side);
        let wire = peer.forge(HANDSHAKE, &hello, 0);
        victim.hear(&wire).expect("refused, and no more than that");
        peer.hear(&victim.output()).expect("a warning");
        let wire: Vec<u8> = (0..1000).flat_map(|_| peer.forge(HANDSHAKE, &hello, 0)).collect();
        victim.ends(&mut peer, &wire, PeerMisbehaved::TooManyRenegotiationRequests.into(), None)
    };
    vec![attacked(Side::Client), attacked(Side::Server)]
}

fn late_hello() -> Vec<Row> {
    let (mut victim, mut peer) = Victim::fresh(&TLS13, Side::Server);
    let hello = peer.output();
    victim.hear(&hello).expect("a hello");
    victim.shake_hands(&mut peer).expect("an honest handshake");
    victim.meter.reset();
    let wire = peer.forge(HANDSHAKE, &hello[5..], 0);
    let error = Error::InappropriateHandshakeMessage {
        expect_types: vec![HandshakeType::KeyUpdate],
        got_type: HandshakeType::ClientHello,
    };
    vec![victim.ends(&mut peer, &wire, error, Some(AlertDescription::UnexpectedMessage))]
}

fn empty_messages() -> Vec<Row> {
    let (mut victim, mut peer) = Victim::connected(&TLS12, Side::Client);
    let wire: Vec<u8> = (0..64).flat_map(|_| peer.forge(HANDSHAKE, &[], 16_384)).collect();
    // The first HelloRequest is refused by an alert; the second is one too many.
    let outcome = victim.hear(&wire).expect_err("too many");
    let ReceiveError::Tls { error, .. } = outcome else { panic!("{outcome}") };
    assert_eq!(error, PeerMisbehaved::TooManyRenegotiationRequests.into());
    vec![victim.row(format!("{error:?}, alert NoRenegotiation"), GATHERING)]
}

fn message_in_crumbs() -> Vec<Row> {
    let (mut victim, mut peer) = Victim::connected(&TLS13, Side::Client);
    let mut wire = peer.forge(HANDSHAKE, &[4, 0, 0xff, 0xff], 0);
    wire.extend((0..0xffff).flat_map(|_| peer.forge(HANDSHAKE, &[0], 0)));
    let error = InvalidMessage::HandshakePayloadTooLarge.into();
    vec![victim.ends_within(GATHERING, &mut peer, &wire, error, None)]
}

fn tickets() -> Vec<Row> {
    const TICKET: usize = 15_000;
    // The tickets that the default session store of rustls keeps for one server name.
    const KEPT: usize = 8;
    let (mut victim, mut peer) = Victim::connected(&TLS13, Side::Client);
    // NewSessionTicket (RFC 8446, section 4.6.1): lifetime, age_add, nonce, ticket, no extensions.
    let body = [&[0, 0, 14, 16, 0, 0, 0, 0, 1, 9][..], &(TICKET as u16).to_be_bytes(), &[7; TICKET], &[0, 0]].concat();
    let message = [&[4, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    for _ in 0..10_000 {
        let wire = peer.forge(HANDSHAKE, &message, 0);
        victim.hear(&wire).expect("legal");
    }
    victim.works(&mut peer);
    let left = victim.meter.left();
    let kept = KEPT * 2 * TICKET;
    vec![victim.row(format!("works; {left} bytes are kept in the configuration's session store"), GATHERING + kept)]
}

fn warnings() -> Vec<Row> {
    // no_certificate, an old warning alert (RFC 5246, section 7.2).
    let say = |peer: &mut Peer| peer.forge(ALERT, &[1, 41], 0);
    let (mut victim, mut peer) = connected(&TLS12);
    for _ in 0..4 {
        let wire = say(&mut peer);
        victim.hear(&wire).expect("a warning");
    }
    victim.works(&mut peer);
    let wire: Vec<u8> = (0..10_000).flat_map(|_| say(&mut peer)).collect();
    let fifth = victim.ends(&mut peer, &wire, PeerMisbehaved::TooManyWarningAlertsReceived.into(), None);
    let (victim, mut peer) = connected(&TLS13);
    let wire = say(&mut peer);
    let error = Error::AlertReceived(AlertDescription::NoCertificate);
    let outlawed = victim.ends(&mut peer, &wire, error, Some(AlertDescription::DecodeError));
    vec![fifth, outlawed]
}

fn after_their_close() -> Vec<Row> {
    let attacked = |version| {
        let (mut victim, mut peer) = connected(version);
        peer.0.send_close_notify();
        let mut wire = peer.output();
        wire.extend(record(APPLICATION, b"not encrypted").repeat(10_000));
        wire.extend([0x5A; 1000]);
        assert!(victim.hear(&wire).expect("ignored").is_empty());
        for _ in 0..3 {
            assert!(victim.hear(&wire).expect("ignored").is_empty());
            assert_eq!(victim.conn.read(&mut [0; 8]).expect("the end"), 0);
        }
        // Our direction stays open.
        victim.write(b"yes", SendFlags::NONE).expect("room");
        assert_eq!(peer.hear(&victim.output()).expect("content"), b"yes");
        victim.row("ignored; we go on sending", IDLE)
    };
    BOTH.map(attacked).into()
}

/// Runs in release builds only: in debug builds rustls 0.23 asserts that it has sent no alert of
/// any kind. `rustls_pairs.rs` has that case.
fn after_our_close() -> Vec<Row> {
    if cfg!(debug_assertions) {
        return vec![Row { who: String::new(), outcome: "tried in release builds".to_owned(), peak: 0, bound: 0 }];
    }
    let attacked = |version| {
        let (mut victim, _) = connected(version);
        let _ = victim.conn.close(victim.now);
        victim.output();
        let wire = record(APPLICATION, b"not encrypted").repeat(10_000);
        for _ in 0..3 {
            match victim.hear(&wire) {
                Err(ReceiveError::Tls { error: Error::DecryptError, discarded: 0, not_tls: false }) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(victim.conn.is_finished() || victim.output().len() < 64);
        victim.row("DecryptError", IDLE)
    };
    BOTH.map(attacked).into()
}
