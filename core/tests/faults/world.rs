//! A `Connection` over a transport that fails as planned, with a driver, and a peer of plain
//! rustls.

use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::{ClientConnection, ServerConnection};
use tls_cork::{Connection, CorkConfig, ReceiveError, SendFlags, TransmitError, WriteError};
use tls_cork_testing::content::stream;
use tls_cork_testing::sessions::{Configs, name};

use crate::pair::read_all;
use crate::transport::{Fault, Plan, Transport};

pub(crate) const MAX_HOLD: Duration = Duration::from_millis(10);
const RECORD: usize = 1024;
const SEND_BUFFER: usize = 4096;
const BATCH_MAX: usize = 4096;
/// The most by which a record is longer than its plaintext, in bytes.
const OVERHEAD: usize = 29;
/// The most bytes of a handshake with one certificate, alerts and answers to KeyUpdates.
const CONTROL: usize = 4096;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Writes these slices as one event, and the rest again until all is accepted.
    Send(&'static [usize], bool),
    SendBytes(usize, bool),
    Cork,
    Uncork,
    Flush,
    ReadWait,
    /// Moves bytes both ways until none move.
    Exchange,
    /// Advances to the next deadline.
    Wait,
    PeerSends(usize),
    /// The peer sends a KeyUpdate that asks for an answer. TLS 1.2 has none.
    PeerUpdatesKeys,
    PeerCloses,
    Close,
}

pub(crate) struct World {
    pub(crate) conn: Connection,
    peer: rustls::Connection,
    pub(crate) transport: Transport,
    now: Instant,
    /// The end offset of each accepted write, and its time.
    events: Vec<(usize, Instant)>,
    pub(crate) arrived: usize,
    /// Whether the peer has received our `close_notify`.
    pub(crate) arrived_end: bool,
    /// Whether an alert of ours has ended the peer.
    peer_failed: bool,
    peer_sent: usize,
    received: usize,
    received_end: bool,
    /// Whether nothing more is to be received, after the end or an error.
    deaf: bool,
    /// The number of lost bytes that errors and `abort` have reported.
    pub(crate) lost: usize,
    /// Whether a call has reported a fault.
    pub(crate) told: bool,
    /// Whether receiving has failed for good.
    failed: bool,
    aborted: bool,
    /// Whether the abort came before keys existed.
    aborted_early: bool,
    handshaken: bool,
}

impl World {
    pub(crate) fn new(configs: &Configs, client: bool, plan: Plan) -> Self {
        let cork = CorkConfig::default()
            .record_size(RECORD)
            .send_buffer_limit(SEND_BUFFER)
            .batch_size(RECORD..=BATCH_MAX)
            .max_hold(MAX_HOLD);
        let (for_client, for_server) = (configs.0.clone(), configs.1.clone());
        let (conn, peer) = if client {
            let peer = ServerConnection::new(for_server).expect("a server").into();
            (Connection::client(for_client, name(), cork), peer)
        } else {
            let peer = ClientConnection::new(for_client, name()).expect("a client").into();
            (Connection::server(for_server, cork), peer)
        };
        Self {
            conn: conn.expect("a connection"),
            peer,
            transport: Transport::new(plan),
            now: Instant::now(),
            events: Vec::new(),
            arrived: 0,
            arrived_end: false,
            peer_failed: false,
            peer_sent: 0,
            received: 0,
            received_end: false,
            deaf: false,
            lost: 0,
            told: false,
            failed: false,
            aborted: false,
            aborted_early: false,
            handshaken: false,
        }
    }

    pub(crate) fn accepted(&self) -> usize {
        self.events.last().map_or(0, |(end, _)| *end)
    }

    pub(crate) fn run(&mut self, script: &[Op]) {
        for (index, op) in script.iter().enumerate() {
            self.advance(Duration::from_millis(1));
            match self.transport.plan.fault {
                Fault::Jump(at, time) if at == index => self.advance(time),
                Fault::Abort(at) if at == index => {
                    self.aborted_early = self.conn.is_handshaking();
                    self.lost += self.conn.abort();
                    self.aborted = true;
                }
                Fault::Garbage(at) if at == index => self.transport.garbage(),
                Fault::Blocked(at) => self.transport.blocked = at == index,
                _ => {}
            }
            self.apply(*op);
            self.check();
        }
        self.transport.blocked = false;
        self.exchange();
        self.finish();
    }

