//! `Seal` over OpenSSL: the policy on a TLS library that is not rustls.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{
    HandshakeError, MidHandshakeSslStream, SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion,
};
use proptest::prelude::*;
use tls_cork::{CorkConfig, CorkPolicy, MAX_RECORD_SIZE, Seal, SealError, SendFlags};
use tls_cork_programs::tls;
use tls_cork_testing::calls::{Op, limits, op};
use tls_cork_testing::content::{slices, stream};
use tls_cork_testing::harness::Limits;
use tls_cork_testing::script::{Peer, tls12};
use tls_cork_testing::sessions::configs;

/// What OpenSSL reads from and writes to.
#[derive(Debug, Default)]
struct Memory {
    received: VecDeque<u8>,
    output: Vec<u8>,
    sent: usize,
}

impl Read for Memory {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { self.received.read(buf) }
    }
}

impl Write for Memory {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's session, before its handshake or after it.
#[derive(Debug)]
enum OpenSsl {
    Shaking(Option<MidHandshakeSslStream<Memory>>),
    Ready(SslStream<Memory>),
}

impl OpenSsl {
    fn new(version: SslVersion) -> Self {
        let mut config = SslConnector::builder(SslMethod::tls_client()).unwrap();
        config.set_verify(SslVerifyMode::NONE);
        config.set_min_proto_version(Some(version)).unwrap();
        config.set_max_proto_version(Some(version)).unwrap();
        match config.build().connect("localhost", Memory::default()) {
            Err(HandshakeError::WouldBlock(shaking)) => Self::Shaking(Some(shaking)),
            other => panic!("a handshake that needs no server: {other:?}"),
        }
    }

    fn memory(&self) -> &Memory {
        match self {
            Self::Shaking(shaking) => shaking.as_ref().unwrap().get_ref(),
            Self::Ready(tls) => tls.get_ref(),
        }
    }

    fn memory_mut(&mut self) -> &mut Memory {
        match self {
            Self::Shaking(shaking) => shaking.as_mut().unwrap().get_mut(),
            Self::Ready(tls) => tls.get_mut(),
        }
    }

    /// Takes what the peer has sent; returns the plaintext in it.
    fn receive(&mut self, wire: &mut VecDeque<u8>) -> Vec<u8> {
        self.memory_mut().received.append(wire);
        if let Self::Shaking(shaking) = self {
            match shaking.take().unwrap().handshake() {
                Ok(tls) => *self = Self::Ready(tls),
                Err(HandshakeError::WouldBlock(more)) => *shaking = Some(more),
                Err(error) => panic!("{error}"),
            }
        }
        let mut plaintext = Vec::new();
        if let Self::Ready(tls) = self {
            // Until it would block, or the peer's end.
            let _ = tls.read_to_end(&mut plaintext);
        }
        plaintext
    }
}

impl Seal for OpenSsl {
    fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }

    fn max_record_size(&self) -> usize {
        MAX_RECORD_SIZE
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        let Self::Ready(tls) = self else { panic!("sealed without keys") };
        let data: Vec<u8> = plaintext.iter().flat_map(|piece| piece.iter().copied()).collect();
        for record in data.chunks(record_size) {
            let written = tls.ssl_write(record).map_err(|error| SealError::Session(Arc::new(error)))?;
            assert_eq!(written, record.len());
        }
        Ok(data.len().div_ceil(record_size))
    }

    fn has_output(&self) -> bool {
        self.memory().sent < self.memory().output.len()
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        let memory = self.memory_mut();
        let taken = send(&[IoSlice::new(&memory.output[memory.sent..])], false)?;
        memory.sent += taken;
        if memory.sent == memory.output.len() {
            memory.output.clear();
            memory.sent = 0;
        }
        Ok(taken)
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        let Self::Ready(tls) = self else { return Ok(()) };
        tls.shutdown().map(drop).map_err(|error| SealError::Session(Arc::new(error)))
    }
}

/// A policy over OpenSSL, and a server of rustls.
struct Pair {
    policy: CorkPolicy<OpenSsl>,
    now: Instant,
    peer: Peer,
    /// On their way.
    out: VecDeque<u8>,
    back: VecDeque<u8>,
    accepted: usize,
    /// Plaintext received.
    got: usize,
    closed: bool,
    version: SslVersion,
}

