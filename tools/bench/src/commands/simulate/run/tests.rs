use super::*;
use crate::commands::simulate::policies::RECORD_OVERHEAD;
use crate::commands::simulate::trace::{Write, built_in};

fn path(rtt_ms: u64, mbit_per_s: u64) -> Path {
    Path { rtt: Duration::from_millis(rtt_ms), bits_per_s: mbit_per_s * 1_000_000 }
}

fn pattern(name: &str) -> Trace {
    built_in().into_iter().find(|trace| trace.name == name).expect("a pattern")
}

/// Writes of `(milliseconds, bytes, more)`.
fn trace(writes: &[(u64, usize, bool)]) -> Trace {
    let write = |&(ms, len, more): &(u64, usize, bool)| Write { time: Duration::from_millis(ms), len, more };
    Trace { name: "test", writes: writes.iter().map(write).collect() }
}

fn first_usable_ns(kind: Kind, trace: &Trace, path: Path) -> u128 {
    run(trace, kind, path).expect("no fault").first_usable.expect("it arrives").as_nanos()
}

/// First anchor: a full record at 100 ms and 10 Mbit/s.
///
/// 16,384 + 22 = 16,406 bytes are 11 segments of 1,448 and one of 478: 12, and the initial window has 10. Two
/// more may leave when the acknowledgement of the first two is there. A full segment takes (1,448 + 90) × 8 bits / 10 Mbit/s
/// = 1.2304 ms of the link, the last (478 + 90) × 8 / 10 Mbit/s = 0.4544 ms.
///
/// ```text
/// segments 1 and 2 are through          2 × 1.2304 =   2.4608
/// they arrive                                +  50 =  52.4608
/// their acknowledgement is there             +  50 = 102.4608
/// segments 11 and 12 are through   + 1.2304 + 0.4544 = 104.1456   (the link has been free since 12.304)
/// they arrive                                +  50 = 154.1456
/// ```
#[test]
fn a_16_kib_record_takes_a_second_round_trip() {
    let record = trace(&[(0, 16_384, false)]);
    for kind in [Kind::Cork, Kind::Immediate, Kind::FullCork] {
        assert_eq!(first_usable_ns(kind, &record, path(100, 10)), 154_145_600, "{kind}");
    }
    // With more behind it the 12th segment is full as well: 102.4608 + 2 × 1.2304 + 50.
    let page = trace(&[(0, 204_800, false)]);
    assert_eq!(first_usable_ns(Kind::Cork, &page, path(100, 10)), 154_921_600);
    // At 1 Gbit/s a hundredth of the link's part: 150 + 0.041456.
    assert_eq!(first_usable_ns(Kind::Cork, &record, path(100, 1000)), 150_041_456);
}

/// Second anchor: a record of 1,369 + 22 = 1,391 bytes is within the first segment.
///
/// On its own it takes (1,391 + 90) × 8 bits / 10 Mbit/s = 1.1848 ms and 50 ms; with more behind it the segment is
/// full, and that is 1.2304 ms and 50 ms.
#[test]
fn a_1369_byte_record_takes_half_a_round_trip() {
    for kind in [Kind::CorkSmall, Kind::CorkDynamic] {
        let one = trace(&[(0, 1369, false)]);
        assert_eq!(first_usable_ns(kind, &one, path(100, 10)), 51_184_800, "{kind}");
        let page = trace(&[(0, 204_800, false)]);
        assert_eq!(first_usable_ns(kind, &page, path(100, 10)), 51_230_400, "{kind}");
        assert_eq!(first_usable_ns(kind, &page, path(100, 1000)), 50_012_304, "{kind}");
    }
}

/// How many records of which kind a page makes: 200 KiB are 12.5 records of 16 KiB, or 149.6 of 1,369 bytes.
#[test]
fn records_are_as_large_as_the_policy_says() {
    let page = pattern("page-static");
    let records = |kind| run(&page, kind, path(100, 10)).expect("no fault").records;
    assert_eq!(records(Kind::Cork), 13);
    assert_eq!(records(Kind::CorkSmall), 150);
    // 40 small ones are 54,760 bytes; the other 150,040 make 9.2.
    assert_eq!(records(Kind::CorkDynamic), 50);
}

