//! Sealers that break the contract of `Seal`: every wrong answer ends in an error, never in a loop,
//! a panic or an unreported loss.
#![allow(clippy::disallowed_methods)] // the start of virtual time

use std::cell::Cell;
use std::io::{ErrorKind, IoSlice};
use std::time::Instant;

use proptest::prelude::*;
use tls_cork::{CorkConfig, CorkPolicy, MAX_RECORD_SIZE, SealError, SendFlags, TransmitError, WriteError};
use tls_cork_testing::liar::{self, Liar, Lie, Method, OF_TRANSMIT, Script};

/// Writes 100 bytes over a sealer that always gives this wrong answer.
fn written(method: Method, lie: Lie) -> CorkPolicy<Liar> {
    let liar = Liar::new(true, Script::Always(method, lie));
    let mut policy = CorkPolicy::new(liar, CorkConfig::default()).expect("a valid configuration");
    let written = policy.write(Instant::now(), &[IoSlice::new(&[7; 100])], SendFlags::NONE);
    // A write of more than a record is sealed in the call.
    match written {
        Ok(written) => assert!(written.accepted <= 100 && written.decision.is_flush()),
        Err(error) => assert_eq!(error, WriteError::Failed),
    }
    policy
}

/// Transmits to a transport that takes everything, or that fails with this kind of error.
fn transmit(policy: &mut CorkPolicy<Liar>, error: Option<ErrorKind>) -> Result<usize, TransmitError> {
    let mut calls = 0;
    let done = policy.transmit_with(|bufs, _more| {
        calls += 1;
        assert!(calls < 1000, "a loop without an end");
        error.map_or_else(|| Ok(bufs.iter().map(|buf| buf.len()).sum()), |kind| Err(kind.into()))
    });
    done.map(|done| done.bytes)
}

/// Checks that the policy has given the sealer up: the error names the fault, and further transmits
/// return it again.
fn given_up(policy: &mut CorkPolicy<Liar>, done: Result<usize, TransmitError>, lost: usize, what: &str) {
    match done {
        Err(TransmitError::Seal { error: SealError::Contract(did), discarded }) => {
            assert_eq!(discarded, lost, "{what}: {did}");
        }
        other => panic!("{what}: {other:?}"),
    }
    assert!(policy.is_write_closed() && policy.is_finished() && !policy.wants_transmit(), "{what}");
    assert_eq!(policy.lost_bytes(), lost, "{what}");
    for _ in 0..2 {
        let again = policy.transmit_with(|_, _| panic!("nothing more may leave"));
        assert!(matches!(again, Err(TransmitError::Seal { error: SealError::Contract(_), discarded: 0 })), "{what}");
    }
}

#[test]
fn a_transmit_that_lies_is_given_up() {
    for lie in OF_TRANSMIT.iter().chain(&[Lie::Endless]) {
        let mut policy = written(Method::Transmit, *lie);
        let of_errors = matches!(lie, Lie::HidesError | Lie::ChangesError(_));
        let done = transmit(&mut policy, of_errors.then_some(ErrorKind::ConnectionReset));
        given_up(&mut policy, done, 100, &format!("{lie:?}"));
    }
}

#[test]
fn answers_that_are_always_wrong_are_given_up() {
    // The sealer reports output before there is any, and none when there is some.
    let liar = Liar::new(true, Script::Always(Method::HasOutput, Lie::Opposite));
    let mut policy = CorkPolicy::new(liar, CorkConfig::default()).unwrap();
    assert!(policy.wants_transmit());
    let done = transmit(&mut policy, None);
    given_up(&mut policy, done, 0, "output that is not there");
    let mut policy = written(Method::HasOutput, Lie::Opposite);
    let done = transmit(&mut policy, None);
    given_up(&mut policy, done, 0, "output that is hidden, of a write that was refused");
    // The sealer always reports control output.
    let mut policy = written(Method::HasControl, Lie::Opposite);
    let done = transmit(&mut policy, None);
    given_up(&mut policy, done, 0, "a control message without end");
}