impl Pair {
    fn new(limits: &Limits, version: SslVersion) -> Self {
        let config = CorkConfig::default()
            .record_size(limits.record_size)
            .hold_limit(limits.hold_limit)
            .send_buffer_limit(limits.send_buffer)
            .batch_size(limits.batch.0..=limits.batch.1)
            .max_hold(limits.max_hold);
        let suite = if version == SslVersion::TLS1_2 { tls12() } else { None };
        Self {
            policy: CorkPolicy::new(OpenSsl::new(version), config).unwrap(),
            now: Instant::now(),
            peer: Peer::new(&configs(suite), false),
            out: VecDeque::new(),
            back: VecDeque::new(),
            accepted: 0,
            got: 0,
            closed: false,
            version,
        }
    }

    /// Writes all of it or as much as there is room for.
    fn write(&mut self, pieces: &[usize], more: bool) {
        let data = stream(self.accepted, pieces.iter().sum());
        let bufs = slices(&data, pieces);
        if let Ok(written) = self.policy.write(self.now, &bufs, SendFlags::more_if(more)) {
            assert!(!self.closed);
            self.accepted += written.accepted;
        }
    }

    fn transmit(&mut self, mut room: usize, step: usize) {
        let out = &mut self.out;
        let done = self.policy.transmit_with(|bufs, _more| {
            if room == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let take = bufs[0].len().min(room).min(step);
            room -= take;
            out.extend(&bufs[0][..take]);
            Ok(take)
        });
        done.map(drop).unwrap();
    }

    /// Carries all that is on its way, and what it brings about.
    fn carry(&mut self) {
        loop {
            let moved = self.peer.turn(&mut self.out, &mut self.back);
            assert!(self.peer.failed.is_none(), "{:?}", self.peer.failed);
            if moved == 0 {
                return;
            }
            let seal = self.policy.get_mut();
            self.got += seal.receive(&mut self.back).len();
            let _ = self.policy.handle_handshake_done(self.now);
            self.transmit(usize::MAX, usize::MAX);
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Write(len, more) | Op::WriteBytes(len, more) => self.write(&[len], more),
            Op::Vectored(lens, more) => self.write(&lens, more),
            Op::Cork => self.policy.cork(self.now),
            Op::Uncork => drop(self.policy.uncork(self.now)),
            Op::Flush => drop(self.policy.flush(self.now)),
            Op::Advance(ms) => {
                self.now += Duration::from_millis(ms);
                let _ = self.policy.handle_timeout(self.now);
            }
            Op::Deadline => {
                self.now = self.policy.poll_timeout().unwrap_or(self.now).max(self.now);
                let _ = self.policy.handle_timeout(self.now);
            }
            // Only here is something read: the peer asks for new keys while data is held.
            Op::ReadWait => {
                if self.policy.get_ref().is_ready() && !self.closed {
                    if self.version == SslVersion::TLS1_3 {
                        self.peer.keys();
                    }
                    self.peer.says(100);
                }
                self.carry();
            }
            Op::Transmit(room, step) => self.transmit(room, step),
            Op::Drain => self.transmit(usize::MAX, usize::MAX),
            Op::HandshakeDone => {
                self.transmit(usize::MAX, usize::MAX);
                self.carry();
            }
            Op::Close => {
                let _ = self.policy.close(self.now);
                self.closed = true;
            }
        }
    }