    fn apply(&mut self, op: Op) {
        let now = self.now;
        match op {
            Op::Send(lens, more) => self.send(lens, more),
            Op::SendBytes(len, more) => self.send_bytes(len, more),
            Op::Cork => self.conn.cork(now),
            Op::Uncork => {
                let _ = self.conn.uncork(now);
            }
            Op::Flush => {
                let _ = self.conn.flush(now);
            }
            Op::ReadWait => {
                let _ = self.conn.handle_read_wait(now);
            }
            Op::Exchange => self.exchange(),
            Op::Wait => {
                self.exchange();
                if let Some(at) = self.conn.poll_timeout() {
                    self.advance(at.saturating_duration_since(now));
                }
                self.exchange();
            }
            // rustls would send its end before the data that it got during the handshake.
            Op::PeerSends(_) | Op::PeerUpdatesKeys | Op::PeerCloses
                if self.peer.is_handshaking() || self.peer_failed => {}
            Op::PeerSends(len) => {
                self.peer.writer().write_all(&stream(self.peer_sent, len)).expect("room at the peer");
                self.peer_sent += len;
            }
            Op::PeerUpdatesKeys => {
                if self.peer.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
                    self.peer.refresh_traffic_keys().expect("new keys");
                }
            }
            Op::PeerCloses => self.peer.send_close_notify(),
            Op::Close => {
                let _ = self.conn.close(now);
            }
        }
    }

    fn advance(&mut self, time: Duration) {
        if !self.transport.plan.frozen {
            self.now += time;
        }
    }

    /// Writes the rest again as long as that makes bytes leave.
    fn send(&mut self, lens: &[usize], more: bool) {
        let mut data = stream(self.accepted(), lens.iter().sum());
        let mut lens = lens.to_vec();
        while !data.is_empty() {
            let mut rest = &data[..];
            let bufs: Vec<_> = lens.iter().map(|len| IoSlice::new(rest.split_off(..*len).expect("a piece"))).collect();
            let written = self.conn.write(self.now, &bufs, SendFlags::more_if(more)).map(|written| written.accepted);
            let accepted = written.unwrap_or(0);
            if !self.wrote(written) {
                return;
            }
            data.drain(..accepted);
            lens = vec![data.len()];
        }
    }

    fn send_bytes(&mut self, len: usize, more: bool) {
        let mut data = Bytes::from(stream(self.accepted(), len));
        while !data.is_empty() {
            let offered = data.len();
            let written = self.conn.write_bytes(self.now, &mut data, SendFlags::more_if(more));
            let written = written.map(|written| written.accepted);
            assert_eq!(data.len(), offered - written.unwrap_or(0), "exactly what was accepted is split off");
            if !self.wrote(written) {
                return;
            }
        }
    }

    /// Records the result of a write; returns whether to write more.
    fn wrote(&mut self, written: Result<usize, WriteError>) -> bool {
        match written {
            Ok(accepted) => {
                assert!(accepted > 0, "point 8: nothing accepted, and no error");
                self.events.push((self.accepted() + accepted, self.now));
                self.check();
                true
            }
            Err(WriteError::Blocked) => {
                assert_eq!(self.conn.send_capacity(), 0, "R9");
                let before = self.transport.moved;
                self.exchange();
                self.transport.moved > before
            }
            Err(WriteError::Closed) => {
                assert!(self.aborted, "no write of the script follows its close");
                false
            }
            Err(WriteError::Failed) => {
                assert!(self.told, "a write failed before an error was reported");
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Moves bytes both ways until none move for as many turns as the transport may put calls off.
    fn exchange(&mut self) {
        let patience = self.transport.patience();
        let mut idle = 0;
        while idle < patience {
            let before = (self.transport.moved, self.received, self.arrived);
            self.fire_timer();
            self.transmit();
            self.peer_turn();
            self.receive();
            idle = if before == (self.transport.moved, self.received, self.arrived) { idle + 1 } else { 0 };
        }
        self.check_deadlines();
    }

    fn fire_timer(&mut self) {
        if self.conn.poll_timeout().is_some_and(|at| at <= self.now) {
            let _ = self.conn.handle_timeout(self.now);
            assert!(self.conn.poll_timeout().is_none_or(|at| at > self.now), "a deadline is due again at once");
        }
    }

    fn transmit(&mut self) {
        if !self.conn.wants_transmit() {
            return;
        }
        let (transport, mut says_more) = (&mut self.transport, false);
        let before = transport.moved;
        let mut calls = 0;
        let result = self.conn.transmit_with(|bufs, more| {
            calls += 1;
            assert!(calls < 100_000, "the transmit does not end");
            let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
            let records = BATCH_MAX / RECORD;
            assert!(
                offered > 0 && offered <= BATCH_MAX + records * OVERHEAD + CONTROL,
                "R9: {offered} bytes of output"
            );
            let taken = transport.send(bufs);
            says_more = match taken {
                Ok(taken) => more || taken < offered,
                Err(_) => says_more,
            };
            taken
        });
        let moved = self.transport.moved - before;
        match result {
            Ok(done) => {
                assert_eq!(done.bytes, moved);
                assert!(done.blocked || !says_more, "R8: `more` was set, and nothing was sent after it");
                assert!(
                    done.blocked || !self.conn.wants_transmit(),
                    "wants_transmit is true, and a transmit does nothing"
                );
            }
            Err(TransmitError::Io(error)) => {
                assert!(self.transport.took_fault(&error), "an error that the transport did not return: {error}");
                self.told = true;
            }
            Err(TransmitError::WriteZero) => self.told = true,
            Err(error) => panic!("{error}"),
        }
    }

    fn receive(&mut self) {
        while !self.deaf && self.conn.wants_receive() && self.transport.is_readable() {
            match self.conn.receive_from(self.now, &mut self.transport) {
                Ok(received) => {
                    self.deaf = received.bytes == 0;
                    assert!(!self.deaf || self.transport.is_ended(), "received nothing although bytes were there");
                    assert!(!self.deaf || received.readable, "the end is there to be read");
                }
                Err(ReceiveError::Io(error)) => {
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                        break;
                    }
                    assert!(self.transport.took_fault(&error), "an error that the transport did not return: {error}");
                    self.told = true;
                    self.deaf = self.transport.is_dead();
                    break;
                }
                Err(ReceiveError::HandshakeEof { discarded } | ReceiveError::Tls { discarded, .. }) => {
                    assert!(self.transport.is_ended() || self.transport.plan.ends_in_an_alert());
                    self.lost += discarded;
                    (self.told, self.deaf, self.failed) = (true, true, true);
                }
                Err(error) => panic!("{error}"),
            }
            self.read();
        }
        self.read();
        self.handshaken |= !self.conn.is_handshaking();
    }

    fn read(&mut self) {
        match read_all(&mut self.conn) {
            Ok((data, end)) => {
                assert!(data == stream(self.received, data.len()), "what the peer sent, in order");
                self.received += data.len();
                self.received_end |= end;
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                assert!(self.transport.is_ended(), "a cut was reported, and there was none");
                self.told = true;
            }
        }
        assert!(!self.received_end || self.received == self.peer_sent, "a proper end of a stream that was cut");
    }

    fn peer_turn(&mut self) {
        while !self.transport.up.is_empty() && self.peer.wants_read() {
            self.peer.read_tls(&mut self.transport.up).expect("memory does not fail");
            let state = self.peer.process_new_packets();
            if let Err(error) = state {
                let alert = matches!(error, rustls::Error::AlertReceived(_));
                assert!(alert && self.transport.plan.ends_in_an_alert(), "the peer: {error}");
                self.transport.up.clear();
                self.peer_failed = true;
            }
            self.peer_reads();
        }
        let mut down = Vec::new();
        while self.peer.wants_write() {
            self.peer.write_tls(&mut down).expect("memory does not fail");
        }
        self.transport.deliver(&down);
    }

    fn peer_reads(&mut self) {
        let mut data = Vec::new();
        match self.peer.reader().read_to_end(&mut data) {
            Ok(_) => self.arrived_end = true,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(data == stream(self.arrived, data.len()), "lost, repeated or out of order behind {}", self.arrived);
        self.arrived += data.len();
        assert!(self.arrived <= self.accepted(), "more than was accepted");
        assert!(
            !self.arrived_end || self.arrived == self.accepted(),
            "close_notify after {} of {} bytes",
            self.arrived,
            self.accepted()
        );
    }

    fn check(&self) {
        assert!(self.conn.waiting() <= SEND_BUFFER, "R9: {} bytes wait", self.conn.waiting());
        assert!(self.conn.stats().largest_batch <= BATCH_MAX as u64, "R9");
        assert!(self.conn.is_handshaking() || self.conn.poll_timeout().is_some() || self.held() == 0, "point 4");
        assert_eq!(self.conn.lost_bytes() > 0, self.lost > 0 && !self.aborted);
        if self.conn.is_finished() && self.lost == 0 && self.transport.up.is_empty() {
            assert_eq!(self.arrived, self.accepted(), "finished before all bytes arrived");
        }
    }

    /// Bytes that wait although the transport takes everything that it is offered.
    fn held(&self) -> usize {
        if self.conn.wants_transmit() { 0 } else { self.conn.waiting() }
    }

    /// R5: no held byte has waited for `MAX_HOLD`.
    fn check_deadlines(&self) {
        if self.held() == 0 || !self.handshaken {
            return;
        }
        let first = self.accepted() - self.conn.waiting();
        let (_, at) = self.events.iter().find(|(end, _)| *end > first).expect("it was written");
        assert!(*at + MAX_HOLD > self.now, "R5: held for {:?}", self.now - *at);
    }

    /// Checks what has to be true at the end, after any fault.
    fn finish(&mut self) {
        let plan = self.transport.plan;
        let all = self.arrived == self.accepted();
        assert!(self.told || !self.transport.took_zero, "point 7: zero bytes taken, and no error");
        assert!(self.conn.poll_timeout().is_none_or(|at| at > self.now));
        if self.transport.sends_failed() {
            // A byte that does not arrive still waits, or was in flight when the transport failed.
            // Both have been reported.
            assert!(all || self.told, "bytes are lost, and no error reported it");
            return;
        }
        assert_eq!(self.arrived + self.lost, self.accepted(), "bytes are lost, and no error reported it");
        // Without keys no close_notify counts as an end, and a failure ends the stream in its own
        // way.
        let says_end = self.lost == 0 && self.handshaken && !self.aborted_early && !self.failed;
        assert_eq!(self.arrived_end, says_end, "close_notify exactly if nothing is lost");
        assert!(self.conn.is_finished() && self.conn.waiting() == 0);
        assert!(all || self.told || self.aborted);
        if plan.is_survivable() {
            assert!(all && self.received_end && self.conn.lost_bytes() == 0, "{plan:?} costs nothing");
        }
    }
}