#[test]
fn every_byte_arrives_once_whatever_the_policy_and_the_link() {
    for trace in built_in() {
        for kind in Kind::ALL {
            for path in [path(10, 100), path(50, 10)] {
                let outcome = run(&trace, kind, path).expect("no fault");
                let what = format!("{}, {kind}, {path:?}", trace.name);
                let total: usize = trace.writes.iter().map(|write| write.len).sum();
                assert_eq!(outcome.usable, total as u64, "{what}");
                assert_eq!(outcome.wire_bytes, outcome.usable + outcome.records * RECORD_OVERHEAD as u64, "{what}");
                assert_eq!(outcome.delays.len(), trace.writes.len(), "{what}");
                assert!(outcome.completion.is_some(), "{what}");
                assert_eq!(outcome.waiting, 0, "{what}");
            }
        }
    }
}

/// 300 bytes with MORE, and the final piece never comes. One way takes 50 ms, (322 + 90) × 8 bits / 10 Mbit/s = 0.3296 ms the link.
#[test]
fn a_final_piece_that_never_comes_costs_what_the_policy_allows() {
    let trace = trace(&[(0, 300, true)]);
    let outcome = |kind| run(&trace, kind, path(100, 10)).expect("no fault");
    let completion_ns = |kind| outcome(kind).completion.map(|time| time.as_nanos());
    assert_eq!(completion_ns(Kind::Immediate), Some(50_329_600));
    assert_eq!(completion_ns(Kind::Cork), Some(60_329_600), "10 ms of max_hold");
    assert_eq!(completion_ns(Kind::TcpCork), Some(250_329_600), "the kernel's 200 ms");
    assert_eq!(completion_ns(Kind::FullCork), None);
    assert_eq!(outcome(Kind::FullCork).usable, 0);
    assert_eq!(outcome(Kind::FullCork).waiting, 300);
    assert_eq!(outcome(Kind::Cork).longest_hold, Duration::from_millis(10));
    assert_eq!(outcome(Kind::TcpCork).longest_hold, Duration::from_millis(200));
}

/// Every 5 ms 100 bytes with MORE, the last without: 4 pieces.
#[test]
fn pieces_share_what_the_policy_lets_them_share() {
    let trace = trace(&[(0, 100, true), (5, 100, true), (12, 100, true), (14, 100, false)]);
    let shape = |kind| {
        let outcome = run(&trace, kind, path(100, 10)).expect("no fault");
        (outcome.records, outcome.packets, outcome.longest_hold.as_millis())
    };
    assert_eq!(shape(Kind::Immediate), (4, 4, 0));
    assert_eq!(shape(Kind::TcpCork), (4, 1, 14));
    assert_eq!(shape(Kind::FullCork), (1, 1, 14));
    // The deadline of 10 ms takes the first two; the others follow with the last.
    assert_eq!(shape(Kind::Cork), (2, 2, 10));
}

/// A slow link: what does not fit the send buffer waits in the process, within each policy's bounds.
#[test]
fn only_full_cork_gathers_without_bound() {
    let trace = pattern("bulk-4m");
    let peak = |kind| run(&trace, kind, path(200, 1)).expect("no fault").peak_waiting;
    // rustls takes no more than 64 KiB of ciphertext, and overshoots by the overhead of what it took.
    assert!(peak(Kind::Immediate) <= 65_536 + 4 * RECORD_OVERHEAD);
    // 256 KiB of plaintext, and a batch of at most 96 KiB with its overhead.
    for kind in [Kind::Cork, Kind::CorkDynamic, Kind::CorkSmall] {
        assert!(peak(kind) <= (256 + 96) * 1024 + 84 * RECORD_OVERHEAD, "{kind}: {}", peak(kind));
    }
    assert!(peak(Kind::FullCork) > 4_000_000);
}
