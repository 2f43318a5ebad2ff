//! Heap allocations of sending, and the memory that an idle stream keeps. Counted per thread, so
//! that tests that run in parallel do not disturb one another.
#![allow(clippy::disallowed_methods)] // the start of virtual time

use std::io::{self, IoSlice};
use std::time::Instant;

use allocation_counter::measure;
use bytes::Bytes;
use tls_cork::{CorkConfig, CorkPolicy, MAX_RECORD_SIZE, Seal, SealError, SendFlags};

const ROUNDS: u64 = 10_000;
const HEADER: &[u8] = &[7; 28];
const BODY: &[u8] = &[42; 512];
/// The most heap memory that an idle stream keeps, in bytes.
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
fn an_idle_policy_keeps_no_buffers() {
    // When its time comes, or when its caller is about to wait for the peer.
    let by_time = |policy: &mut CorkPolicy<Zeros>| {
        let due = policy.poll_timeout().expect("a buffer to give back");
        let _ = policy.handle_timeout(due);
    };
    let by_wait = |policy: &mut CorkPolicy<Zeros>| {
        let _ = policy.handle_read_wait(Instant::now());
    };
    for idle in [by_time, by_wait] {
        // Its buffer is the thread's afterwards.
        idle(&mut filled_and_drained(policy()));
        let new = policy();
        let info = measure(|| {
            let mut policy = filled_and_drained(new);
            idle(&mut policy);
            assert_eq!((policy.waiting(), policy.poll_timeout()), (0, None));
            std::mem::forget(policy); // counts as kept
        });
        assert!(info.bytes_current < IDLE_BYTES, "{info:?}");
    }
}

/// Fills the buffer of `policy` with small and with shared pieces, then empties it.
fn filled_and_drained(mut policy: CorkPolicy<Zeros>) -> CorkPolicy<Zeros> {
    let now = Instant::now();
    write(&mut policy, now, &[1; MAX_RECORD_SIZE], SendFlags::NONE);
    let done = policy.transmit_with(|_, _| Err(io::ErrorKind::WouldBlock.into())).expect("no error");
    assert!(done.blocked);
    while policy.send_capacity() >= 4096 + HEADER.len() {
        write(&mut policy, now, HEADER, SendFlags::MORE);
        write_bytes(&mut policy, now, &[2; 4096], SendFlags::NONE);
    }
    assert!(policy.waiting() > 200_000);
    let _ = policy.transmit_with(take_all).expect("a transport that takes all");
    policy
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

/// A sealer that outputs one zero for each byte of plaintext and uses no heap memory.
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

    fn close_notify(&mut self) -> Result<(), SealError> {
        Ok(())
    }
}
