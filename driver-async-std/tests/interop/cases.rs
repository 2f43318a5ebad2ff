//! OpenSSL's and GnuTLS's own clients and servers.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use rustls::HandshakeKind;
use rustls::crypto::aws_lc_rs;
use tls_cork_async_std::tls_cork::{CorkConfig, SendFlags};

use crate::ours::{Counts, Ours, Piece, Until};
use crate::peers::{Peer, accept, connect, contains, listener};
use crate::pki::{ALPN, Pki, Suite, Terms};
use crate::programs::{self, Mode};
use crate::table::{Driver, Feature, Program, Seen, Version};
use crate::{curl, nbd};

const HEADER: usize = 28;
const RECORD: usize = 16 * 1024;

/// One case: a line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) program: Program,
    pub(crate) suite: &'static Suite,
    pub(crate) feature: Feature,
    pub(crate) driver: Driver,
}

pub(crate) type Outcome = Result<Seen, String>;

impl Case {
    pub(crate) fn terms(&self) -> Terms {
        let mut terms = Terms::of(self.suite);
        terms.client_auth = matches!(self.feature, Feature::ClientCertificate | Feature::NoClientCertificate);
        terms.client_certificate = self.feature == Feature::ClientCertificate;
        terms.alpn = self.feature == Feature::Alpn;
        terms.retry = self.feature == Feature::HelloRetry;
        terms
    }

    pub(crate) fn run(&self, pki: &Pki) -> Outcome {
        match self.program {
            Program::Curl => curl::run(self, pki),
            Program::Nbdkit | Program::QemuNbd | Program::QemuImg => nbd::run(self, pki),
            _ => self.run_stream(pki),
        }
    }

    /// Against `s_client`, `s_server`, `gnutls-cli` or `gnutls-serv`.
    fn run_stream(&self, pki: &Pki) -> Outcome {
        match self.feature {
            Feature::NoClientCertificate => self.refused(pki),
            Feature::Resumption => self.resumption(pki),
            Feature::KeyUpdate => self.key_updates(pki),
            Feature::TheyCloseFirst => self.they_close_first(pki),
            _ => {
                let (mut ours, peer) = self.open(pki, Mode::Data, cork())?;
                let payload = Payload::large(self.program);
                let mut seen = self.talk(&mut *ours, &peer, &payload)?;
                seen.note = self.agreed(pki, &*ours)?;
                if self.feature == Feature::WeCloseFirst {
                    seen.note = self.close_holding(&mut *ours, peer, payload)?;
                } else if self.program != Program::GnutlsCli {
                    self.we_close(&mut *ours, peer, &payload)?;
                } else {
                    self.they_close(&mut *ours, peer, &payload)?;
                }
                self.check_wire(&*ours, 0)?;
                seen.received = Some(ours.wire().1.records);
                Ok(seen)
            }
        }
    }

    /// A connection, shaken hands, with the program started for it.
    fn open(&self, pki: &Pki, mode: Mode, cork: CorkConfig) -> Result<(Box<dyn Ours>, Peer), String> {
        let terms = self.terms();
        if self.program.is_server() {
            let command = |port| programs::server(self.program, pki, &terms, port, 1, mode);
            let (peer, _, tcp) = Peer::listening(command)?;
            let ours = self.driver.client(tcp, pki.client(&terms), cork);
            Ok((ours.map_err(|error| self.failed("our handshake", &error, &peer))?, peer))
        } else {
            let (listener, port) = listener()?;
            let mut peer = Peer::start(&mut programs::client(self.program, pki, &terms, port, mode))?;
            let tcp = accept(&listener, &mut peer)?;
            let ours = self.driver.server(tcp, pki.server(&terms), cork);
            Ok((ours.map_err(|error| self.failed("our handshake", &error, &peer))?, peer))
        }
    }

