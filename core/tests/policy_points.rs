//! Tests of the faults of other systems (`point_N_…`, see ARCHITECTURE.md) and of single rules, in
//! virtual time.
#![allow(clippy::disallowed_methods)] // the start of virtual time

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tls_cork::{
    CorkConfig, CorkPolicy, DynamicRecords, FlushDecision, FlushReason, MAX_RECORD_SIZE, Passthrough, Seal, SealError,
    SendFlags, TransmitError, WriteError,
};
use tls_cork_testing::content::stream;
use tls_cork_testing::harness::{Bench, END, Framed, HANDSHAKE, Limits, OFFER, parse, ready};

#[test]
fn header_with_more_and_body_are_one_record() {
    let mut bench = ready();
    bench.write(&[28], true).unwrap();
    bench.drain();
    assert!(bench.wire.is_empty());
    bench.write(&[512], false).unwrap();
    bench.drain();
    assert_eq!(bench.records(), [stream(0, 540)]);
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn a_vectored_write_below_a_record_is_one_record() {
    for pieces in [&[1, 1, 1][..], &[28, 0, 4096], &[5; 40], &[16_382, 1], &[16_383]] {
        let mut bench = ready();
        bench.write(pieces, false).unwrap();
        bench.drain();
        assert_eq!(bench.records().len(), 1, "{pieces:?}");
        assert_eq!(bench.policy.waiting(), 0);
    }
}

#[test]
fn plaintext_written_during_the_handshake_is_one_record_after_it() {
    let mut bench = Bench::new(Limits::default(), false);
    for _ in 0..10 {
        bench.write(&[10], false).unwrap();
    }
    bench.drain();
    assert!(bench.wire.is_empty());
    bench.finish_handshake();
    bench.drain();
    assert_eq!(bench.records(), [stream(0, 100)]);
}

#[test]
fn a_piece_joins_what_is_held_and_nothing_else() {
    let more = SendFlags::MORE;
    let config = CorkConfig::default().record_size(100).hold_limit(80);
    let mut policy = CorkPolicy::new(Passthrough::new(), config).unwrap();
    let now = Instant::now();
    assert!(!policy.join_held(b"", more) && !policy.join_held(b"x", more), "nothing is held: no deadline runs");
    let _ = policy.write(now, &[IoSlice::new(&[1; 10])], more).unwrap();
    let due = policy.poll_timeout();
    assert!(!policy.join_held(&[2; 10], SendFlags::NONE), "R2: it would release");
    assert!(policy.join_held(&[2; 70], more), "up to the limit");
    assert!(!policy.join_held(&[3; 1], more), "R3: it would be over the limit");
    assert_eq!((policy.waiting(), policy.poll_timeout()), (80, due), "R5: the deadline stays");
    assert!(policy.flush(now).is_flush());
    assert!(!policy.join_held(&[3; 1], more), "nothing is held");
    policy.cork(now);
    let _ = policy.write(now, &[IoSlice::new(&[4; 5])], SendFlags::NONE).unwrap();
    assert!(policy.join_held(&[5; 14], SendFlags::NONE), "R3: corked");
    assert!(!policy.join_held(&[6; 1], SendFlags::NONE), "R1: it would fill the record");
    let _ = policy.close(now);
    assert!(!policy.join_held(b"", more), "R11");
    policy.poll_transmit(&mut Vec::new()).unwrap();
    assert_eq!(policy.stats().plaintext_bytes, 99);
    assert_eq!(policy.stats().copied_bytes, 99);
}

#[test]
fn point_4_the_final_piece_never_comes() {
    for corked in [false, true] {
        let mut bench = ready();
        if corked {
            bench.cork();
        }
        let start = bench.now;
        bench.write(&[100], true).unwrap();
        bench.advance(Duration::from_millis(9));
        bench.write(&[100], true).unwrap(); // does not push the deadline back
        assert_eq!(bench.policy.poll_timeout(), Some(start + Duration::from_millis(10)));
        bench.drain();
        assert_eq!(bench.policy.waiting(), 200);
        bench.advance(Duration::from_millis(1));
        bench.drain();
        assert_eq!(bench.records(), [stream(0, 200)]);
        assert_eq!(bench.policy.stats().flushes(FlushReason::Deadline), 1);
        bench.write(&[5], false).unwrap();
        bench.drain();
        assert_eq!(bench.policy.waiting(), if corked { 5 } else { 0 }, "the cork stays on");
    }
}

#[test]
fn point_5_a_reader_waits_for_the_answer_to_a_held_request() {
    let mut bench = ready();
    bench.cork();
    bench.write(&[100], false).unwrap();
    let decision = bench.policy.handle_read_wait(bench.now);
    assert_eq!(decision, FlushDecision::Flush { bytes: 100, reason: FlushReason::ReadWait });
    bench.release_all();
    bench.drain();
    assert_eq!(bench.records().len(), 1);
    bench.write(&[7], false).unwrap();
    bench.drain();
    assert_eq!(bench.policy.waiting(), 7, "the cork stays on");

    let off = CorkConfig::default().flush_on_read_wait(false);
    let framed = Framed::default();
    framed.0.borrow_mut().ready = true;
    let mut policy = CorkPolicy::new(framed, off).unwrap();
    let _ = policy.write(bench.now, &[IoSlice::new(b"x")], SendFlags::MORE).unwrap();
    assert!(!policy.handle_read_wait(bench.now).is_flush());
}

#[test]
fn point_7_interrupted_is_tried_again() {
    let mut bench = ready();
    bench.write(&[100], false).unwrap();
    let mut calls = 0;
    let done = bench.policy.transmit_with(|bufs, _| {
        calls += 1;
        if calls < 4 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(bufs[0].len()) }
    });
    let done = done.unwrap();
    assert_eq!((done.bytes, done.blocked), (104, false));
    assert_eq!(calls, 4);
}

