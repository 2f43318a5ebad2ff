//! Received bytes that differ from those that the peer sent: nothing of them is ever taken for the
//! peer's data.
#![no_main]

use std::io::{self, IoSlice};
use std::time::Instant;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tls_cork::{Connection, ReceiveError, SendFlags, WriteError};
use tls_cork_fuzz::{Cork, Len, Rest, pair, peer_input, peer_output, read_stream};
use tls_cork_testing::content::stream;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    tls13: bool,
    we_are_client: bool,
    shake_hands: bool,
    cork: Cork,
    ops: Vec<Op<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    /// Adds bytes to the wire, after those that the peer has sent.
    Bytes(&'a [u8]),
    Record {
        kind: u8,
        version: u8,
        body: &'a [u8],
    },
    PeerWrite(Len),
    PeerKeys,
    PeerClose,
    /// Lets the peer receive and send: a step of the handshake, an answer or an alert.
    PeerTurn,
    /// This change and the following ones apply to the bytes on the wire.
    Flip {
        at: u16,
        bits: u8,
    },
    Drop {
        at: u16,
        len: u8,
    },
    Insert {
        at: u16,
        byte: u8,
    },
    /// Adds a whole record of the wire again.
    Replay {
        record: u8,
    },
    Swap {
        record: u8,
    },
    Deliver(Len, bool),
    Read(Len),
    Write(Len, bool),
    Flush,
    Close,
    Abort,
    ReadWait,
}

/// The most KeyUpdates in a row that rustls accepts.
const PEER_KEYS_MAX: usize = 32;

struct World {
    ours: Connection,
    peer: rustls::Connection,
    wire: Vec<u8>,
    now: Instant,
    peer_wrote: usize,
    peer_closed: bool,
    got: usize,
    accepted: usize,
    peer_got: usize,
    failed: bool,
    /// The bytes that a failure has cost which a read has found and no receive has returned.
    unreturned: Option<usize>,
    closed: bool,
    /// Whether the wire carries bytes that the peer has not sent.
    forged: bool,
    /// Whether either side has sent an end before keys existed.
    early: bool,
    peer_keys: usize,
}

fuzz_target!(|input: Input<'_>| {
    let (ours, peer) = pair(input.tls13, input.we_are_client, input.cork.config());
    let mut world = World {
        ours,
        peer,
        wire: Vec::new(),
        now: Instant::now(),
        peer_wrote: 0,
        peer_closed: false,
        got: 0,
        accepted: 0,
        peer_got: 0,
        failed: false,
        unreturned: None,
        closed: false,
        forged: false,
        early: false,
        peer_keys: 0,
    };
    if input.shake_hands {
        for _ in 0..4 {
            world.peer_turn();
            world.deliver(usize::MAX, true);
        }
        world.peer_turn();
        assert!(!world.ours.is_handshaking() && !world.peer.is_handshaking());
    }
    for op in input.ops.iter().take(60) {
        world.apply(op);
    }
    world.deliver(usize::MAX, true);
    world.read(usize::MAX);
    world.deliver(usize::MAX, false);
    world.peer_turn();
});

impl World {
    fn apply(&mut self, op: &Op<'_>) {
        match op {
            Op::Bytes(data) => self.forge(data),
            Op::Record { kind, version, body } => {
                let kind = [20, 21, 22, 23, 24, *kind][usize::from(*kind) % 6];
                let len = (body.len() as u16).to_be_bytes();
                self.forge(&[&[kind, 3, *version % 5, len[0], len[1]], *body].concat());
            }
            Op::PeerWrite(len) if !self.peer_closed && self.peer_wrote < 400_000 => {
                let data = stream(self.peer_wrote, len.get());
                std::io::Write::write_all(&mut self.peer.writer(), &data).expect("no limit");
                self.peer_wrote += data.len();
                peer_output(&mut self.peer, &mut self.wire);
            }
            Op::PeerKeys if !self.peer_closed && self.peer_keys < PEER_KEYS_MAX => {
                self.peer_keys += 1;
                let _ = self.peer.refresh_traffic_keys();
                peer_output(&mut self.peer, &mut self.wire);
            }
            Op::PeerWrite(_) | Op::PeerKeys => {}
            Op::PeerClose => {
                // An alert that is not authenticated may be refused.
                self.early |= self.peer.is_handshaking();
                self.peer.send_close_notify();
                self.peer_closed = true;
                peer_output(&mut self.peer, &mut self.wire);
            }
            Op::PeerTurn => self.peer_turn(),
            Op::Flip { at, bits } => {
                if let Some(byte) = self.at(*at) {
                    self.forged |= *bits != 0;
                    self.wire[byte] ^= bits;
                }
            }
            Op::Drop { at, len } => {
                if let Some(start) = self.at(*at) {
                    let end = self.wire.len().min(start + usize::from(*len));
                    self.forged = true;
                    self.wire.drain(start..end);
                }
            }
            Op::Insert { at, byte } => {
                if let Some(at) = self.at(*at) {
                    self.forged = true;
                    self.wire.insert(at, *byte);
                }
            }
            Op::Replay { record } => {
                let records = self.records();
                if let Some(range) = records.get(usize::from(*record) % records.len().max(1)) {
                    let again = self.wire[range.clone()].to_vec();
                    self.forge(&again);
                }
            }
            Op::Swap { record } => {
                let records = self.records();
                let first = usize::from(*record) % records.len().max(1);
                if let [Some(one), Some(two)] = [records.get(first), records.get(first + 1)] {
                    self.forged = true;
                    self.wire[one.start..two.end].rotate_left(one.len());
                }
            }
            Op::Deliver(most, slice) => self.deliver(most.get(), *slice),
            Op::Read(most) => self.read(most.get()),
            Op::Write(len, more) => self.write(len.get(), *more),
            Op::Flush => _ = self.ours.flush(self.now),
            Op::Close => {
                let _ = self.ours.close(self.now);
                self.closed = true;
            }
            Op::Abort => {
                let waiting = self.ours.waiting();
                assert_eq!(self.ours.abort(), waiting);
                self.accepted -= waiting;
                self.closed = true;
                self.early |= self.ours.is_handshaking();
            }
            Op::ReadWait => _ = self.ours.handle_read_wait(self.now),
        }
    }

