//! R16: one call does its share and leaves the rest to the next; and it costs in proportion to its slices.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use allocation_counter::measure;
use bytes::Bytes;
use support::memory::{Endless, endless, writable};
use support::patient;
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;
use tls_cork_testing::content::noise;

const LEN: usize = 64 << 20;
/// What one call may accept: its share, and the batch in which it ends.
const SHARE: usize = (256 + 96) * 1024;

/// One turn's call of a sender that offers the rest of `LEN` bytes.
type Send = fn(&mut TlsStream<Endless>, &Bytes, usize) -> io::Result<usize>;

const SENDS: [(&str, Send); 4] = [
    ("send", |stream, data, done| stream.send(&data[done..], SendFlags::NONE)),
    ("send_vectored", |stream, data, done| {
        let bufs: Vec<_> = data[done..].chunks(100_000).map(IoSlice::new).collect();
        stream.send_vectored(&bufs, SendFlags::NONE)
    }),
    ("send_bytes", |stream, data, done| stream.send_bytes(&mut data.slice(done..), SendFlags::NONE)),
    ("send_all_bytes", |stream, data, done| {
        let mut rest = data.slice(done..);
        match stream.send_all_bytes(&mut rest, SendFlags::NONE) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            sent => {
                assert_eq!(sent.is_ok(), rest.is_empty());
                Ok(data.len() - done - rest.len())
            }
        }
    }),
];

#[test]
fn a_send_to_a_transport_that_never_fills_ends_by_the_documentation() {
    let data = Bytes::from(vec![7; LEN]);
    for (name, send) in SENDS {
        let (mut stream, _peer) = endless(CorkConfig::default());
        let (mut done, mut calls) = (0, 0);
        while done < LEN {
            // "Offer the rest again at once, until all are accepted or `WouldBlock` comes."
            let accepted = send(&mut stream, &data, done).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(0 < accepted && accepted <= SHARE, "{name}: {accepted} bytes in one call");
            done += accepted;
            calls += 1;
        }
        assert_eq!(stream.stats().plaintext_bytes as usize, LEN, "{name}");
        assert!(!stream.wants_transmit(), "{name}");
        assert!(calls <= LEN / (256 * 1024), "{name}: {calls} calls");
    }
}

#[test]
fn a_loop_that_offers_the_rest_in_its_next_turn_does_not_sleep_before() {
    let data = Bytes::from(vec![7; 4 << 20]);
    for (name, send) in SENDS {
        let (mut stream, _peer) = endless(CorkConfig::default());
        let mut done = 0;
        while done < data.len() {
            done += send(&mut stream, &data, done).unwrap_or_else(|error| panic!("{name}: {error}"));
            let timeout = stream.before_poll().unwrap();
            assert_eq!(timeout == Some(Duration::ZERO), done < data.len(), "{name}: {done} bytes");
        }
        // A loop that gives up instead is not kept from sleeping.
        assert!(send(&mut stream, &data, 0).unwrap() < data.len(), "{name}");
        assert_eq!(stream.before_poll().unwrap(), Some(Duration::ZERO), "{name}");
        assert_ne!(stream.before_poll().unwrap(), Some(Duration::ZERO), "{name}: it would spin");
    }
}

#[test]
fn what_waits_leaves_in_shares_too() {
    let (mut stream, _peer) = endless(CorkConfig::default().send_buffer_limit(8 << 20));
    stream.get_mut().full = true;
    let mut data = Bytes::from(vec![7; 16 << 20]);
    let error = loop {
        if let Err(error) = stream.send_bytes(&mut data, SendFlags::NONE) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.get_mut().full = false;
    stream.handle_event(&writable()).unwrap();
    let (mut turns, mut before) = (0, 0);
    while stream.wants_transmit() {
        let timeout = stream.before_poll().unwrap();
        let sent = stream.get_ref().taken - before;
        // That of the event, and that of the turn.
        assert!(0 < sent && sent <= 2 * SHARE, "{sent} bytes in a turn");
        assert_eq!(timeout == Some(Duration::ZERO), stream.wants_transmit());
        before += sent;
        turns += 1;
    }
    assert!(turns >= 20, "{turns}");
}

#[test]
fn a_long_turn_of_held_sends_sees_its_deadline() {
    let config = CorkConfig::default().max_hold(Duration::from_millis(1));
    let piece: fn(&mut TlsStream<Endless>) -> io::Result<usize> = |stream| stream.send(b"piece", SendFlags::MORE);
    let slices: fn(&mut TlsStream<Endless>) -> io::Result<usize> =
        |stream| stream.send_vectored(&[IoSlice::new(b"pi"), IoSlice::new(b"ece")], SendFlags::MORE);
    let bytes: fn(&mut TlsStream<Endless>) -> io::Result<usize> =
        |stream| stream.send_bytes(&mut Bytes::from_static(b"piece"), SendFlags::MORE);
    // The clock is read for one of sixteen held sends.
    for (name, send, most) in [("send", piece, 16), ("send_vectored", slices, 1), ("send_bytes", bytes, 1)] {
        let (mut stream, _peer) = endless(config.clone());
        assert_eq!(send(&mut stream).unwrap(), 5, "{name}");
        std::thread::sleep(Duration::from_millis(2));
        for _ in 0..most {
            assert_eq!(send(&mut stream).unwrap(), 5, "{name}");
        }
        assert!(stream.get_ref().sends > 0, "{name}: the deadline has passed in this turn");
    }
}

#[test]
fn slices_are_copied_once_however_many_calls_take_them() {
    let data = noise(1 << 20, 3);
    let allocated = |slices: usize| {
        let (mut stream, _peer) = endless(patient());
        let mut bufs: Vec<_> = data[..slices].chunks(1).map(IoSlice::new).collect();
        let mut rest = &mut bufs[..];
        measure(|| {
            while !rest.is_empty() {
                let accepted = stream.send_vectored(rest, SendFlags::NONE).unwrap();
                IoSlice::advance_slices(&mut rest, accepted);
            }
        })
        .bytes_total
    };
    let (some, many) = (allocated(1 << 18), allocated(1 << 20));
    assert!(many <= 4 * some + some / 5, "{some} bytes, and {many} for four times the slices");
}
