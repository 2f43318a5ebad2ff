//! Runs each embedding example against a plain rustls server.
#![allow(clippy::disallowed_methods, reason = "only the core must not use sockets and threads")]
#![allow(clippy::duplicate_mod, reason = "each example includes the common module")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, too, panic where a test has to fail")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use common::{Peer, Request};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, version};
use tls_cork::{CorkConfig, SendFlags};

#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/blocking.rs"]
mod blocking;
#[allow(dead_code, reason = "the examples use the rest")]
#[path = "../examples/common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/completion.rs"]
mod completion;
#[allow(dead_code, reason = "`main` is for the command line")]
#[path = "../examples/readiness.rs"]
mod readiness;

type Client = (&'static str, fn(Peer, CorkConfig, Request) -> io::Result<Vec<u8>>);

const CLIENTS: &[Client] = &[
    ("blocking", blocking::exchange),
    ("readiness", readiness::exchange),
    #[cfg(target_os = "linux")]
    ("completion", completion::exchange),
];
/// A time limit that only a hanging run exceeds, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(120);
const APPLICATION_DATA: u8 = 23;

/// A hold time that never ends a hold, so that the number of records does not depend on time.
fn patient() -> CorkConfig {
    CorkConfig::default().max_hold(Duration::from_secs(60))
}

#[test]
fn header_and_body_make_one_record() {
    for (client, exchange) in CLIENTS {
        for version in [&version::TLS13, &version::TLS12] {
            let server = Server::start(version, echo);
            let reply = run(*exchange, server.peer("hello"), patient());
            assert_eq!(reply.expect(client), b"hello", "{client}");
            assert_eq!(server.seen(client).application_data(version), [4 + 5], "{client}, {version:?}");
        }
    }
}

#[test]
fn large_messages_fill_their_records() {
    // More than the buffers of two sockets hold: the client has to wait for room.
    let message: String = (0..14 << 20).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    for (client, exchange) in CLIENTS {
        let server = Server::start(&version::TLS13, echo);
        let reply = run(*exchange, server.peer(&message), patient());
        assert!(reply.expect(client) == message.as_bytes(), "{client}");
        let records = server.seen(client).application_data(&version::TLS13);
        assert_eq!(records.len(), (4 + message.len()).div_ceil(16 * 1024), "{client}");
    }
}

#[test]
fn an_empty_body_completes_its_header() {
    for (client, exchange) in CLIENTS {
        let server = Server::start(&version::TLS13, echo);
        let reply = run(*exchange, server.peer(""), patient().flush_on_read_wait(false));
        assert_eq!(reply.expect(client), b"", "{client}");
        assert_eq!(server.seen(client).application_data(&version::TLS13), [4], "{client}");
    }
}

#[test]
fn both_sides_send_at_once() {
    // More than the buffers of two sockets hold.
    let message = "0123456789abcdef".repeat(14 << 16);
    for (client, exchange) in CLIENTS.iter().filter(|(client, _)| *client != "blocking") {
        let server = Server::start(&version::TLS13, |tls| {
            let mut missing = 4 + (14 << 20);
            let mut buf = [0; 16 * 1024];
            while missing > 0 {
                let n = tls.read(&mut buf)?;
                tls.write_all(&buf[..n])?;
                missing -= n;
            }
            Ok(())
        });
        let reply = run(*exchange, server.peer(&message), CorkConfig::default());
        assert!(reply.expect(client) == message.as_bytes(), "{client}");
        server.seen(client);
    }
}

#[test]
fn what_is_held_leaves_before_the_client_sleeps_or_at_the_deadline() {
    const RECORD: usize = 16 * 1024;
    // The first piece fills the buffer until the handshake has ended. Only the end of the handshake
    // can release the second piece.
    let waits = CorkConfig::default().send_buffer_limit(RECORD);
    let holds = waits.clone().flush_on_read_wait(false).max_hold(Duration::from_millis(50));
    for (client, exchange) in CLIENTS {
        for cork in [waits.clone(), holds.clone()] {
            let server = Server::start(&version::TLS13, echo);
            let (peer, _) = server.peer("");
            let mut first = vec![b'x'; RECORD];
            first[..4].copy_from_slice(&(RECORD as u32).to_be_bytes());
            let request =
                Request::from([(Bytes::from(first), SendFlags::MORE), (Bytes::from_static(b"last"), SendFlags::MORE)]);
            let reply = run(*exchange, (peer, request), cork).expect(client);
            assert!(reply.ends_with(b"xxlast") && reply.len() == RECORD, "{client}");
            assert_eq!(server.seen(client).application_data(&version::TLS13), [RECORD, 4], "{client}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_is_an_error() {
    for (client, exchange) in CLIENTS {
        for reply in [&b""[..], b"\0\0\0\x05hel", b"\0\0\0\x05hello"] {
            let server = Server::start(&version::TLS13, move |tls| {
                read_message(tls)?;
                tls.write_all(reply)?;
                tls.flush()?;
                // Ends the TCP stream without close_notify.
                tls.sock.socket.shutdown(std::net::Shutdown::Write)
            });
            let error = run(*exchange, server.peer("hello"), CorkConfig::default()).expect_err(client);
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{client}: {error}");
        }
    }
}

#[test]
fn a_stream_that_is_closed_too_early_is_an_error() {
    for (client, exchange) in CLIENTS {
        let server = Server::start(&version::TLS13, |tls| {
            read_message(tls)?;
            tls.write_all(b"\0\0\0\x05hel")?;
            tls.conn.send_close_notify();
            tls.flush()
        });
        let error = run(*exchange, server.peer("hello"), CorkConfig::default()).expect_err(client);
        assert!(error.to_string().contains("before its reply was complete"), "{client}: {error}");
    }
}

#[test]
fn a_reply_of_any_length_is_not_believed() {
    for (client, exchange) in CLIENTS {
        let server = Server::start(&version::TLS13, |tls| {
            read_message(tls)?;
            tls.write_all(b"\xff\xff\xff\xff")
        });
        let error = run(*exchange, server.peer("hello"), CorkConfig::default()).expect_err(client);
        assert!(error.to_string().contains("too long"), "{client}: {error}");
    }
}

#[test]
fn an_unknown_certificate_is_refused_and_the_peer_is_told() {
    for (client, exchange) in CLIENTS {
        let server = Server::start(&version::TLS12, |tls| tls.conn.complete_io(&mut tls.sock).map(drop));
        let others = Server::start(&version::TLS12, |_| Ok(()));
        let ((addr, _, _), _) = server.peer("");
        let ((_, config, name), request) = others.peer("secret");
        let error = run(*exchange, ((addr, config, name), request), CorkConfig::default()).expect_err(client);
        assert!(error.to_string().contains("invalid peer certificate"), "{client}: {error}");
        let seen = server.thread.join().unwrap();
        assert_eq!(seen.records.iter().filter(|(kind, _)| *kind == APPLICATION_DATA).count(), 0, "{client}");
        let told = seen.result.expect_err(client).to_string();
        assert!(told.contains("alert"), "{client}: {told}");
        // Lets the other side end first.
        drop(TcpStream::connect(others.addr));
    }
}

#[test]
fn garbage_is_answered_with_an_alert() {
    for (client, exchange) in CLIENTS {
        let server = Server::start(&version::TLS13, |tls| {
            read_message(tls)?;
            tls.sock.socket.write_all(&[APPLICATION_DATA, 3, 3, 0, 32])?;
            tls.sock.socket.write_all(&[0x55; 32])?;
            match tls.read(&mut [0; 1]) {
                Err(error) if error.to_string().contains("BadRecordMac") => Ok(()),
                other => panic!("{other:?}"),
            }
        });
        let error = run(*exchange, server.peer("hello"), CorkConfig::default()).expect_err(client);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{client}: {error}");
        server.thread.join().unwrap().result.expect(client);
    }
}

/// Runs a client within a time limit.
fn run(
    exchange: fn(Peer, CorkConfig, Request) -> io::Result<Vec<u8>>,
    (peer, request): (Peer, Request),
    cork: CorkConfig,
) -> io::Result<Vec<u8>> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(exchange(peer, cork, request)));
    result.recv_timeout(LIMIT).expect("the client ends in time")
}

/// Replies with the request.
fn echo(tls: &mut Tls) -> io::Result<()> {
    let request = read_message(tls)?;
    tls.write_all(&request)
}

/// The header and the body of a message.
fn read_message(tls: &mut Tls) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 4];
    tls.read_exact(&mut message)?;
    let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]) as usize;
    message.resize(4 + length, 0);
    tls.read_exact(&mut message[4..])?;
    Ok(message)
}