    fn forge(&mut self, data: &[u8]) {
        self.forged |= !data.is_empty();
        self.wire.extend_from_slice(data);
    }

    /// An offset into the wire, if anything is on it.
    fn at(&self, at: u16) -> Option<usize> {
        usize::from(at).checked_rem(self.wire.len())
    }

    /// The complete records on the wire, if it begins with one.
    fn records(&self) -> Vec<std::ops::Range<usize>> {
        let (mut records, mut start) = (Vec::new(), 0);
        while let Some([_, _, _, high, low]) = self.wire[start..].first_chunk::<5>() {
            let end = start + 5 + usize::from(u16::from_be_bytes([*high, *low]));
            if end > self.wire.len() {
                break;
            }
            records.push(start..end);
            start = end;
        }
        records
    }

    /// Gives our output to the peer, and the peer's output to the wire.
    fn peer_turn(&mut self) {
        let mut up = Vec::new();
        self.ours.poll_transmit(&mut up).expect("keys last");
        assert!(!self.ours.wants_transmit(), "a complete transmit leaves output");
        if self.failed {
            assert!(self.ours.is_finished(), "an alert leaves, and nothing is left");
        }
        match peer_input(&mut self.peer, &up, &mut self.peer_got) {
            Ok(rest) => assert!(rest != Rest::Cut),
            Err(_) => {
                assert!(self.forged || self.early, "an honest peer fails");
                self.peer_closed = true;
            }
        }
        assert!(self.peer_got <= self.accepted);
        peer_output(&mut self.peer, &mut self.wire);
    }

    fn deliver(&mut self, most: usize, slice: bool) {
        if self.unreturned.is_some() {
            return self.take_error();
        }
        let len = most.min(self.wire.len());
        if len == 0 {
            return;
        }
        let waiting = self.ours.waiting();
        let chunk = &self.wire[..len];
        let result =
            if slice { self.ours.receive(self.now, chunk) } else { self.ours.receive_from(self.now, &mut &chunk[..]) };
        match result {
            Ok(received) => {
                assert!(!self.failed, "a failed session received something");
                assert!(received.bytes <= len);
                assert!(!slice || received.bytes == len || !self.ours.wants_receive(), "stuck");
                self.wire.drain(..received.bytes);
            }
            Err(ReceiveError::Tls { discarded, .. }) => {
                assert!(self.forged || self.early, "what an honest peer said");
                self.fail(discarded, waiting);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// An error that a read has found is returned once with its cost, behind all plaintext.
    fn take_error(&mut self) {
        let readable = !self.ours.wants_receive();
        match self.ours.receive_from(self.now, &mut io::empty()) {
            Ok(received) => assert!(readable && received.readable && received.bytes == 0),
            Err(ReceiveError::Tls { discarded, .. }) => {
                assert!(!readable && self.unreturned.take() == Some(discarded));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn fail(&mut self, discarded: usize, waiting: usize) {
        assert_eq!(discarded, waiting);
        assert_eq!((self.ours.waiting(), self.ours.poll_timeout().is_some()), (0, self.spare_buffer_due()));
        assert!(self.ours.is_write_closed());
        self.accepted -= discarded;
        self.failed = true;
    }

    /// Whether a timeout is left, which can only be that of an idle buffer.
    fn spare_buffer_due(&self) -> bool {
        self.ours.poll_timeout().is_some_and(|at| at > self.now)
    }

    fn read(&mut self, most: usize) {
        let (waiting, failed) = (self.ours.waiting(), self.ours.failure().is_some());
        match read_stream(|buf| self.ours.read(buf), &mut self.got, most) {
            Rest::Open => {}
            Rest::End => {
                let all = self.got == self.peer_wrote || self.early;
                assert!(self.peer_closed && all, "an end that the peer did not say");
            }
            Rest::Cut => panic!("the transport has not ended"),
        }
        assert!(self.got <= self.peer_wrote);
        if !failed && self.ours.failure().is_some() {
            assert!(self.forged || self.early, "what an honest peer said");
            self.fail(waiting, waiting);
            self.unreturned = Some(waiting);
        }
    }

    fn write(&mut self, len: usize, more: bool) {
        let data = stream(self.accepted, len);
        match self.ours.write(self.now, &[IoSlice::new(&data)], SendFlags::more_if(more)) {
            Ok(written) => {
                assert!(!self.failed && !self.closed);
                self.accepted += written.accepted;
            }
            Err(WriteError::Blocked) => assert_eq!(self.ours.send_capacity(), 0),
            Err(WriteError::Closed) => assert!(self.closed),
            Err(error) => assert!(self.failed && error == WriteError::Failed),
        }
    }
}
