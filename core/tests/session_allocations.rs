//! Heap allocations of sending over rustls, and the memory that an idle session keeps. Counted per
//! thread, so that tests that run in parallel do not disturb one another.
#![allow(clippy::disallowed_methods)] // the start of virtual time

#[path = "../benches/session/mod.rs"]
mod session;

use std::io::{self, IoSlice, Write};
use std::time::Instant;

use allocation_counter::measure;
use bytes::Bytes;
use tls_cork::{CorkConfig, SendFlags};

const ROUNDS: u64 = 10_000;
const HEADER: &[u8] = &[7; 28];
const BODY: &[u8] = &[42; 512];
/// Header and body in one record of TLS 1.3, which adds its header, the content type and the tag.
const RECORD: usize = HEADER.len() + BODY.len() + 5 + 1 + 16;
/// The most heap memory that an idle session keeps, in bytes.
const IDLE_BYTES: i64 = 1024;
/// A message that a server has for many clients.
const SHARED_BYTES: usize = 16 << 20;
/// The most heap that such a message takes for a client that does not read, in bytes.
const STALLED_BYTES: u64 = 128 * 1024;

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

#[test]
fn a_shared_message_is_not_copied_for_a_peer_that_does_not_read() {
    let message = Bytes::from(vec![5; SHARED_BYTES]);
    let mut corked = session::corked_with(CorkConfig::default().send_buffer_limit(SHARED_BYTES));
    let info = measure(|| {
        let mut shared = message.clone();
        let _ = corked.write_bytes(Instant::now(), &mut shared, SendFlags::NONE).expect("room");
        assert!(shared.is_empty(), "{} bytes were not accepted", shared.len());
        let done = corked.transmit_with(|_, _| Err(io::ErrorKind::WouldBlock.into())).expect("no error");
        assert!(done.blocked);
    });
    println!("{} bytes of heap for a shared message of {SHARED_BYTES} bytes", info.bytes_current);
    assert!(corked.waiting() > SHARED_BYTES / 2, "the message waits");
    assert!(info.bytes_max < STALLED_BYTES, "{info:?}");
}

fn take_all(bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
    Ok(bufs.iter().map(|buf| buf.len()).sum())
}
