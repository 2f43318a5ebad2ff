//! A few seconds of the soak, from a fixed seed.

use indicatif::ProgressBar;
use tls_cork_bench::soak::{self, Fate, Fault, Operation, Pairing, SoakArgs};

#[test]
fn a_few_seconds_meet_every_operation_and_every_fault() {
    // As many streams as show every fault several times; how many that is takes no measuring.
    let args = SoakArgs { seconds: 5, quick: false, streams: 6, seed: 1, replay: None };
    let outcome = soak::measure(&args, &ProgressBar::hidden()).expect("every check");
    println!("{}", outcome.text());
    for (pairing, totals) in Pairing::ALL.into_iter().zip(&outcome.totals) {
        for operation in Operation::ALL {
            assert!(totals.count(operation) > 0, "{operation:?} with {pairing}");
        }
        assert!(totals.clean > 0, "streams with nothing wrong with {pairing}");
        assert!(totals.calls() > 1000 && totals.received.iter().all(|&bytes| bytes > 100_000), "{totals:?}");
        assert!(totals.received.iter().zip(&totals.accepted).all(|(received, accepted)| received <= accepted));
    }
    let sum = |figure: &dyn Fn(&soak::Totals) -> u64| outcome.totals.iter().map(figure).sum::<u64>();
    for fault in Fault::ALL {
        assert!(sum(&|t| t.faults.get(&fault).copied().unwrap_or(0)) > 0, "no stream with: {fault}");
    }
    assert!(sum(&|t| t.fates.get(&(Fault::BitFlip, Fate::Tls)).copied().unwrap_or(0)) > 0, "TLS errors by bit flips");
    assert!(sum(&|t| t.key_updates) > 0 && sum(&|t| t.deadlines) > 0);
    assert!(outcome.late.peak > 0);
}