    /// Sends and receives `payload`, whole and in order, in no more records than it needs.
    fn talk(&self, ours: &mut dyn Ours, peer: &Peer, payload: &Payload) -> Outcome {
        let start = peer.stdout.bytes().len();
        let before = ours.connection().stats();
        let echoes = self.program == Program::GnutlsServ;
        let expected = if echoes { &payload.ours } else { &payload.theirs };
        if !echoes {
            peer.say(payload.theirs.clone());
        }
        let got = ours
            .exchange(payload.pieces(), Until::Bytes(expected.len()))
            .map_err(|error| self.failed("the transfer", &error, peer))?;
        ensure(got == *expected, || "what came is not what was sent".to_owned())?;
        if !echoes {
            peer.stdout.wait_for_len(start + payload.ours.len())?;
            ensure(peer.stdout.bytes()[start..] == payload.ours, || "the peer got something else".to_owned())?;
        }
        let stats = ours.connection().stats();
        let records = stats.records - before.records;
        let plaintext = stats.plaintext_bytes - before.plaintext_bytes;
        ensure(plaintext == payload.ours.len() as u64, || format!("{plaintext} bytes sealed"))?;
        let (fewest, most, pieces) = payload.records();
        ensure((fewest..=most).contains(&records), || format!("{records} records, expected {fewest} to {most}"))?;
        Ok(Seen { records: Some((records, pieces)), ..Seen::default() })
    }

    /// What both agreed on is what the case is about.
    pub(crate) fn agreed(&self, pki: &Pki, ours: &dyn Ours) -> Result<String, String> {
        let connection = ours.connection();
        let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        ensure(suite == Some(self.suite.ours.suite()), || format!("the suite is {suite:?}"))?;
        let version = connection.protocol_version();
        ensure(version == Some(self.suite.version.supported().version), || format!("the version is {version:?}"))?;
        let kind = connection.handshake_kind();
        let expected = match self.feature {
            Feature::HelloRetry => HandshakeKind::FullWithHelloRetryRequest,
            _ => HandshakeKind::Full,
        };
        ensure(kind == Some(expected), || format!("the handshake was {kind:?}"))?;
        Ok(match self.feature {
            Feature::Alpn => {
                let protocol = connection.alpn_protocol();
                ensure(protocol == Some(ALPN.as_bytes()), || format!("the protocol is {protocol:?}"))?;
                ALPN.to_owned()
            }
            Feature::ClientCertificate if !self.program.is_server() => {
                let sent = connection.peer_certificates().and_then(|chain| chain.first());
                ensure(sent == Some(&pki.certificate("client")), || "not the client's certificate".to_owned())?;
                "seen by us".to_owned()
            }
            Feature::ClientCertificate => "required by the peer".to_owned(),
            Feature::HelloRetry => {
                let group = connection.negotiated_key_exchange_group().map(|group| group.name());
                format!("{:?} instead of X25519", group.ok_or("no group")?)
            }
            _ => String::new(),
        })
    }

