//! A `Connection` and a peer of plain rustls: whatever both sides do, bytes arrive intact, in
//! order, and with the right end.
#![no_main]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tls_cork::{Connection, ReceiveError, SendFlags, WriteError, Written};
use tls_cork_fuzz::{Cork, Len, Rest, pair, peer_input, peer_output, read_stream};
use tls_cork_testing::content::{GARBAGE, stream};

#[derive(Arbitrary, Debug)]
struct Input {
    tls13: bool,
    we_are_client: bool,
    shake_hands: bool,
    cork: Cork,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Write(Len, bool),
    WriteBytes(Len, bool),
    Vectored([u8; 3], bool),
    Cork,
    Uncork,
    Flush,
    Advance(u8),
    ReadWait,
    Transmit(Len, Option<u16>),
    Take,
    Receive(Len, bool),
    Read(Len),
    Close,
    Abort,
    /// The transport ends.
    Eof,
    PeerReceive(Len),
    PeerSend(u16),
    PeerWrite(Len),
    /// The peer sends this many KeyUpdates.
    PeerKeys(u8),
    PeerClose,
    /// The peer receives garbage, and sends an alert.
    PeerFail,
    Exchange,
}

/// The most bytes that the peer writes, so that a run is bounded.
const PEER_MAX: usize = 512 * 1024;
/// The most KeyUpdates in a row that rustls accepts.
const PEER_KEYS_MAX: usize = 32;
/// The most bytes of TLS itself: a flight of the handshake, an alert, the answer to a KeyUpdate.
const CONTROL_MAX: usize = 8 * 1024;

struct World {
    ours: Connection,
    peer: rustls::Connection,
    up: VecDeque<u8>,
    /// Bytes that the peer has sent, and that are not yet in `down`.
    queued: VecDeque<u8>,
    down: VecDeque<u8>,
    now: Instant,
    cork: Cork,
    accepted: usize,
    lost: usize,
    peer_got: usize,
    peer_end: bool,
    peer_wrote: usize,
    got: usize,
    end: bool,
    closed: bool,
    failed: bool,
    /// The bytes that a failure has cost which a read has found and no receive has returned.
    unreturned: Option<usize>,
    eof: bool,
    /// Whether we have aborted during the handshake.
    aborted: bool,
    peer_closed: bool,
    peer_failed: bool,
    /// The number of KeyUpdates that the peer was asked to send.
    peer_keys: usize,
}

fuzz_target!(|input: Input| {
    let (ours, peer) = pair(input.tls13, input.we_are_client, input.cork.config());
    let mut world = World {
        ours,
        peer,
        up: VecDeque::new(),
        queued: VecDeque::new(),
        down: VecDeque::new(),
        now: Instant::now(),
        cork: input.cork,
        accepted: 0,
        lost: 0,
        peer_got: 0,
        peer_end: false,
        peer_wrote: 0,
        got: 0,
        end: false,
        closed: false,
        failed: false,
        unreturned: None,
        eof: false,
        aborted: false,
        peer_closed: false,
        peer_failed: false,
        peer_keys: 0,
    };
    if input.shake_hands {
        world.exchange();
        assert!(!world.ours.is_handshaking() && !world.peer.is_handshaking());
    }
    for op in input.ops.iter().take(60) {
        world.apply(op);
        world.check();
    }
    world.finish();
});

