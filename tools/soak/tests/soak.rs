//! Each kind of fault a few times, from a fixed seed.

use tls_cork_soak::{Fault, Pairing};

#[test]
fn a_few_rounds_meet_every_fault() {
    // Twenty streams for each pairing, two for each fault, of about a second each.
    let outcome = tls_cork_soak::run_rounds(5, 4).expect("every check");
    println!("{}", outcome.summary());
    assert_eq!(outcome.sum(|t| t.streams), 60);
    for pairing in Pairing::ALL {
        let closed = &outcome.totals[&(pairing, None)];
        assert!(closed.received == closed.accepted && closed.received > 100_000, "{pairing:?}: {closed:?}");
    }
    for fault in Fault::ALL {
        assert!(outcome.totals.keys().any(|(_, each)| *each == Some(fault)), "no stream with: {fault:?}");
    }
    assert!(outcome.totals.values().any(|t| t.results.contains_key("InvalidData")), "TLS errors by changed bits");
    assert!(outcome.sum(|t| t.key_updates) > 0 && outcome.sum(|t| t.deadlines) > 0);
    assert!(outcome.late.peak > 0);
}