type Tls = StreamOwned<ServerConnection, Counted>;

/// A server for one connection, with its own certificate.
struct Server {
    addr: SocketAddr,
    ca_file: PathBuf,
    thread: JoinHandle<Seen>,
}

/// What a server has received from its client.
struct Seen {
    result: io::Result<()>,
    /// Whether the client ended the stream with a close_notify.
    closed: bool,
    /// The content type and the length of each record.
    records: Vec<(u8, usize)>,
}

impl Seen {
    /// The plaintext length of each record of application data. In TLS 1.3, the Finished message
    /// before them and the alert after them have the same content type.
    fn application_data(&self, version: &SupportedProtocolVersion) -> Vec<usize> {
        let lengths = self.records.iter().filter(|(kind, _)| *kind == APPLICATION_DATA).map(|(_, length)| *length);
        // AES-GCM adds to the plaintext, in TLS 1.3, the content type and a tag; in TLS 1.2, a
        // nonce and a tag.
        if *version == version::TLS13 {
            let lengths: Vec<usize> = lengths.collect();
            return lengths[1..lengths.len() - 1].iter().map(|length| length - 17).collect();
        }
        lengths.map(|length| length - 24).collect()
    }
}

impl Server {
    fn start(
        version: &'static SupportedProtocolVersion,
        serve: impl FnOnce(&mut Tls) -> io::Result<()> + Send + 'static,
    ) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let ca_file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}.pem", std::process::id()));
        fs::write(&ca_file, certified.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_protocol_versions(&[version])
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.into()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            socket.set_write_timeout(Some(LIMIT)).unwrap();
            let mut tls = Tls::new(ServerConnection::new(Arc::new(config)).unwrap(), Counted::new(socket));
            let result = serve(&mut tls);
            let mut rest = [0; 1];
            let closed = matches!(tls.read(&mut rest), Ok(0));
            tls.conn.send_close_notify();
            let _ = tls.flush();
            Seen { result, closed, records: tls.sock.records }
        });
        Self { addr, ca_file, thread }
    }

    /// The example's settings for this server, parsed from a command line.
    fn peer(&self, message: &str) -> (Peer, Request) {
        let ca_file = self.ca_file.to_str().unwrap().to_owned();
        common::arguments([self.addr.to_string(), ca_file, "localhost".into(), message.into()]).unwrap()
    }

    /// What the server saw of a client that did everything right.
    fn seen(self, client: &str) -> Seen {
        let seen = self.thread.join().unwrap();
        assert!(matches!(seen.result, Ok(())), "{client}: {:?}", seen.result);
        assert!(seen.closed, "{client}: no close_notify");
        seen
    }
}

/// A socket that records the header of each received record.
struct Counted {
    socket: TcpStream,
    header: Vec<u8>,
    body_missing: usize,
    records: Vec<(u8, usize)>,
}

impl Counted {
    fn new(socket: TcpStream) -> Self {
        Self { socket, header: Vec::new(), body_missing: 0, records: Vec::new() }
    }
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.socket.read(buf)?;
        for byte in &buf[..n] {
            if self.body_missing > 0 {
                self.body_missing -= 1;
                continue;
            }
            self.header.push(*byte);
            if let [kind, _, _, high, low] = self.header[..] {
                self.body_missing = u16::from_be_bytes([high, low]).into();
                self.records.push((kind, self.body_missing));
                self.header.clear();
            }
        }
        Ok(n)
    }
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
