//! What sending costs in heap allocations, and what an idle stream keeps. Counted for each test's own thread.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

#[path = "../benches/session/mod.rs"]
mod session;

use std::io::{self, IoSlice, Write};
use std::time::Instant;

use allocation_counter::measure;
use bytes::Bytes;
use tls_cork::{CorkConfig, CorkPolicy, MAX_RECORD_SIZE, Seal, SealError, SendFlags};

const ROUNDS: u64 = 10_000;
const HEADER: &[u8] = &[7; 28];
const BODY: &[u8] = &[42; 512];
/// Both in one record of TLS 1.3: its header, the content type and the tag come along.
const RECORD: usize = HEADER.len() + BODY.len() + 5 + 1 + 16;
/// The most that an idle stream keeps on the heap, in bytes.
const IDLE_BYTES: i64 = 1024;

#[test]
fn small_writes_allocate_nothing() {
    let (mut policy, now) = (policy(), Instant::now());
    let mut round = || {
        write(&mut policy, now, HEADER, SendFlags::MORE);
        write(&mut policy, now, BODY, SendFlags::NONE);
        transmit(&mut policy, HEADER.len() + BODY.len());
    };
    round();
    let info = measure(|| (0..ROUNDS).for_each(|_| round()));
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn small_owned_writes_allocate_nothing() {
    let (mut policy, now) = (policy(), Instant::now());
    let mut round = || {
        write_bytes(&mut policy, now, HEADER, SendFlags::MORE);
        write_bytes(&mut policy, now, BODY, SendFlags::NONE);
        transmit(&mut policy, HEADER.len() + BODY.len());
    };
    round();
    let info = measure(|| (0..ROUNDS).for_each(|_| round()));
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn many_held_writes_allocate_nothing() {
    let (mut policy, mut now) = (policy(), Instant::now());
    let mut round = || {
        for _ in 0..100 {
            write(&mut policy, now, HEADER, SendFlags::MORE);
        }
        now = policy.poll_timeout().expect("a deadline");
        assert!(policy.handle_timeout(now).is_flush());
        transmit(&mut policy, 100 * HEADER.len());
    };
    round();
    let info = measure(|| (0..ROUNDS / 100).for_each(|_| round()));
    assert_eq!(info.count_total, 0, "{info:?}");
}

#[test]
fn over_rustls_they_allocate_as_often_as_rustls_alone_for_joined_ones() {
    let (mut plain, joined) = (session::plain(), [HEADER, BODY].concat());
    let mut round_alone = || {
        assert_eq!(plain.writer().write(&joined).expect("open"), joined.len());
        assert_eq!(plain.write_tls(&mut io::sink()).expect("a transport that takes all"), RECORD);
    };
    let (mut corked, now) = (session::corked(), Instant::now());
    let mut round = || {
        let _ = corked.write(now, &[IoSlice::new(HEADER)], SendFlags::MORE).expect("room");
        let _ = corked.write(now, &[IoSlice::new(BODY)], SendFlags::NONE).expect("room");
        assert_eq!(corked.transmit_with(take_all).expect("a transport that takes all").bytes, RECORD);
    };
    round_alone();
    round();
    let alone = measure(|| (0..ROUNDS).for_each(|_| round_alone()));
    let ours = measure(|| (0..ROUNDS).for_each(|_| round()));
    assert!(alone.count_total >= ROUNDS, "rustls has a buffer for each record: {alone:?}");
    assert_eq!(ours.count_total, alone.count_total, "{ours:?}, alone {alone:?}");
}

#[test]
fn an_idle_policy_keeps_no_buffers() {
    let (mut policy, now) = (policy(), Instant::now());
    let info = measure(|| {
        write(&mut policy, now, &[1; MAX_RECORD_SIZE], SendFlags::NONE);
        let done = policy.transmit_with(|_, _| Err(io::ErrorKind::WouldBlock.into())).expect("no error");
        assert!(done.blocked);
        while policy.send_capacity() >= 4096 + HEADER.len() {
            write(&mut policy, now, HEADER, SendFlags::MORE);
            write_bytes(&mut policy, now, &[2; 4096], SendFlags::NONE);
        }
        let _ = policy.transmit_with(take_all).expect("a transport that takes all");
        let due = policy.poll_timeout().expect("a buffer to give back");
        let _ = policy.handle_timeout(due);
    });
    assert_eq!((policy.waiting(), policy.poll_timeout()), (0, None));
    assert!(info.bytes_max > 4096, "nothing was queued: {info:?}");
    assert!(info.bytes_current < IDLE_BYTES, "{info:?}");
}

#[test]
fn an_idle_session_keeps_no_buffers() {
    let (mut corked, now) = (session::corked(), Instant::now());
    let info = measure(|| {
        for _ in 0..99 {
            let _ = corked.write(now, &[IoSlice::new(&[3; 4096])], SendFlags::MORE).expect("room");
            let _ = corked.transmit_with(take_all).expect("a transport that takes all");
        }
        let due = corked.poll_timeout().expect("a deadline");
        assert!(corked.handle_timeout(due).is_flush());
        let _ = corked.transmit_with(take_all).expect("a transport that takes all");
        let due = corked.poll_timeout().expect("a buffer to give back");
        let _ = corked.handle_timeout(due);
    });
    assert_eq!((corked.waiting(), corked.poll_timeout()), (0, None));
    assert!(info.bytes_max > 4096, "nothing was queued: {info:?}");
    assert!(info.bytes_current < IDLE_BYTES, "{info:?}");
}

fn policy() -> CorkPolicy<Zeros> {
    CorkPolicy::new(Zeros::default(), CorkConfig::default()).expect("a valid configuration")
}

fn write(policy: &mut CorkPolicy<Zeros>, now: Instant, data: &[u8], flags: SendFlags) {
    let written = policy.write(now, &[IoSlice::new(data)], flags).expect("room");
    assert_eq!(written.accepted, data.len());
}

fn write_bytes(policy: &mut CorkPolicy<Zeros>, now: Instant, data: &'static [u8], flags: SendFlags) {
    let mut data = Bytes::from_static(data);
    let _ = policy.write_bytes(now, &mut data, flags).expect("room");
    assert!(data.is_empty());
}

fn transmit(policy: &mut CorkPolicy<Zeros>, expected: usize) {
    let done = policy.transmit_with(take_all).expect("a transport that takes all");
    assert_eq!(done.bytes, expected);
}

fn take_all(bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
    Ok(bufs.iter().map(|buf| buf.len()).sum())
}

/// Gives as many zeros as it was given bytes, and has nothing on the heap.
#[derive(Debug, Default)]
struct Zeros {
    waiting: usize,
}

impl Seal for Zeros {
    fn is_ready(&self) -> bool {
        true
    }

    fn max_record_size(&self) -> usize {
        MAX_RECORD_SIZE
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        let len = take_all(plaintext, false).expect("a sum");
        self.waiting += len;
        Ok(len.div_ceil(record_size))
    }

    fn has_output(&self) -> bool {
        self.waiting > 0
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        let offer = &[0; MAX_RECORD_SIZE][..self.waiting.min(MAX_RECORD_SIZE)];
        let taken = send(&[IoSlice::new(offer)], self.waiting > offer.len())?;
        self.waiting -= taken;
        Ok(taken)
    }

    fn close_notify(&mut self) {}
}
