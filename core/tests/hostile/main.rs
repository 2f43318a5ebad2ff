//! Hostile peers. Each attack ends in a named error, or the session keeps working. In both cases
//! memory stays within a bound that follows from the configuration.
//!
//! `cargo test -p tls-cork --test hostile -- --nocapture` prints a table of all attacks.
#![allow(clippy::disallowed_methods)] // the start of virtual time

mod before_keys;
mod records;
mod sending;
mod victim;

use std::sync::atomic::Ordering;
use std::thread;

use victim::AHEAD;

/// The result of an attack.
struct Row {
    /// The version and the side of the end that was attacked.
    who: String,
    outcome: String,
    /// The peak of heap memory beyond that of the session before the attack, in bytes; `bound` is
    /// the most that is allowed.
    peak: usize,
    bound: usize,
}

type Attack = (&'static str, fn() -> Vec<Row>);

#[test]
fn every_attack_ends_in_a_named_error_or_is_withstood_in_bounded_memory() {
    let attacks: Vec<Attack> = [before_keys::ATTACKS, records::ATTACKS, sending::ATTACKS].concat();
    let mut failed = Vec::new();
    for ahead in [false, true] {
        AHEAD.store(ahead, Ordering::Relaxed);
        println!("\n{}", if ahead { "read ahead from a transport" } else { "received from slices" });
        run(&attacks, &mut failed);
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn run(attacks: &[Attack], failed: &mut Vec<String>) {
    println!("{:44} | {:14} | {:>9} | {:>7} | outcome", "attack", "victim", "peak heap", "bound");
    for &(name, attack) in attacks {
        // Each attack runs in a thread of its own, so that a panic does not stop the others.
        let Ok(rows) = thread::spawn(attack).join() else {
            failed.push(format!("{name}: see above"));
            continue;
        };
        for Row { who, outcome, peak, bound } in rows {
            println!("{name:44} | {who:14} | {peak:>9} | {bound:>7} | {outcome}");
            if peak > bound {
                failed.push(format!("{name}, {who}: {peak} bytes of heap, may be {bound}"));
            }
        }
    }
}
