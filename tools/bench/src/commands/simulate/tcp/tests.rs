//! The model against arithmetic done by hand.
//!
//! At 10 Mbit/s a full segment takes (1,448 + 90) × 8 bits / 10 Mbit/s = 1.2304 ms of the link: `S`.
//! One direction of a round trip of 100 ms takes 50 ms.

use super::*;

const S: Duration = Duration::from_nanos(1_230_400);
const SEGMENT: u64 = MSS as u64;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn connection(lose: &[u64]) -> Tcp {
    let mut tcp = Tcp::new(Path { rtt: ms(100), bits_per_s: 10_000_000, loss: 0.0 }, 1);
    tcp.lose = lose.to_vec();
    tcp
}

/// Lets time pass until `bytes` have arrived, and says when that is.
fn arrival(tcp: &mut Tcp, bytes: u64) -> Duration {
    loop {
        let now = tcp.next_time().expect("something is under way");
        tcp.advance(now);
        if tcp.delivered() >= bytes {
            return now;
        }
    }
}

/// The times of all that happens from now on.
fn times(tcp: &mut Tcp) -> Vec<Duration> {
    std::iter::from_fn(|| {
        let now = tcp.next_time()?;
        tcp.advance(now);
        Some(now)
    })
    .collect()
}

#[test]
fn a_segment_takes_its_time_on_the_link() {
    let tcp = connection(&[]);
    assert_eq!(tcp.path.serialisation(MSS), S);
    // (120 + 90) × 8 / 10^7 = 168 µs.
    assert_eq!(tcp.path.serialisation(120), Duration::from_micros(168));
}

#[test]
fn the_initial_window_is_ten_segments() {
    let mut tcp = connection(&[]);
    assert_eq!(tcp.send(Duration::ZERO, 12 * MSS, false), 12 * MSS);
    assert_eq!(tcp.packets(), 10);
    assert_eq!(arrival(&mut tcp, 10 * SEGMENT), S * 10 + ms(50));
    assert_eq!(tcp.packets(), 10);
    // The second segment arrives at 2 S + 50 and is acknowledged at once: at 2 S + 100 the window is 12, and two may leave.
    // They arrive one S each and 50 ms later.
    assert_eq!(arrival(&mut tcp, 11 * SEGMENT), S * 3 + ms(150));
    assert_eq!(arrival(&mut tcp, 12 * SEGMENT), S * 4 + ms(150));
}

#[test]
fn slow_start_doubles_the_window_each_round_trip() {
    let mut tcp = connection(&[]);
    // The buffer takes two initial windows, 28,960 bytes, and more as the window grows.
    let mut waiting = 100 * MSS - tcp.send(Duration::ZERO, 100 * MSS, false);
    assert_eq!(waiting, 80 * MSS);
    let mut sent_at = Vec::new();
    while tcp.delivered() < 70 * SEGMENT {
        let now = tcp.next_time().expect("something is under way");
        tcp.advance(now);
        waiting -= tcp.send(now, waiting, false);
        sent_at.resize(tcp.packets() as usize, now);
    }
    // Windows of 10, 20 and 40: the first segments of each leave when the first acknowledgement (of two segments) of the last is there.
    assert_eq!(sent_at[9], sent_at[0]);
    assert_eq!(sent_at[10], S * 2 + ms(100));
    // Acknowledgements of 2, 4, … 10 let 4 segments leave each.
    assert_eq!(sent_at[29], S * 10 + ms(100));
    // The 12th arrives at 2 S + 100 + 2 S + 50, since 11 and 12 were sent at 2 S + 100.
    assert_eq!(sent_at[30], S * 4 + ms(200));
}

