//! Attacks by peers that do not read, or that ask for answers.

use std::time::Duration;

use bytes::Bytes;
use rustls::version::{TLS12, TLS13};
use tls_cork::{SendFlags, WriteError};
use tls_cork_testing::attack::bounds::{IDLE, Limits};
use tls_cork_testing::attack::{Peer, Side};
use tls_cork_testing::sessions::Version;

use crate::victim::Victim;
use crate::{Attack, Row};

pub(crate) const ATTACKS: &[Attack] = &[
    ("10,016 KeyUpdates, answers read", key_updates_read),
    ("10,016 KeyUpdates, answers not read", key_updates_unread),
    ("a peer that never reads what is written", never_reads),
    ("the same, with small limits", never_reads_small),
    ("the same, and 10,016 KeyUpdates come in", never_reads_and_updates),
];

/// The number of rounds of 32 KeyUpdates.
const ROUNDS: usize = 313;
/// The wire bytes of an answer to a KeyUpdate: header, message, content type and tag.
const ANSWER: usize = 5 + 5 + 1 + 16;

fn key_updates_read() -> Vec<Row> {
    let (mut victim, mut peer) = Victim::connected(&TLS13, Side::Server);
    let mut answered = 0;
    for _ in 0..ROUNDS {
        let wire = peer.key_updates(32);
        assert!(victim.hear(&wire).expect("legal").is_empty());
        let answers = victim.output();
        assert!(answers.len() <= 2 * ANSWER, "{}", answers.len());
        answered += answers.len();
        peer.hear(&answers).expect("answers");
        // rustls, as the peer, counts answers too. It starts again from zero when application data
        // arrives.
        victim.works(&mut peer);
    }
    vec![victim.row(format!("works; {answered} bytes of answers"), IDLE)]
}

fn key_updates_unread() -> Vec<Row> {
    let (mut victim, mut peer) = Victim::connected(&TLS13, Side::Server);
    for _ in 0..ROUNDS {
        let wire = peer.key_updates(32);
        assert!(victim.hear(&wire).expect("legal").is_empty());
        assert!(victim.output_up_to(0).is_empty());
    }
    let answers = victim.output();
    assert!(answers.len() <= 2 * ANSWER, "{}", answers.len());
    peer.hear(&answers).expect("answers");
    victim.works(&mut peer);
    vec![victim.row(format!("works; {} bytes of answers", answers.len()), IDLE)]
}

/// Writes as much as the victim accepts, by every kind of write, to a transport that takes nothing.
/// Returns the accepted bytes.
fn write_all_there_is(victim: &mut Victim, peer: &mut Peer, limit: usize, updates: bool) -> Vec<u8> {
    let (mut accepted, mut blocked) = (Vec::new(), 0);
    for n in 0..ROUNDS {
        if updates {
            let wire = peer.key_updates(32);
            assert!(victim.hear(&wire).expect("legal").is_empty());
        }
        let data = vec![n as u8; [200_000, 1, 100, 5000, 20_000][n % 5]];
        let flags = SendFlags::more_if(n % 3 == 0);
        let result = if n % 2 == 0 {
            victim.write(&data, flags)
        } else {
            // The queue keeps these bytes, so they are allocated under the meter.
            let room = victim.conn.send_capacity().clamp(1, data.len());
            let (conn, now) = (&mut victim.conn, victim.now);
            let write = || conn.write_bytes(now, &mut Bytes::copy_from_slice(&data[..room]), flags);
            victim.meter.run(write).map(|written| written.accepted)
        };
        match result {
            Ok(taken) => accepted.extend_from_slice(&data[..taken]),
            Err(error) => {
                assert_eq!(error, WriteError::Blocked);
                blocked += 1;
            }
        }
        match n % 7 {
            0 => victim.conn.cork(victim.now),
            1 => _ = victim.conn.uncork(victim.now),
            2 => _ = victim.conn.flush(victim.now),
            _ => victim.sleep(Duration::from_millis(3)),
        }
        assert!(victim.output_up_to(0).is_empty());
        assert!(victim.conn.waiting() <= limit);
    }
    assert!(blocked > ROUNDS / 2, "{blocked}");
    accepted
}

fn withstood(version: Version, limits: Limits, updates: bool) -> Row {
    let (mut victim, mut peer) = Victim::connected_with(version, Side::Server, limits);
    // Batches grow while the peer still reads, so that the last of them has the maximum size.
    for _ in 0..4 {
        victim.write(&[1; 200_000], SendFlags::NONE).expect("room");
        peer.hear(&victim.output()).expect("content");
    }
    let accepted = write_all_there_is(&mut victim, &mut peer, limits.send_buffer, updates);
    let outcome = format!("Blocked after {} bytes; all of them arrive later", accepted.len());
    let row = victim.row(outcome, limits.sending());
    // The peer begins to read after all.
    let _ = victim.conn.uncork(victim.now);
    let wire = victim.output();
    assert!(peer.hear(&wire).expect("content") == accepted);
    victim.works(&mut peer);
    row
}

fn never_reads() -> Vec<Row> {
    [&TLS12, &TLS13].map(|version| withstood(version, Limits::DEFAULT, false)).into()
}

fn never_reads_small() -> Vec<Row> {
    [&TLS12, &TLS13].map(|version| withstood(version, Limits::SMALL, false)).into()
}

fn never_reads_and_updates() -> Vec<Row> {
    vec![withstood(&TLS13, Limits::DEFAULT, true), withstood(&TLS13, Limits::SMALL, true)]
}