    /// Ends the session; what was accepted has come, and then the end.
    fn finish(mut self) {
        self.apply(Op::HandshakeDone);
        assert!(self.policy.get_ref().is_ready());
        // With data held, unless it is closed already.
        self.write(&[50], true);
        self.apply(Op::Close);
        self.transmit(usize::MAX, usize::MAX);
        self.carry();
        assert!(self.policy.is_finished() && self.policy.failure().is_none());
        assert_eq!((self.peer.got, self.peer.end), (self.accepted, true));
        assert_eq!(self.got, self.peer.wrote);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn content_order_and_end_arrive_whatever_the_caller_does(
        limits in limits(), tls13 in any::<bool>(), ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut pair = Pair::new(&limits, if tls13 { SslVersion::TLS1_3 } else { SslVersion::TLS1_2 });
        for op in ops {
            pair.apply(op);
        }
        pair.finish();
    }
}

#[test]
fn new_keys_while_data_is_held_cost_nothing() {
    let mut pair = Pair::new(&Limits::default(), SslVersion::TLS1_3);
    pair.apply(Op::HandshakeDone);
    for _ in 0..20 {
        pair.write(&[28], true);
        pair.apply(Op::ReadWait);
        assert_eq!(pair.policy.waiting(), 28, "held");
        pair.write(&[512], false);
        pair.transmit(usize::MAX, usize::MAX);
    }
    pair.carry();
    assert_eq!((pair.peer.got, pair.policy.stats().records), (20 * 540, 20));
    pair.finish();
}

/// A whole session over TCP. The server asks for new keys (`K`) while data is held.
#[test]
#[ignore = "needs openssl"]
fn a_session_with_s_server() {
    let dir = tempfile::tempdir().unwrap();
    tls::make_certificates(dir.path()).unwrap();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new("openssl")
            .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-naccept", "1"])
            .args(["-cert", "server-cert.pem", "-key", "server-key.pem"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = server.stdin.take().unwrap();
        let mut stdout = server.stdout.take().unwrap();
        // A pipe holds less than what the server writes to it.
        let output = thread::spawn(move || {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).map(|_| output).unwrap()
        });
        let mut tcp = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(tcp) => break tcp,
                Err(_) if server.try_wait().unwrap().is_none() => thread::sleep(Duration::from_millis(10)),
                Err(error) => panic!("{error}"),
            }
        };
        let mut policy = CorkPolicy::new(OpenSsl::new(version), CorkConfig::default()).unwrap();
        let now = Instant::now();
        // Waits for the server if `wait`.
        let turn = |policy: &mut CorkPolicy<OpenSsl>, tcp: &mut TcpStream, wait: bool| {
            let sent = policy.transmit_with(|bufs, _more| tcp.write_vectored(bufs)).unwrap();
            assert!(!sent.blocked);
            if wait {
                let mut buf = [0; 16 * 1024];
                let n = tcp.read(&mut buf).unwrap();
                assert!(n > 0, "the server is there");
                policy.get_mut().receive(&mut buf[..n].iter().copied().collect());
                let _ = policy.handle_handshake_done(now);
            }
        };
        while !policy.get_ref().is_ready() {
            turn(&mut policy, &mut tcp, true);
        }
        // Text, so that the server's own output, which is on the same stream, is no part of it.
        let text: String = (0..40_000u32).map(|n| format!("{n:07}\n")).collect();
        let mut rest = text.as_bytes();
        for len in [28, 512, 100_000, 1, 30_000].into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let piece = &rest[..len.min(rest.len())];
            let more = len == 28 || len == 1 || len == 30_000;
            let accepted = policy.write(now, &[IoSlice::new(piece)], SendFlags::more_if(more)).unwrap().accepted;
            rest = &rest[accepted..];
            if version == SslVersion::TLS1_3 && len == 1 {
                assert!(policy.waiting() > 0, "held");
                stdin.write_all(b"K\n").unwrap();
                turn(&mut policy, &mut tcp, true);
            }
            turn(&mut policy, &mut tcp, false);
        }
        let _ = policy.close(now);
        turn(&mut policy, &mut tcp, false);
        assert!(policy.is_finished());
        // To the server's end. Without it, the kernel may discard what the server has not read.
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        tcp.shutdown(std::net::Shutdown::Write).unwrap();
        io::copy(&mut tcp, &mut io::sink()).unwrap();
        // The end of its input would have ended the server at once.
        drop(stdin);
        server.wait().unwrap();
        let output = String::from_utf8(output.join().unwrap()).unwrap();
        // What the server prints between the data: for each `K`, and when it has read half a record.
        let updated = "SSL_do_handshake -> 1\n";
        assert_eq!(output.contains(updated), version == SslVersion::TLS1_3);
        let found = output.replace(updated, "").replace("Read BLOCK\n", "").contains(&text);
        assert!(found, "{version:?}: content and order in {} bytes", output.len());
    }
}