#[test]
fn a_single_segment_is_acknowledged_late_and_two_at_once() {
    let mut tcp = connection(&[]);
    tcp.send(Duration::ZERO, MSS, false);
    // Arrives; is acknowledged 40 ms later; the acknowledgement arrives.
    assert_eq!(times(&mut tcp), [S + ms(50), S + ms(90), S + ms(140)]);

    let mut tcp = connection(&[]);
    tcp.send(Duration::ZERO, 2 * MSS, false);
    assert_eq!(times(&mut tcp), [S + ms(50), S * 2 + ms(50), S * 2 + ms(100)]);
}

#[test]
fn a_lost_segment_is_sent_again_when_three_later_ones_have_arrived() {
    let mut tcp = connection(&[3]);
    tcp.send(Duration::ZERO, 10 * MSS, false);
    assert_eq!(arrival(&mut tcp, 2 * SEGMENT), S * 2 + ms(50));
    // 4, 5 and 6 are acknowledged at once, each; the third of these arrives at 6 S + 100, and the 3rd segment
    // leaves again: it arrives at 7 S + 150 and closes the gap.
    assert_eq!(arrival(&mut tcp, 3 * SEGMENT), S * 7 + ms(150));
    assert_eq!(tcp.delivered(), 10 * SEGMENT);
    assert_eq!((tcp.packets(), tcp.resent()), (11, 1));
    // Half of the eight that had not been acknowledged.
    assert_eq!(tcp.sender.state(), (4, 4));
}

#[test]
fn a_lost_tail_waits_for_the_timer_twice_as_long_each_time() {
    // The handshake measured 100 ms; RFC 6298: RTO = 100 + 4 × 50 = 300 ms, and 600 ms the second time.
    let mut tcp = connection(&[1]);
    tcp.send(Duration::ZERO, MSS, false);
    assert_eq!(arrival(&mut tcp, SEGMENT), ms(300) + S + ms(50));

    let mut tcp = connection(&[1, 2]);
    tcp.send(Duration::ZERO, MSS, false);
    assert_eq!(arrival(&mut tcp, SEGMENT), ms(300) + ms(600) + S + ms(50));
    assert_eq!(tcp.resent(), 2);
}

#[test]
fn after_a_timeout_the_window_starts_at_one() {
    let mut tcp = connection(&[9, 10]);
    tcp.send(Duration::ZERO, 10 * MSS, false);
    // Eight are acknowledged in pairs, the last at 8 S + 100. What it measured: 4 samples, all of 100 ms and some S; the timer
    // runs from there. Only one segment leaves when it fires, the other when that is acknowledged 40 ms after its arrival.
    arrival(&mut tcp, 9 * SEGMENT);
    assert_eq!(tcp.packets(), 11);
    let ninth = arrival_of_last(&mut tcp);
    assert_eq!(tcp.packets(), 12);
    // 40 ms of waiting to acknowledge, 50 ms back, S and 50 ms there.
    assert_eq!(ninth.1 - ninth.0, ms(140) + S);
    // Half of two, and at least two.
    assert_eq!(tcp.sender.state(), (2, 2));
}

fn arrival_of_last(tcp: &mut Tcp) -> (Duration, Duration) {
    let acknowledged = tcp.next_time().expect("the delayed acknowledgement");
    (acknowledged - DELAYED_ACK, arrival(tcp, 10 * SEGMENT))
}

#[test]
fn congestion_avoidance_adds_one_segment_for_each_window() {
    let mut tcp = connection(&[3]);
    let mut waiting = 1000 * MSS;
    waiting -= tcp.send(Duration::ZERO, waiting, false);
    let mut windows = Vec::new();
    while tcp.delivered() < 300 * SEGMENT {
        let now = tcp.next_time().expect("something is under way");
        tcp.advance(now);
        waiting -= tcp.send(now, waiting, false);
        let (window, threshold) = tcp.sender.state();
        if threshold != u64::MAX && windows.last() != Some(&(window, tcp.sender.acknowledged_segments())) {
            windows.push((window, tcp.sender.acknowledged_segments()));
        }
    }
    let steps: Vec<(u64, u64)> = windows.chunk_by(|a, b| a.0 == b.0).map(|same| same[0]).collect();
    assert!(steps.len() > 5, "{steps:?}");
    for pair in steps.windows(2) {
        assert_eq!(pair[1].0, pair[0].0 + 1, "one at a time: {steps:?}");
    }
    // After the first step, whose window had begun before: as many segments as the window has, within one acknowledgement.
    for pair in steps[1..].windows(2) {
        let acknowledged = pair[1].1 - pair[0].1;
        assert!(acknowledged.abs_diff(pair[0].0) <= 2, "{steps:?}");
    }
}