#[test]
fn point_7_zero_and_errors_leave_everything_waiting() {
    let mut bench = ready();
    bench.write(&[100], false).unwrap();
    assert!(matches!(bench.policy.transmit_with(|_, _| Ok(0)), Err(TransmitError::WriteZero)));
    let reset = bench.policy.transmit_with(|_, _| Err(io::ErrorKind::ConnectionReset.into()));
    assert!(matches!(reset, Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset));
    bench.drain();
    assert_eq!(bench.records(), [stream(0, 100)]);
}

#[test]
fn point_7_one_byte_windows() {
    let mut bench = ready();
    bench.write(&[300], false).unwrap();
    let mut rounds = 0;
    while bench.policy.wants_transmit() {
        let done = bench.transmit(1, 1).unwrap();
        assert_eq!(done.bytes, 1);
        rounds += 1;
        if rounds % 10 == 0 && rounds <= 100 {
            bench.write(&[20], false).unwrap(); // the record on the wire does not change
        }
    }
    assert_eq!(bench.records(), [stream(0, 300), stream(300, 200)]);
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn point_8_a_full_buffer_says_so_and_recovers() {
    let mut bench = ready();
    bench.write(&[1], false).unwrap();
    assert!(bench.transmit(0, 1).unwrap().blocked); // one record is sealed and stuck
    let mut accepted = 0;
    let refused = loop {
        match bench.write(&[50_000], false) {
            Ok(n) => accepted += n,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, WriteError::Blocked);
    assert_eq!(accepted, bench.config.send_buffer);
    assert_eq!(bench.policy.send_capacity(), 0);
    let mut shared = Bytes::from_static(b"unchanged");
    assert_eq!(bench.policy.write_bytes(bench.now, &mut shared, SendFlags::NONE), Err(WriteError::Blocked));
    assert_eq!(&shared[..], b"unchanged");
    assert_eq!(bench.write(&[0], false), Ok(0), "an empty write needs no room");
    bench.drain();
    assert_eq!(bench.policy.send_capacity(), bench.config.send_buffer);
    assert_eq!(bench.write(&[100], false), Ok(100));
    bench.drain();
    assert_eq!(bench.records().concat(), stream(0, 1 + accepted + 100));
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn point_9_close_under_a_full_buffer() {
    let mut bench = ready();
    bench.write(&[1], false).unwrap();
    assert!(bench.transmit(0, 1).unwrap().blocked);
    while bench.write(&[50_000], true).is_ok() {}
    bench.close();
    assert_eq!(bench.write(&[1], false), Err(WriteError::Closed));
    while bench.policy.wants_transmit() {
        assert!(bench.transmit(1000, 999).unwrap().bytes > 0);
    }
    let (records, last) = parse(&bench.wire);
    assert_eq!(records.concat(), stream(0, bench.written));
    assert_eq!(last, Some(END));
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn point_6_the_kernel_is_not_told_to_wait_for_held_bytes() {
    let mut bench = ready();
    // A full record may leave; its tail is held.
    bench.write_bytes(MAX_RECORD_SIZE + 100, true).unwrap();
    let mut told = Vec::new();
    let done = bench.policy.transmit_with(|bufs, more| {
        told.push(more);
        Ok(bufs.iter().map(|buf| buf.len()).sum())
    });
    assert!(!done.unwrap().blocked);
    assert_eq!(told, [false], "R8");
    assert_eq!(bench.policy.waiting(), 100);
}

#[test]
fn abort_discards_what_is_not_sealed_and_says_how_much() {
    let mut bench = ready();
    bench.write(&[10], false).unwrap();
    assert!(bench.transmit(0, 1).unwrap().blocked); // sealed
    bench.write(&[20], false).unwrap(); // released
    bench.write(&[30], true).unwrap(); // held
    assert_eq!(bench.policy.abort(), 50);
    assert_eq!(bench.policy.abort(), 0);
    assert_eq!(bench.policy.waiting(), 0);
    assert!(!bench.policy.is_finished(), "what was sealed still leaves");
    let refused = bench.policy.write(bench.now, &[IoSlice::new(b"x")], SendFlags::NONE);
    assert_eq!(refused, Err(WriteError::Closed));
    let mut out = Vec::new();
    bench.policy.poll_transmit(&mut out).unwrap();
    let (records, last) = parse(&out);
    assert_eq!(records, [stream(0, 10)]);
    assert_ne!(last, Some(END), "the peer has to see that the stream was cut");
    assert!(bench.policy.is_finished());
}

#[test]
fn abort_with_nothing_to_lose_is_a_proper_end() {
    let mut bench = ready();
    assert_eq!(bench.policy.abort(), 0);
    let mut out = Vec::new();
    bench.policy.poll_transmit(&mut out).unwrap();
    assert_eq!(parse(&out).1, Some(END));
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn output_taken_whole_says_whether_more_follows() {
    let mut bench = ready();
    assert!(bench.policy.take_transmit().unwrap().is_none());
    let batch = bench.config.batch.0;
    bench.write_bytes(batch + 100, false).unwrap();
    let first = bench.policy.take_transmit().unwrap().unwrap();
    assert!(first.more);
    assert_eq!(parse(&first.data).0.concat(), stream(0, batch));
    // Written while the first buffer is being sent, this shares the next record.
    bench.write(&[20], true).unwrap();
    let second = bench.policy.take_transmit().unwrap().unwrap();
    assert!(!second.more);
    assert_eq!(parse(&second.data).0, [stream(batch, 120)]);
    assert_eq!(bench.policy.stats().flushes(FlushReason::Filled), 1);
    assert!(bench.policy.take_transmit().unwrap().is_none());
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn dynamic_records_are_small_at_the_start_and_after_a_pause() {
    let ramp = DynamicRecords::default().segment_size(1000).ramp_bytes(2500).idle_reset(Duration::from_secs(1));
    let framed = Framed::default();
    framed.finish_handshake();
    let mut policy = CorkPolicy::new(framed, CorkConfig::default().dynamic_records(ramp)).unwrap();
    let mut now = ready().now;
    let lengths = |policy: &mut CorkPolicy<Framed>, now, len: usize| {
        let mut data = Bytes::from(vec![0; len]);
        while !data.is_empty() {
            let _ = policy.write_bytes(now, &mut data, SendFlags::NONE).unwrap();
        }
        let mut out = Vec::new();
        policy.poll_transmit(&mut out).unwrap();
        parse(&out).0.iter().map(Vec::len).collect::<Vec<_>>()
    };
    // The ramp ends with the record that completes it.
    assert_eq!(lengths(&mut policy, now, 20_000), [1000, 1000, 1000, MAX_RECORD_SIZE, 616]);
    now += Duration::from_millis(999);
    assert_eq!(lengths(&mut policy, now, 3000), [3000]);
    now += Duration::from_secs(1);
    assert_eq!(lengths(&mut policy, now, 3500), [1000, 1000, 1000, 500]);
}

#[test]
fn the_longest_hold_and_each_reason_are_counted() {
    let mut bench = ready();
    bench.write(&[10], true).unwrap();
    bench.advance(Duration::from_millis(4));
    bench.flush();
    bench.cork();
    bench.write(&[10], false).unwrap();
    bench.advance(Duration::from_millis(7));
    bench.uncork();
    bench.write(&[10], false).unwrap();
    bench.drain();
    let stats = bench.policy.stats();
    assert_eq!(stats.longest_hold, Duration::from_millis(7));
    for (reason, count) in FlushReason::ALL.iter().map(|reason| (*reason, stats.flushes(*reason))) {
        let expected = matches!(reason, FlushReason::Flush | FlushReason::Uncork | FlushReason::Last);
        assert_eq!(count, u64::from(expected), "{reason:?}");
    }
    assert_eq!((stats.records, stats.plaintext_bytes, stats.transmits, stats.copied_bytes), (1, 30, 1, 30));
}

#[test]
fn one_of_sixteen_held_writes_in_a_row_needs_a_time() {
    let more = SendFlags::MORE;
    let mut policy = CorkPolicy::new(Passthrough::new(), CorkConfig::default()).unwrap();
    let now = Instant::now();
    let _ = policy.write(now, &[IoSlice::new(b"first")], more).unwrap();
    for _ in 0..3 {
        for n in 0..15 {
            assert!(policy.join_held(b"joins", more), "{n}");
        }
        assert!(!policy.join_held(b"joins", more) && !policy.join_held(b"joins", more), "until a time is seen");
        let written = policy.write(now, &[IoSlice::new(b"joins")], more).unwrap();
        assert_eq!((written.accepted, written.decision.is_flush()), (5, false));
    }
    assert_eq!(policy.waiting(), 5 + 3 * 16 * 5);
}

#[test]
fn a_burst_within_the_hold_limit_is_one_send() {
    for (hold_limit, sends) in [(MAX_RECORD_SIZE, 4), (CorkConfig::default().get_hold_limit(), 1)] {
        let mut bench = Bench::new(Limits { hold_limit, ..Limits::default() }, true);
        for n in 0..15 {
            bench.write(&[28], true).unwrap();
            bench.write(&[4096], n < 14).unwrap();
            if bench.policy.wants_transmit() {
                let _ = bench.transmit(usize::MAX, usize::MAX).unwrap();
            }
        }
        bench.drain();
        let seen = bench.policy.stats();
        assert_eq!((bench.policy.waiting(), seen.plaintext_bytes), (0, 15 * 4124));
        assert_eq!(bench.framed.0.borrow().batches.len(), sends, "{hold_limit}");
    }
    // A large write is not copied to wait.
    let mut bench = Bench::new(Limits { hold_limit: 64 * 1024, ..Limits::default() }, true);
    bench.write(&[2 * MAX_RECORD_SIZE], true).unwrap();
    assert_eq!((bench.policy.stats().plaintext_bytes, bench.policy.stats().copied_bytes), (32_768, 0));
}

/// A page that is made piece by piece: its first record does not wait for 64 KiB.
#[test]
fn a_producer_that_takes_its_time_gathers_no_records() {
    for (pause, held) in [(Duration::from_micros(999), 24_000), (Duration::from_millis(1), 24_000 - MAX_RECORD_SIZE)] {
        let mut bench = Bench::new(Limits { hold_limit: 64 * 1024, ..Limits::default() }, true);
        for _ in 0..3 {
            bench.write(&[8000], true).unwrap();
            bench.advance(pause);
        }
        bench.drain();
        assert_eq!(bench.policy.waiting(), held, "{pause:?}");
    }
    // After a pause between messages, a burst gathers.
    let mut bench = Bench::new(Limits { hold_limit: 64 * 1024, ..Limits::default() }, true);
    for _ in 0..2 {
        bench.write(&[20_000], true).unwrap();
        bench.write(&[20_000], false).unwrap();
        bench.drain();
        bench.advance(Duration::from_secs(1));
    }
    assert_eq!(bench.framed.0.borrow().batches, [40_000, 40_000]);
}

/// Of several held records, each has the deadline of the write that began it.
#[test]
fn what_stays_held_keeps_its_own_deadline() {
    let us = Duration::from_micros;
    // The last write exceeds the limit, so that the full record leaves.
    let mut bench = Bench::new(Limits { record_size: 100, hold_limit: 150, ..Limits::default() }, true);
    bench.write(&[90], true).unwrap();
    bench.advance(us(900));
    bench.write(&[20], true).unwrap();
    bench.advance(us(100));
    bench.write(&[41], true).unwrap();
    bench.drain();
    assert_eq!(bench.policy.waiting(), 51);
    bench.advance(us(9800)); // not yet: `Bench` compares
    assert_eq!(bench.policy.stats().flushes(FlushReason::Deadline), 0);
    bench.advance(us(100));
    assert_eq!(bench.policy.stats().flushes(FlushReason::Deadline), 1);

    // Held bytes fill a record that leaves.
    let mut bench = Bench::new(Limits { record_size: 100, hold_limit: 350, ..Limits::default() }, true);
    bench.write(&[10], false).unwrap();
    for _ in 0..6 {
        bench.write_bytes(50, true).unwrap();
        bench.advance(us(900));
    }
    let _ = bench.transmit(usize::MAX, usize::MAX).unwrap();
    assert_eq!(bench.policy.waiting(), 210);
    assert_eq!(bench.policy.poll_timeout(), bench.deadline());
    assert_eq!(bench.policy.stats().longest_hold, us(4500));
}

#[test]
fn the_hold_limit_is_exact() {
    let mut bench = Bench::new(Limits { hold_limit: 100, ..Limits::default() }, true);
    bench.write(&[100], true).unwrap();
    assert_eq!(bench.policy.waiting(), 100);
    assert!(!bench.policy.wants_transmit());
    bench.write(&[1], true).unwrap();
    assert!(bench.policy.wants_transmit());
    assert_eq!(bench.policy.stats().flushes(FlushReason::HoldLimit), 1);
    bench.drain();
    assert_eq!(bench.records(), [stream(0, 101)]);
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn batches_grow_while_the_transport_takes_them_and_fall_back_when_it_pushes_back() {
    let (small, large) = (64 * 1024, 112 * 1024);
    let mut bench = Bench::new(Limits { batch: (small, large), ..Limits::default() }, true);
    bench.write_bytes(256 * 1024, false).unwrap();
    bench.drain();
    bench.write_bytes(2 * large, false).unwrap();
    assert!(bench.transmit(100, 100).unwrap().blocked);
    bench.drain();
    assert_eq!(bench.framed.0.borrow().batches, [small, large, 80 * 1024, large, small, 48 * 1024]);
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn a_receiver_that_stalls_anywhere_leaves_at_most_100_kib_sealed() {
    let mut most = 0;
    for room in (0..1 << 20).step_by(1000) {
        let config = CorkConfig::default().send_buffer_limit(4 << 20);
        let mut policy = CorkPolicy::new(Passthrough::new(), config).unwrap();
        let mut message = Bytes::from_static(&[0; 2 << 20]);
        let written = policy.write_bytes(Instant::now(), &mut message, SendFlags::NONE).unwrap();
        assert_eq!(written.accepted, 2 << 20);
        let mut left = room;
        let sent = policy.transmit_with(|bufs, _more| {
            let taken = left.min(bufs.iter().map(|buf| buf.len()).sum());
            left -= taken;
            if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
        });
        assert!(sent.unwrap().blocked);
        let stats = policy.stats();
        most = most.max(stats.plaintext_bytes - stats.wire_bytes);
    }
    // The bound includes the overhead of records and some bookkeeping.
    assert!(most > 60 * 1024 && most <= 98 * 1024, "{most}");
}

#[test]
fn the_end_of_the_handshake_says_that_a_pending_close_can_leave() {
    let mut bench = Bench::new(Limits::default(), false);
    assert_eq!(bench.policy.close(bench.now), FlushDecision::Hold { until: None });
    assert_eq!(bench.policy.close(bench.now), FlushDecision::Hold { until: None });
    assert!(!bench.policy.wants_transmit());
    bench.framed.finish_handshake();
    let decision = bench.policy.handle_handshake_done(bench.now);
    assert_eq!(decision, FlushDecision::Flush { bytes: 0, reason: FlushReason::Close });
    assert_eq!(bench.policy.stats().flushes(FlushReason::Close), 0, "nothing was released");
    assert!(!bench.policy.handle_handshake_done(bench.now).is_flush());
    let mut out = Vec::new();
    bench.policy.poll_transmit(&mut out).unwrap();
    assert_eq!(parse(&out).1, Some(END));
    assert!(!bench.policy.close(bench.now).is_flush());
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn held_bytes_that_fill_a_record_at_once_are_something_new() {
    let mut bench = ready();
    bench.write_bytes(MAX_RECORD_SIZE + 16, false).unwrap();
    // The second record has to leave in any case, so this write is sealed in the call.
    let data = stream(bench.written, 1000);
    let written = bench.policy.write(bench.now, &[IoSlice::new(&data)], SendFlags::MORE).unwrap();
    assert_eq!(written.decision, FlushDecision::Flush { bytes: 1000, reason: FlushReason::Filled });
    assert_eq!((written.accepted, bench.policy.waiting()), (1000, 0));
    assert_eq!(bench.policy.stats().flushes(FlushReason::Filled), 1);
    assert_eq!(bench.policy.stats().flushes(FlushReason::RecordFull), 0);
}

#[test]
fn nothing_fits_after_an_end() {
    let ends: [fn(&mut CorkPolicy<Framed>, Instant); 3] =
        [|policy, now| _ = policy.close(now), |policy, _| _ = policy.abort(), |policy, _| _ = policy.handle_failure()];
    for (keys, end) in [true, false].into_iter().flat_map(|keys| ends.map(|end| (keys, end))) {
        let mut bench = Bench::new(Limits::default(), keys);
        bench.write(&[10], false).unwrap();
        assert_eq!(bench.policy.send_capacity(), bench.config.send_buffer - 10);
        assert!(!bench.policy.is_write_closed());
        end(&mut bench.policy, bench.now);
        assert!(bench.policy.is_write_closed());
        assert_eq!(bench.policy.send_capacity(), 0);
        assert!(bench.policy.write(bench.now, &[IoSlice::new(b"x")], SendFlags::NONE).is_err());
    }
}

#[test]
#[cfg_attr(miri, ignore = "too many bytes for miri")]
fn a_buffer_taken_whole_is_one_send() {
    let mut bench = ready();
    bench.write_bytes(bench.config.batch.0, false).unwrap();
    assert!(bench.config.batch.0 > OFFER);
    assert!(bench.policy.take_transmit().unwrap().is_some());
    assert_eq!(bench.policy.stats().transmits, 1);
}

#[test]
fn a_close_alone_is_something_to_transmit() {
    let mut bench = ready();
    assert!(!bench.policy.is_write_closed() && !bench.policy.wants_transmit());
    let decision = bench.policy.close(bench.now);
    assert_eq!(decision, FlushDecision::Flush { bytes: 0, reason: FlushReason::Close });
    assert!(bench.policy.is_write_closed() && bench.policy.wants_transmit() && !bench.policy.is_finished());
    assert!(!bench.policy.close(bench.now).is_flush(), "nothing new");
    bench.closed = true;
    bench.drain();
    assert!(bench.policy.is_write_closed() && !bench.policy.wants_transmit() && bench.policy.is_finished());
}

#[test]
fn a_close_that_the_sealer_cannot_make_is_an_error_behind_the_last_byte() {
    let mut bench = ready();
    bench.framed.0.borrow_mut().close_fails = true;
    bench.write(&[100], true).unwrap();
    let _ = bench.policy.close(bench.now);
    let mut out = Vec::new();
    let error = bench.policy.poll_transmit(&mut out).unwrap_err();
    assert!(matches!(error, TransmitError::Seal { error: SealError::KeysExhausted, discarded: 0 }), "{error:?}");
    assert!(bench.policy.failure().is_some() && !bench.policy.is_finished());
    bench.policy.poll_transmit(&mut out).unwrap();
    assert_eq!(parse(&out).0.concat(), stream(0, 100), "the data leaves without an end");
    assert!(bench.policy.is_finished() && bench.policy.lost_bytes() == 0);
    // After an abort, a missing end needs no error.
    let mut bench = ready();
    bench.framed.0.borrow_mut().close_fails = true;
    assert_eq!(bench.policy.abort(), 0);
    assert!(bench.policy.is_finished() && bench.policy.failure().is_none());
}

/// [`Framed`] with control output of its own.
#[derive(Debug)]
struct Talks(Framed, bool);

impl Seal for Talks {
    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    fn max_record_size(&self) -> usize {
        self.0.max_record_size()
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        self.0.seal(plaintext, record_size)
    }

    fn has_output(&self) -> bool {
        self.0.has_output()
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        self.0.transmit(send)
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        self.0.close_notify()
    }

    fn has_control(&self) -> bool {
        self.1
    }

    fn queue_control(&mut self) {
        self.1 = false;
        self.0.0.borrow_mut().output.extend(HANDSHAKE.to_be_bytes());
    }
}

#[test]
fn what_a_session_has_to_say_is_something_to_transmit_until_the_end() {
    let now = Instant::now();
    for (close, fail) in [(false, false), (true, false), (false, true)] {
        let framed = Framed::default();
        framed.0.borrow_mut().ready = true;
        let mut policy = CorkPolicy::new(Talks(framed, true), CorkConfig::default()).unwrap();
        if close {
            let _ = policy.close(now);
        }
        if fail {
            assert_eq!(policy.handle_failure(), 0);
        }
        assert_eq!(policy.wants_transmit(), !fail);
        let mut out = Vec::new();
        policy.poll_transmit(&mut out).unwrap();
        let last = parse(&out).1;
        assert_eq!(last, if fail { None } else { Some(if close { END } else { HANDSHAKE }) });
        assert!(!policy.wants_transmit(), "{close} {fail}");
    }
}

#[test]
fn an_idle_buffer_is_given_back_after_a_second_and_no_sooner() {
    let mut bench = ready();
    assert_eq!(bench.policy.poll_timeout(), None);
    bench.write(&[1000], false).unwrap();
    bench.drain();
    let due = bench.now + Duration::from_secs(1);
    assert_eq!(bench.policy.poll_timeout(), Some(due));
    assert!(!bench.policy.handle_timeout(due - Duration::from_nanos(1)).is_flush());
    assert_eq!(bench.policy.poll_timeout(), Some(due), "still there");
    assert!(!bench.policy.handle_timeout(due).is_flush());
    assert_eq!(bench.policy.poll_timeout(), None, "given back");
}

#[test]
fn the_session_can_be_reached() {
    let mut bench = ready();
    bench.write(&[10], false).unwrap();
    assert!(bench.transmit(0, 1).unwrap().blocked);
    assert!(bench.policy.get_ref().has_output());
    assert!(bench.policy.get_mut().transmit(&mut |_, _| Err(io::ErrorKind::WouldBlock.into())).is_err());
    assert_eq!(format!("{:?}", Passthrough::new()), "Passthrough { waiting: 0 }");
}

#[test]
fn flags_are_a_set() {
    let (none, more) = (SendFlags::NONE, SendFlags::MORE);
    assert!(more.contains(more) && more.contains(none) && none.contains(none) && !none.contains(more));
    assert_eq!((none | more, more | more, none | none), (more, more, none));
    assert_eq!([SendFlags::more_if(true), SendFlags::more_if(false), SendFlags::default()], [more, none, none]);
}

/// Transmits to a transport that reports `surplus` more bytes than it was offered. Returns the
/// number offered and the error.
fn overrun<S: Seal>(policy: &mut CorkPolicy<S>, surplus: usize) -> (usize, TransmitError) {
    let mut most = 0;
    let done = policy.transmit_with(|bufs, _more| {
        most = bufs.iter().map(|buf| buf.len()).sum();
        Ok(most + surplus)
    });
    (most, done.expect_err("more than there was"))
}

#[test]
fn a_transport_that_took_more_than_it_was_offered_ends_the_session() {
    for surplus in [1, 50, usize::MAX - 200] {
        let mut policy = CorkPolicy::new(Passthrough::new(), CorkConfig::default()).unwrap();
        let now = Instant::now();
        let _ = policy.write(now, &[IoSlice::new(&[1; 100])], SendFlags::NONE).unwrap();
        let _ = policy.transmit_with(|_, _| Err(io::ErrorKind::WouldBlock.into())).unwrap();
        let _ = policy.write(now, &[IoSlice::new(&[2; 30])], SendFlags::MORE).unwrap();
        let (offered, error) = overrun(&mut policy, surplus);
        assert_eq!(offered, 100);
        let text = error.to_string();
        match error {
            TransmitError::Overrun { offered: 100, reported, discarded: 130 } => assert_eq!(reported, 100 + surplus),
            error => panic!("{error:?}"),
        }
        assert!(text.contains(&(100 + surplus).to_string()) && text.contains("130 bytes"), "{text}");
        assert_eq!((policy.waiting(), policy.send_capacity()), (0, 0));
        assert!(policy.is_write_closed() && policy.is_finished() && !policy.wants_transmit());
        assert_eq!(policy.lost_bytes(), 130);
        assert!(matches!(policy.failure(), Some(TransmitError::Overrun { discarded: 130, .. })), "said again");
        let refused = policy.write(now, &[IoSlice::new(b"x")], SendFlags::NONE);
        assert_eq!(refused, Err(WriteError::Failed));
        assert!(!policy.close(now).is_flush());
        assert_eq!((policy.abort(), policy.handle_failure()), (0, 0));
        for _ in 0..2 {
            let again = policy.transmit_with(|_, _| panic!("nothing more may leave")).unwrap_err();
            assert!(matches!(again, TransmitError::Overrun { offered: 100, discarded: 0, .. }), "said again: {again}");
        }
        assert!(policy.poll_transmit(&mut Vec::new()).is_err() && policy.take_transmit().is_err());
    }
}

#[test]
fn a_passthrough_of_ones_own_refuses_a_report_of_more_than_it_offered() {
    let mut seal = Passthrough::new();
    assert_eq!(seal.seal(&[IoSlice::new(b"data")], 16).unwrap(), 1);
    assert!(seal.transmit(&mut |_, _| Ok(5)).is_err());
    assert!(seal.has_output());
    assert_eq!(seal.transmit(&mut |_, _| Ok(4)).unwrap(), 4);
    assert!(!seal.has_output());
}

/// R10: a corked stream replaces a `BufWriter`.
#[test]
fn a_stream_that_starts_corked_gathers_plain_writes_until_a_flush_a_full_record_or_the_deadline() {
    let limits = CorkConfig::default().hold_limit(MAX_RECORD_SIZE).corked(true);
    let mut policy = CorkPolicy::new(Passthrough::new(), limits.clone()).unwrap();
    let (mut now, mut out) = (Instant::now(), Vec::new());
    let write = |policy: &mut CorkPolicy<Passthrough>, now, len| {
        policy.write(now, &[IoSlice::new(&[7; MAX_RECORD_SIZE][..len])], SendFlags::NONE).unwrap().decision
    };

    for _ in 0..10 {
        assert!(!write(&mut policy, now, 100).is_flush());
    }
    assert_eq!(policy.poll_transmit(&mut out).unwrap(), 0);
    assert_eq!(policy.flush(now), FlushDecision::Flush { bytes: 1000, reason: FlushReason::Flush });
    assert_eq!(policy.poll_transmit(&mut out).unwrap(), 1000);
    assert_eq!(policy.stats().records, 1);

    // A full record leaves. The cork stays on after a flush.
    assert!(!write(&mut policy, now, 1000).is_flush());
    let full = FlushDecision::Flush { bytes: MAX_RECORD_SIZE, reason: FlushReason::RecordFull };
    assert_eq!(write(&mut policy, now, MAX_RECORD_SIZE - 500), full);
    assert_eq!(policy.poll_transmit(&mut out).unwrap(), MAX_RECORD_SIZE);

    assert!(policy.is_corked());

    // The deadline releases the rest.
    now += limits.get_max_hold();
    assert_eq!(policy.handle_timeout(now), FlushDecision::Flush { bytes: 500, reason: FlushReason::Deadline });
    assert_eq!(policy.poll_transmit(&mut out).unwrap(), 500);

    // Without the cork, a plain write leaves.
    let _ = policy.uncork(now);
    assert!(!policy.is_corked());
    assert!(write(&mut policy, now, 5).is_flush());
    policy.cork(now);
    assert!(policy.is_corked());
}