impl World {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write(len, more) => {
                let data = stream(self.accepted, len.get());
                let result = self.ours.write(self.now, &[IoSlice::new(&data)], SendFlags::more_if(*more));
                self.wrote(data.len(), result);
            }
            Op::WriteBytes(len, more) => {
                let mut data = Bytes::from(stream(self.accepted, len.get()));
                let result = self.ours.write_bytes(self.now, &mut data, SendFlags::more_if(*more));
                assert_eq!(data.len() + result.map_or(0, |written| written.accepted), len.get());
                self.wrote(len.get(), result);
            }
            Op::Vectored(lens, more) => {
                let len = lens.iter().map(|len| usize::from(*len)).sum();
                let data = stream(self.accepted, len);
                let (first, rest) = data.split_at(lens[0].into());
                let (second, third) = rest.split_at(lens[1].into());
                let bufs = [first, second, third].map(IoSlice::new);
                let result = self.ours.write(self.now, &bufs, SendFlags::more_if(*more));
                self.wrote(len, result);
            }
            Op::Cork => self.ours.cork(self.now),
            Op::Uncork => _ = self.ours.uncork(self.now),
            Op::Flush => _ = self.ours.flush(self.now),
            Op::Advance(ms) => {
                self.now += Duration::from_millis((*ms).into());
                let _ = self.ours.handle_timeout(self.now);
                assert!(self.ours.poll_timeout().is_none_or(|at| at > self.now), "a timeout that is due again at once");
            }
            Op::ReadWait => _ = self.ours.handle_read_wait(self.now),
            Op::Transmit(capacity, step) => {
                self.transmit(capacity.get(), step.map_or(usize::MAX, |step| 1 + usize::from(step)));
            }
            Op::Take => _ = self.take(),
            Op::Receive(most, slice) => _ = self.receive(most.get(), *slice),
            Op::Read(most) => self.read(most.get()),
            Op::Close => {
                let _ = self.ours.close(self.now);
                self.closed = true;
            }
            Op::Abort => {
                let waiting = self.ours.waiting();
                let discarded = self.ours.abort();
                assert_eq!(discarded, waiting);
                self.lost += discarded;
                self.closed = true;
                // The peer may refuse our alert too, which is not authenticated.
                self.aborted |= self.ours.is_handshaking();
            }
            Op::Eof => self.end_of_transport(),
            Op::PeerReceive(most) => _ = self.peer_receive(most.get()),
            Op::PeerSend(most) => _ = self.peer_send((*most).into()),
            Op::PeerWrite(len) => self.peer_write(len.get()),
            Op::PeerKeys(count) if !self.peer_closed => {
                self.peer_keys += usize::from(*count);
                for _ in 0..*count {
                    // rustls refuses this before the end of the handshake, and in TLS 1.2.
                    let _ = self.peer.refresh_traffic_keys();
                }
            }
            Op::PeerKeys(_) => {}
            Op::PeerClose => {
                // An alert that is not authenticated may be refused.
                self.peer_failed |= self.peer.is_handshaking();
                self.peer.send_close_notify();
                self.peer_closed = true;
            }
            Op::PeerFail => {
                self.peer_failed = true;
                let _ = peer_input(&mut self.peer, &GARBAGE, &mut 0);
            }
            Op::Exchange => self.exchange(),
        }
    }

    fn wrote(&mut self, offered: usize, result: Result<Written, WriteError>) {
        match result {
            Ok(written) => {
                assert!(!self.closed && !self.failed, "accepted after the end");
                assert!(written.accepted <= offered && (written.accepted > 0 || offered == 0));
                self.accepted += written.accepted;
            }
            Err(WriteError::Blocked) => assert_eq!(self.ours.send_capacity(), 0, "R9"),
            Err(WriteError::Closed) => assert!(self.closed && !self.failed),
            Err(WriteError::Failed) => assert!(self.failed),
            Err(error) => panic!("{error}"),
        }
    }

    fn transmit(&mut self, mut capacity: usize, step: usize) -> usize {
        let most = self.output_max();
        let (up, mut says_more) = (&mut self.up, false);
        let done = self.ours.transmit_with(|bufs, more| {
            let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
            assert!(offered > 0 && offered <= most, "R9: {offered} bytes of output wait");
            if capacity == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let take = offered.min(capacity).min(step);
            capacity -= take;
            up.extend(bufs.iter().flat_map(|buf| buf.iter()).take(take));
            says_more = more;
            Ok(take)
        });
        let done = done.expect("keys last, and the transport only pushes back");
        if !done.blocked {
            assert!(!says_more, "R8: nothing came behind the last bytes");
            assert!(!self.ours.wants_transmit(), "a complete transmit leaves output");
            self.check_held();
        }
        done.bytes
    }

    fn take(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(output) = self.ours.take_transmit().expect("keys last") {
            assert!(!output.data.is_empty() && output.data.len() <= self.output_max(), "R9");
            bytes += output.data.len();
            self.up.extend(&output.data);
        }
        assert!(!self.ours.wants_transmit(), "a complete transmit leaves output");
        self.check_held();
        bytes
    }

    /// R9: the bound on output: one batch in wire bytes, and the bytes of TLS itself.
    fn output_max(&self) -> usize {
        let most = self.cork.batches().1;
        let record = if self.cork.ramp() { self.cork.record_size().min(100) } else { self.cork.record_size() };
        most + (most / record + 1) * 64 + CONTROL_MAX
    }

    /// R1, R2: after a transmit that was not blocked, only a held tail waits.
    fn check_held(&self) {
        if !self.ours.is_handshaking() {
            let waiting = self.ours.waiting();
            let gathers = self.cork.hold_limit() > self.cork.record_size();
            let whole = waiting >= self.cork.record_size().max(2);
            assert!((gathers || !whole) && waiting <= self.cork.hold_limit(), "{waiting} held");
            assert!(waiting == 0 || self.ours.poll_timeout().is_some(), "R5: held without a deadline");
        }
    }

    fn receive(&mut self, most: usize, slice: bool) -> usize {
        if self.eof {
            return 0;
        }
        let chunk: Vec<u8> = self.down.iter().copied().take(most).collect();
        if chunk.is_empty() {
            return 0;
        }
        let waiting = self.ours.waiting();
        let result =
            if slice { self.ours.receive(self.now, &chunk) } else { self.ours.receive_from(self.now, &mut &chunk[..]) };
        match result {
            Ok(received) => {
                assert!(received.bytes <= chunk.len());
                if slice && received.bytes < chunk.len() {
                    assert!(!self.ours.wants_receive(), "{} of {} bytes taken", received.bytes, chunk.len());
                }
                self.down.drain(..received.bytes);
                received.bytes
            }
            Err(error) => {
                self.failed(error, waiting);
                0
            }
        }
    }

    fn failed(&mut self, error: ReceiveError, waiting: usize) {
        let discarded = match error {
            ReceiveError::Tls { error, discarded, .. } => {
                assert!(
                    self.peer_failed || self.aborted || self.peer_keys > PEER_KEYS_MAX,
                    "what an honest peer said: {error}"
                );
                discarded
            }
            ReceiveError::HandshakeEof { discarded } => {
                assert!(self.eof);
                discarded
            }
            error => panic!("{error}"),
        };
        if let Some(found) = self.unreturned.take() {
            assert_eq!(discarded, found, "what a read has found");
            return;
        }
        assert_eq!(discarded, waiting, "what is lost is said, once");
        assert_eq!(self.ours.waiting(), 0);
        self.lost += discarded;
        self.failed = true;
    }

    fn read(&mut self, most: usize) {
        let (waiting, failed) = (self.ours.waiting(), self.ours.failure().is_some());
        match read_stream(|buf| self.ours.read(buf), &mut self.got, most) {
            Rest::Open => {}
            Rest::End => {
                let all = self.got == self.peer_wrote || self.peer_failed;
                assert!(self.peer_closed && all, "a proper end before the last byte");
                self.end = true;
            }
            Rest::Cut => assert!(self.eof && !self.end),
        }
        assert!(self.got <= self.peer_wrote);
        if !failed && self.ours.failure().is_some() {
            assert_eq!(self.ours.waiting(), 0);
            self.lost += waiting;
            self.failed = true;
            self.unreturned = Some(waiting);
        }
    }

    fn end_of_transport(&mut self) {
        self.eof = true;
        let waiting = self.ours.waiting();
        match self.ours.receive_from(self.now, &mut io::empty()) {
            Ok(received) => assert_eq!(received.bytes, 0),
            Err(error) => self.failed(error, waiting),
        }
    }

    fn peer_receive(&mut self, most: usize) -> usize {
        let len = most.min(self.up.len());
        let chunk: Vec<u8> = self.up.drain(..len).collect();
        match peer_input(&mut self.peer, &chunk, &mut self.peer_got) {
            Ok(Rest::End) => {
                assert!(
                    self.closed && self.lost == 0 && self.peer_got == self.accepted,
                    "R11: an end, and data is lost"
                );
                self.peer_end = true;
            }
            Ok(rest) => assert_eq!(rest, Rest::Open),
            Err(error) => {
                assert!(self.failed || self.peer_failed || self.aborted, "what we said: {error}");
                self.peer_failed = true;
            }
        }
        assert!(self.peer_got <= self.accepted);
        len
    }

    fn peer_send(&mut self, most: usize) -> usize {
        let mut out = Vec::new();
        peer_output(&mut self.peer, &mut out);
        self.queued.extend(out);
        let len = most.min(self.queued.len());
        self.down.extend(self.queued.drain(..len));
        len
    }

    fn peer_write(&mut self, len: usize) {
        if self.peer_closed || self.peer_failed || self.peer_wrote + len > PEER_MAX {
            return;
        }
        let data = stream(self.peer_wrote, len);
        io::Write::write_all(&mut self.peer.writer(), &data).expect("no limit");
        self.peer_wrote += len;
    }

    /// Moves bytes both ways until none move.
    fn exchange(&mut self) {
        for _ in 0..10_000 {
            let before = self.got;
            self.read(usize::MAX);
            let mut moved = self.got - before;
            moved += self.transmit(usize::MAX, usize::MAX);
            moved += self.peer_receive(usize::MAX);
            moved += self.peer_send(usize::MAX);
            moved += self.receive(usize::MAX, true);
            if moved == 0 {
                return;
            }
        }
        panic!("they never come to rest");
    }

    fn check(&self) {
        let stats = self.ours.stats();
        let waiting = self.ours.waiting();
        assert_eq!(self.accepted, stats.plaintext_bytes as usize + waiting + self.lost, "every byte is somewhere");
        assert!(waiting <= self.cork.send_buffer(), "R9");
        assert_eq!(self.ours.is_write_closed(), self.closed || self.failed);
        assert!(stats.largest_batch as usize <= self.cork.batches().1.max(self.cork.record_size()), "R7");
        if self.ours.is_handshaking() && waiting > 0 {
            assert_eq!(self.ours.poll_timeout(), None, "R6: no deadline before keys exist");
        }
    }

    fn finish(mut self) {
        self.exchange();
        self.check();
        let honest = !self.failed && !self.peer_failed && !self.eof && !self.aborted;
        if honest {
            assert!(!self.ours.is_handshaking() && !self.peer.is_handshaking(), "the handshake got stuck");
        }
        if !self.closed && honest {
            let _ = self.ours.flush(self.now);
            self.exchange();
            if !self.ours.is_handshaking() {
                assert_eq!((self.peer_got, self.ours.waiting()), (self.accepted, 0));
            }
        }
        let _ = self.ours.close(self.now);
        self.closed = true;
        self.exchange();
        self.check();
        if self.failed || !self.ours.is_handshaking() {
            assert!(self.ours.is_finished(), "the close is through");
        }
        if honest && !self.failed && !self.ours.is_handshaking() && !self.peer.is_handshaking() {
            assert_eq!(self.peer_end, self.lost == 0, "the peer sees the end that it should");
            assert_eq!(self.peer_got + self.lost, self.accepted);
            assert_eq!(self.got, self.peer_wrote);
            assert_eq!(self.end, self.peer_closed);
        }
    }
}