    /// Tells whether the peer has answered; all do but gnutls-cli.
    fn we_close(&self, ours: &mut dyn Ours, peer: Peer, payload: &Payload) -> Result<bool, String> {
        ours.close().map_err(|error| self.failed("our close", &error, &peer))?;
        let mut answered = true;
        match ours.exchange(Vec::new(), Until::End) {
            // Its own end is a proper one, which `end` asserts.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.program == Program::GnutlsCli => {
                answered = false;
            }
            rest => {
                let rest = rest.map_err(|error| self.failed("their close", &error, &peer))?;
                ensure(rest.is_empty(), || format!("{} bytes behind the end", rest.len()))?;
            }
        }
        self.end(peer, &payload.ours).map(|()| answered)
    }

    /// What is held when we close gets there first.
    fn close_holding(&self, ours: &mut dyn Ours, peer: Peer, mut payload: Payload) -> Result<String, String> {
        if self.program == Program::GnutlsServ {
            // Whether it echoes behind a close_notify is its own affair.
            return self.we_close(ours, peer, &payload).map(|_| String::new());
        }
        let last = b"held until the end";
        ours.exchange(vec![piece(last, SendFlags::MORE)], Until::Bytes(0))
            .map_err(|error| self.failed("a last write", &error, &peer))?;
        let held = ours.connection().waiting();
        ensure(held == last.len(), || format!("{held} bytes are held"))?;
        payload.ours.extend_from_slice(last);
        let answered = self.we_close(ours, peer, &payload)?;
        let silence = if answered { "" } else { "; its end without close_notify is told apart" };
        Ok(format!("{held} held bytes went ahead{silence}"))
    }

    /// The client program ends because its input does.
    fn they_close(&self, ours: &mut dyn Ours, mut peer: Peer, payload: &Payload) -> Result<(), String> {
        peer.hang_up();
        let rest = ours.exchange(Vec::new(), Until::End).map_err(|error| self.failed("their close", &error, &peer))?;
        ensure(rest.is_empty(), || format!("{} bytes before the end", rest.len()))?;
        self.close_second(ours, &peer)?;
        self.end(peer, &payload.ours)
    }

    /// The program has seen a proper end, and all that came before it.
    fn end(&self, peer: Peer, expected: &[u8]) -> Result<(), String> {
        if self.program == Program::GnutlsServ {
            // Goes on for ever; it has echoed what it got.
            return complaint(&String::from_utf8_lossy(&peer.stderr.bytes()));
        }
        let ended = peer.finish()?;
        complaint(&ended.stderr)?;
        ensure(ended.status.success(), || format!("{}: {}", ended.status, ended.stderr))?;
        ensure(contains(&ended.stdout, expected), || "the peer's output is not what was sent".to_owned())
    }

    /// After our `close_notify`: every record is accounted for, and so is every byte.
    pub(crate) fn check_wire(&self, ours: &dyn Ours, key_updates: u64) -> Result<(), String> {
        let sent = ours.wire().0.since(ours.shaken());
        let stats = ours.connection().stats();
        let records = stats.records + 1 + key_updates;
        let bytes = stats.plaintext_bytes + 2 + 5 * key_updates + records * self.suite.overhead;
        let expected = Counts { records, bytes };
        ensure(sent == expected, || format!("{sent:?} on the wire, expected {expected:?}"))
    }

    fn they_close_first(&self, pki: &Pki) -> Outcome {
        if self.program.is_server() {
            return self.http_server_closes(pki);
        }
        let (mut ours, peer) = self.open(pki, Mode::Data, cork())?;
        let payload = Payload::large(self.program);
        let mut seen = self.talk(&mut *ours, &peer, &payload)?;
        self.they_close(&mut *ours, peer, &payload)?;
        seen.received = Some(ours.wire().1.records);
        Ok(seen)
    }

    /// Our answer to a `close_notify`; a program that has left already is not waited for.
    fn close_second(&self, ours: &mut dyn Ours, peer: &Peer) -> Result<(), String> {
        match ours.close() {
            Err(error) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                Err(self.failed("our close", &error, peer))
            }
            Err(_) => Ok(()),
            Ok(()) => self.check_wire(ours, 0),
        }
    }

    fn http_server_closes(&self, pki: &Pki) -> Outcome {
        let page = random(300_000);
        let dir = Pki::beside(pki);
        std::fs::write(dir.file("page"), &page).map_err(|error| error.to_string())?;
        let (mut ours, peer) = self.open(&dir, Mode::Http, cork())?;
        let request = [piece(b"GET /page HTTP/1.0\r\n", SendFlags::MORE), piece(b"\r\n", SendFlags::NONE)];
        let got = ours
            .exchange(request.into(), Until::End)
            .map_err(|error| self.failed("the page and the end", &error, &peer))?;
        ensure(got.ends_with(&page), || format!("{} bytes, not the page", got.len()))?;
        let records = ours.connection().stats().records;
        ensure(records == 1, || format!("{records} records for the request"))?;
        self.close_second(&mut *ours, &peer)?;
        Ok(Seen { records: Some((1, 2)), received: Some(ours.wire().1.records), note: String::new() })
    }

    /// A client without a certificate, where one is required: an error that says so, on both sides.
    fn refused(&self, pki: &Pki) -> Outcome {
        let terms = self.terms();
        let (error, peer) = if self.program.is_server() {
            let command = |port| programs::server(self.program, pki, &terms, port, 1, Mode::Data);
            let (peer, _, tcp) = Peer::listening(command)?;
            // In TLS 1.3 the client is done before the server has seen what is missing.
            let refused = self
                .driver
                .client(tcp, pki.client(&terms), cork())
                .and_then(|mut ours| ours.exchange(Vec::new(), Until::Bytes(1)));
            (refused.err().ok_or("the server let us in")?, peer)
        } else {
            let (listener, port) = listener()?;
            let mut peer = Peer::start(&mut programs::client(self.program, pki, &terms, port, Mode::Data))?;
            let tcp = accept(&listener, &mut peer)?;
            let refused = self.driver.server(tcp, pki.server(&terms), cork());
            (refused.err().ok_or("we let the client in")?, peer)
        };
        let said = error.to_string();
        let expected = match (self.program, self.suite.version) {
            (Program::SServer, Version::Tls12) => "fatal alert: HandshakeFailure",
            // So says GnuTLS 3.7.
            (Program::GnutlsServ, Version::Tls12) => "fatal alert: DecodeError",
            (Program::SServer | Program::GnutlsServ, Version::Tls13) => "fatal alert: CertificateRequired",
            _ => "peer sent no certificates",
        };
        ensure(said.contains(expected), || self.failed("an unclear error", &error, &peer))?;
        if !self.program.is_server() {
            let ended = peer.finish()?;
            ensure(!ended.status.success(), || "the client thinks that all is well".to_owned())?;
            let words = ended.stderr + &String::from_utf8_lossy(&ended.stdout);
            ensure(words.to_lowercase().contains("alert"), || format!("the client was not told: {words}"))?;
        }
        Ok(Seen { note: said, ..Seen::default() })
    }

    /// Two connections, the second one from what the first one left.
    fn resumption(&self, pki: &Pki) -> Outcome {
        let terms = self.terms();
        let payload = Payload::small(self.program);
        let mut seen = Seen::default();
        if self.program.is_server() {
            let config = pki.client(&terms);
            let command = |port| programs::server(self.program, pki, &terms, port, 2, Mode::Data);
            let (peer, port, tcp) = Peer::listening(command)?;
            let mut next = Some(tcp);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let tcp = next.take().map_or_else(|| connect(port), Ok).map_err(|error| error.to_string())?;
                let ours = self.driver.client(tcp, config.clone(), cork());
                let mut ours = ours.map_err(|error| self.failed("our handshake", &error, &peer))?;
                seen = self.talk_then_close(&mut *ours, &peer, &payload, kind)?;
            }
            self.end(peer, &payload.ours)?;
        } else {
            let config = pki.server(&terms);
            let (listener, port) = listener()?;
            let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
            let file = dir.path().join("session").display().to_string();
            let mut command = programs::client(self.program, pki, &terms, port, Mode::Data);
            if self.program == Program::GnutlsCli {
                // It makes both connections itself, and says nothing on the first.
                command.args(["--resume", "--waitresumption"]);
                let mut peer = Peer::start(&mut command)?;
                let tcp = accept(&listener, &mut peer)?;
                let ours = self.driver.server(tcp, config.clone(), cork());
                let mut ours = ours.map_err(|error| self.failed("the first handshake", &error, &peer))?;
                ours.exchange(Vec::new(), Until::End).map_err(|error| self.failed("the first end", &error, &peer))?;
                let _ = ours.close();
                let tcp = accept(&listener, &mut peer)?;
                let ours = self.driver.server(tcp, config, cork());
                let mut ours = ours.map_err(|error| self.failed("the second handshake", &error, &peer))?;
                kind_is(&*ours, HandshakeKind::Resumed)?;
                seen = self.talk(&mut *ours, &peer, &payload)?;
                self.they_close(&mut *ours, peer, &payload)?;
            } else {
                for (kind, session) in [(HandshakeKind::Full, "-sess_out"), (HandshakeKind::Resumed, "-sess_in")] {
                    let mut command = programs::client(self.program, pki, &terms, port, Mode::Data);
                    let mut peer = Peer::start(command.args([session, &file]))?;
                    let tcp = accept(&listener, &mut peer)?;
                    let ours = self.driver.server(tcp, config.clone(), cork());
                    let mut ours = ours.map_err(|error| self.failed("our handshake", &error, &peer))?;
                    kind_is(&*ours, kind)?;
                    seen = self.talk(&mut *ours, &peer, &payload)?;
                    self.we_close(&mut *ours, peer, &payload)?;
                }
            }
        }
        seen.note = "second handshake resumed".to_owned();
        Ok(seen)
    }

    fn talk_then_close(&self, ours: &mut dyn Ours, peer: &Peer, payload: &Payload, kind: HandshakeKind) -> Outcome {
        kind_is(ours, kind)?;
        let mut seen = self.talk(ours, peer, payload)?;
        ours.close().map_err(|error| self.failed("our close", &error, peer))?;
        let rest = ours.exchange(Vec::new(), Until::End).map_err(|error| self.failed("their close", &error, peer))?;
        ensure(rest.is_empty(), || "bytes behind the end".to_owned())?;
        self.check_wire(ours, 0)?;
        seen.received = Some(ours.wire().1.records);
        Ok(seen)
    }

    /// The peer updates its keys, with and without asking for ours, while we hold the first part of a message.
    fn key_updates(&self, pki: &Pki) -> Outcome {
        let (asking, plain, marker): (_, _, &[u8]) = match self.program {
            Program::SClient => ("K\n", "k\n", b"KEYUPDATE"),
            Program::SServer => ("K\n", "k\n", b">>> TLS 1.3, Handshake [length 0005], KeyUpdate"),
            _ => ("^rekey^\n", "^rekey1^\n", b"Rekey was completed"),
        };
        let (mut ours, mut peer) = self.open(pki, Mode::Commands, cork())?;
        let commands = [asking, plain, asking, asking, plain];
        for (n, command) in commands.into_iter().enumerate() {
            let (header, body) = (format!("<header {n} "), format!("body {n}>\n"));
            let said = |error| self.failed("a key update", &error, &peer);
            ours.exchange(vec![piece(header.as_bytes(), SendFlags::MORE)], Until::Bytes(0)).map_err(said)?;
            peer.say(command);
            let told = if self.program == Program::SClient { &peer.stderr } else { &peer.stdout };
            told.wait_for(marker, n + 1)?;
            let line = format!("after update {n}\n");
            peer.say(line.clone());
            let got = ours.exchange(Vec::new(), Until::Bytes(line.len())).map_err(said)?;
            ensure(got == line.as_bytes(), || format!("got {:?}", String::from_utf8_lossy(&got)))?;
            let (held, records) = (ours.connection().waiting(), ours.connection().stats().records);
            ensure(held == header.len(), || format!("{held} bytes are held, expected {}", header.len()))?;
            ensure(records == n as u64, || format!("{records} records before the message is complete"))?;
            ours.exchange(vec![piece(body.as_bytes(), SendFlags::NONE)], Until::Bytes(0)).map_err(said)?;
            peer.stdout.wait_for((header + &body).as_bytes(), 1)?;
        }
        let answers = commands.iter().filter(|&&command| command == asking).count() as u64;
        let records = ours.connection().stats().records;
        ensure(records == commands.len() as u64, || format!("{records} records"))?;
        if self.program == Program::GnutlsCli {
            peer.hang_up();
        } else {
            ours.close().map_err(|error| self.failed("our close", &error, &peer))?;
        }
        ours.exchange(Vec::new(), Until::End).map_err(|error| self.failed("their close", &error, &peer))?;
        ours.close().map_err(|error| self.failed("our close", &error, &peer))?;
        self.check_wire(&*ours, answers)?;
        let ended = peer.finish()?;
        complaint(&ended.stderr)?;
        Ok(Seen {
            records: Some((records, 2 * records)),
            received: Some(ours.wire().1.records),
            note: format!("{} updates, {answers} answered", commands.len()),
        })
    }

    pub(crate) fn failed(&self, what: &str, error: &io::Error, peer: &Peer) -> String {
        format!("{what}: {error}; {} says: {}", self.program.name(), peer.said())
    }
}

