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

fn connection() -> Tcp {
    Tcp::new(Path { rtt: ms(100), bits_per_s: 10_000_000 })
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
    let tcp = connection();
    assert_eq!(tcp.path.serialisation(MSS), S);
    // (120 + 90) × 8 / 10^7 = 168 µs.
    assert_eq!(tcp.path.serialisation(120), Duration::from_micros(168));
}

#[test]
fn the_initial_window_is_ten_segments() {
    let mut tcp = connection();
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
    let mut tcp = connection();
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
    let mut tcp = connection();
    tcp.send(Duration::ZERO, MSS, false);
    // Arrives; is acknowledged 40 ms later; the acknowledgement arrives.
    assert_eq!(times(&mut tcp), [S + ms(50), S + ms(90), S + ms(140)]);

    let mut tcp = connection();
    tcp.send(Duration::ZERO, 2 * MSS, false);
    assert_eq!(times(&mut tcp), [S + ms(50), S * 2 + ms(50), S * 2 + ms(100)]);
}

#[test]
fn a_partial_segment_leaves_at_once_unless_more_was_promised() {
    let mut tcp = connection();
    tcp.send(Duration::ZERO, 100, false);
    assert_eq!(tcp.packets(), 1);

    let mut tcp = connection();
    tcp.send(Duration::ZERO, MSS + 100, true);
    assert_eq!(tcp.packets(), 1, "the full one alone");
    tcp.send(ms(5), 100, false);
    assert_eq!(tcp.packets(), 2, "both partial ones in one");
    assert_eq!(tcp.longest_hold(), ms(5));

    let mut tcp = connection();
    tcp.send(Duration::ZERO, 100, true);
    // 200 ms, (100 + 90) × 8 bits at 10 Mbit/s, and 50 ms.
    assert_eq!(arrival(&mut tcp, 100), ms(250) + Duration::from_micros(152));
    assert_eq!(tcp.longest_hold(), ms(200));
}

#[test]
fn a_full_buffer_takes_nothing_until_a_third_is_free() {
    let mut tcp = connection();
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
    let mut tcp = connection();
    let mut waiting = 200 * MSS;
    waiting -= tcp.send(Duration::ZERO, waiting, false);
    while let Some(now) = tcp.next_time() {
        tcp.advance(now);
        waiting -= tcp.send(now, waiting, false);
    }
    assert!(tcp.sender.window() > 40, "{}", tcp.sender.window());
    tcp.send(ms(60_000), 10, false);
    assert_eq!(tcp.sender.window(), INITIAL_WINDOW);
}