#[test]
fn output_that_disappears_is_lost_with_a_word() {
    let (mut gone, mut whole) = (0, 0);
    for answers in 0..20 {
        let mut liar = Liar::new(true, Script::After(Cell::new(answers), Method::HasOutput, Lie::Opposite));
        liar.record_size = MAX_RECORD_SIZE;
        let mut policy = CorkPolicy::new(liar, CorkConfig::default()).unwrap();
        let _ = policy.write(Instant::now(), &[IoSlice::new(&[7; 500])], SendFlags::NONE).unwrap();
        let mut arrived = 0;
        let done = policy.transmit_with(|bufs, _more| {
            let offered = bufs.iter().map(|buf| buf.len()).sum();
            arrived += offered;
            Ok(offered)
        });
        let lost = if arrived < 500 { 500 } else { 0 };
        match done {
            Ok(done) => assert_eq!((done.bytes, lost), (500, 0)),
            // All bytes in flight count as lost: it is unknown how many of them have arrived.
            Err(TransmitError::Seal { error: SealError::Contract(_), discarded }) => {
                assert!(discarded == lost || discarded == 500, "{answers}: {discarded}");
            }
            Err(error) => panic!("{answers}: {error}"),
        }
        gone += usize::from(lost > 0);
        whole += usize::from(lost == 0);
    }
    assert!(gone > 0 && whole > 0, "{gone} {whole}");
}

#[test]
fn counts_of_records_that_cannot_be_are_given_up() {
    for records in [101, usize::MAX / 64, usize::MAX] {
        let mut policy = written(Method::Seal, Lie::Records(records));
        let done = transmit(&mut policy, None);
        given_up(&mut policy, done, 0, "of a write that was refused");
        let liar = Liar::new(true, Script::Always(Method::Seal, Lie::Records(records)));
        let mut policy = CorkPolicy::new(liar, CorkConfig::default()).unwrap();
        let _ = policy.write(Instant::now(), &[IoSlice::new(&[7; 10])], SendFlags::NONE).unwrap();
        let done = transmit(&mut policy, None);
        given_up(&mut policy, done, 10, "of a write that waited");
    }
}

#[test]
fn a_record_size_of_zero_is_refused_and_one_without_limit_is_ours() {
    let with = |size| {
        let mut liar = Liar::new(true, Script::Always(Method::Seal, Lie::Truth));
        liar.record_size = size;
        CorkPolicy::new(liar, CorkConfig::default())
    };
    let text = with(0).unwrap_err().to_string();
    assert!(text.contains("max_record_size") && text.contains("0 bytes"), "{text}");
    let mut policy = with(usize::MAX).unwrap();
    let data = vec![7; MAX_RECORD_SIZE + 1];
    let _ = policy.write(Instant::now(), &[IoSlice::new(&data)], SendFlags::NONE).unwrap();
    assert_eq!(transmit(&mut policy, None).unwrap(), data.len());
    assert_eq!(policy.stats().records, 2);
}

#[test]
fn keys_are_there_for_good() {
    let liar = Liar::new(true, Script::Always(Method::Seal, Lie::Truth));
    let ready = liar.ready.clone();
    let mut policy = CorkPolicy::new(liar, CorkConfig::default()).unwrap();
    let _ = policy.write(Instant::now(), &[IoSlice::new(&[7; 10])], SendFlags::NONE).unwrap();
    ready.set(false);
    assert_eq!(transmit(&mut policy, None).unwrap(), 10);
}

#[test]
fn what_was_taken_before_a_lie_is_not_lost() {
    for lie in [Lie::Unasked(0), Lie::FailsUnasked(ErrorKind::Other), Lie::Adds] {
        let mut liar = Liar::new(true, Script::After(Cell::new(1), Method::Transmit, lie));
        liar.offer = 40;
        let mut policy = CorkPolicy::new(liar, CorkConfig::default()).unwrap();
        let _ = policy.write(Instant::now(), &[IoSlice::new(&[7; 50])], SendFlags::NONE).unwrap();
        let taken = policy.take_transmit().unwrap().expect("what it gave before");
        assert_eq!(taken.data.len(), if lie == Lie::Adds { 50 } else { 40 }, "{lie:?}");
        assert!(policy.wants_transmit());
        let told = policy.take_transmit().map(|_| 0);
        given_up(&mut policy, told, 50, &format!("{lie:?}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_lie_is_a_loop_a_panic_or_a_loss_without_a_word(
        ready in any::<bool>(), ops in prop::collection::vec(any::<(u8, u8)>(), 1..40), lies in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        liar::run(ready, &ops, &lies);
    }
}