/// Data for both directions, ours in pieces.
pub(crate) struct Payload {
    pub(crate) ours: Vec<u8>,
    pub(crate) theirs: Vec<u8>,
    /// Of each message, the bodies; every body has a header in front.
    messages: Vec<Vec<usize>>,
}

impl Payload {
    /// A large message, many small ones that go together, and a last one.
    pub(crate) fn large(program: Program) -> Self {
        Self::new(program, vec![vec![300_000], vec![512; 16], vec![100]])
    }

    fn small(program: Program) -> Self {
        Self::new(program, vec![vec![1000; 3]])
    }

    fn new(program: Program, messages: Vec<Vec<usize>>) -> Self {
        let total = messages.iter().flatten().map(|body| HEADER + body).sum();
        let mut data = Self { ours: random(total), theirs: random(total), messages };
        if program == Program::GnutlsServ {
            // It echoes text, line by line.
            data.ours.iter_mut().for_each(|byte| *byte = b' ' + *byte % 64);
            data.ours.iter_mut().step_by(77).for_each(|byte| *byte = b'\n');
            *data.ours.last_mut().expect("data") = b'\n';
        }
        data
    }

    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let mut rest = Bytes::copy_from_slice(&self.ours);
        let mut pieces = Vec::new();
        for message in &self.messages {
            for (n, &body) in message.iter().enumerate() {
                pieces.push(Piece { data: rest.split_to(HEADER), flags: SendFlags::MORE });
                let flags = SendFlags::more_if(n + 1 < message.len());
                pieces.push(Piece { data: rest.split_to(body), flags });
            }
        }
        pieces
    }

    /// The fewest records that hold it, the number when each message begins a record, and when each piece does.
    fn records(&self) -> (u64, u64, u64) {
        let of = |len: usize| len.div_ceil(RECORD) as u64;
        let message = |bodies: &Vec<usize>| of(bodies.iter().map(|body| HEADER + body).sum());
        let pieces = |&body: &usize| 1 + of(body);
        let most = self.messages.iter().map(message).sum();
        (of(self.ours.len()), most, self.messages.iter().flatten().map(pieces).sum())
    }
}