#[test]
fn a_partial_segment_leaves_at_once_unless_more_was_promised() {
    let mut tcp = connection(&[]);
    tcp.send(Duration::ZERO, 100, false);
    assert_eq!(tcp.packets(), 1);

    let mut tcp = connection(&[]);
    tcp.send(Duration::ZERO, MSS + 100, true);
    assert_eq!(tcp.packets(), 1, "the full one alone");
    tcp.send(ms(5), 100, false);
    assert_eq!(tcp.packets(), 2, "both partial ones in one");
    assert_eq!(tcp.longest_hold(), ms(5));

    let mut tcp = connection(&[]);
    tcp.send(Duration::ZERO, 100, true);
    // 200 ms, (100 + 90) × 8 bits at 10 Mbit/s, and 50 ms.
    assert_eq!(arrival(&mut tcp, 100), ms(250) + Duration::from_micros(152));
    assert_eq!(tcp.longest_hold(), ms(200));
}

#[test]
fn a_full_buffer_takes_nothing_until_a_third_is_free() {
    let mut tcp = connection(&[]);
    assert_eq!(tcp.send(Duration::ZERO, 30 * MSS, false), 20 * MSS);
    let taken = loop {
        let now = tcp.next_time().expect("something is under way");
        tcp.advance(now);
        let taken = tcp.send(now, 30 * MSS, false);
        if taken > 0 {
            break (now, taken);
        }
    };
    // Acknowledgements of 2 at 2 S + 100 and of 4 at 4 S + 100 make the window 12 and 14, the buffer 24 and 28 segments, of which
    // 18 and 16 are in use: 6 free of 24 are not enough, 12 of 28 are.
    assert_eq!(taken, (S * 4 + ms(100), 12 * MSS));
}

#[test]
fn an_idle_connection_falls_back_to_the_initial_window() {
    let mut tcp = connection(&[]);
    let mut waiting = 200 * MSS;
    waiting -= tcp.send(Duration::ZERO, waiting, false);
    while let Some(now) = tcp.next_time() {
        tcp.advance(now);
        waiting -= tcp.send(now, waiting, false);
    }
    assert!(tcp.sender.state().0 > 40, "{:?}", tcp.sender.state());
    tcp.send(ms(60_000), 10, false);
    assert_eq!(tcp.sender.state().0, INITIAL_WINDOW);
}

#[test]
fn nothing_is_lost_for_good_whatever_the_link_loses() {
    for seed in 0..50 {
        let mut tcp = Tcp::new(Path { rtt: ms(20), bits_per_s: 50_000_000, loss: 0.1 }, seed);
        let mut waiting = 100_000;
        waiting -= tcp.send(Duration::ZERO, waiting, false);
        let mut steps = 0;
        while let Some(now) = tcp.next_time() {
            tcp.advance(now);
            waiting -= tcp.send(now, waiting, false);
            steps += 1;
            assert!(steps < 10_000, "seed {seed} comes to no end");
        }
        assert_eq!((waiting, tcp.delivered()), (0, 100_000), "seed {seed}");
        assert!(tcp.resent() > 0, "seed {seed}: one segment in ten is lost");
        assert_eq!(tcp.sender.idle(), (0, 0), "seed {seed}: nothing is thought to be under way or lost");
    }
}