/// Held bytes leave when a case says so, and at no other time.
pub(crate) fn cork() -> CorkConfig {
    CorkConfig::default().max_hold(Duration::from_secs(50)).flush_on_read_wait(false)
}

pub(crate) fn piece(data: &[u8], flags: SendFlags) -> Piece {
    Piece { data: Bytes::copy_from_slice(data), flags }
}

pub(crate) fn random(len: usize) -> Vec<u8> {
    let mut data = vec![0; len];
    aws_lc_rs::default_provider().secure_random.fill(&mut data).expect("random data");
    data
}

pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

pub(crate) fn kind_is(ours: &dyn Ours, expected: HandshakeKind) -> Result<(), String> {
    let kind = ours.connection().handshake_kind();
    ensure(kind == Some(expected), || format!("the handshake was {kind:?}, expected {expected:?}"))
}

/// What a program says when a stream was cut or garbled. GnuTLS also speaks of an error where a session has no such property.
fn complaint(said: &str) -> Result<(), String> {
    const COMPLAINTS: [&str; 6] =
        [":error:", "fatal error", "error in ", "error while ", "unexpected eof", "properly terminated"];
    let lower = said.to_lowercase();
    let bad = COMPLAINTS.iter().any(|words| lower.contains(words));
    ensure(!bad, || format!("the peer complains: {said}"))
}
