//! An echo server and a client for it, on mio.
//!
//! ```text
//! cargo run -p tls-cork-mio --example echo -- server 127.0.0.1:4433 --cert-out /tmp/echo.pem
//! cargo run -p tls-cork-mio --example echo -- client 127.0.0.1:4433 /tmp/echo.pem "hello"
//! openssl s_client -connect 127.0.0.1:4433 -CAfile /tmp/echo.pem -servername localhost
//! ```

mod common;

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;

const USAGE: &str = "usage: echo server ADDRESS:PORT [--cert-out FILE]\n       echo client ADDRESS:PORT FILE MESSAGE";
const LISTENER: Token = Token(0);
const CLIENT: Token = Token(1);
/// How long the peer may take to end its direction of the stream.
const END_LIMIT: Duration = Duration::from_secs(5);
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);
/// How long the server waits after a failed `accept`.
const PAUSE: Duration = Duration::from_millis(100);
/// The server reports failures to admit a connection no more often than this.
const REPORT_EVERY: Duration = Duration::from_secs(1);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Option<Vec<String>> = std::env::args_os().skip(1).map(|arg| arg.into_string().ok()).collect();
    let args = args.unwrap_or_default();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["server", address] => server(address, None),
        ["server", address, "--cert-out", file] => server(address, Some(file)),
        ["client", address, file, message] => client(address, file, message),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a self-signed certificate for `localhost` and writes it to `cert_out`.
fn test_config(cert_out: Option<&str>) -> Outcome<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    if let Some(file) = cert_out {
        fs::write(file, made.cert.pem()).map_err(|error| format!("cannot write {file}: {error}"))?;
    }
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(Arc::new(config))
}

/// A connection of the server, and the bytes that it has read and not yet sent back.
struct Echo {
    stream: TlsStream,
    pending: Bytes,
    ended: bool,
    /// When the server drops a connection that the client has not ended.
    give_up: Option<Instant>,
}

impl Echo {
    /// Sends received bytes back until a call returns `WouldBlock`. Returns true when the stream
    /// has ended.
    fn go_on(&mut self) -> io::Result<bool> {
        let mut buf = BytesMut::zeroed(16 * 1024);
        while !self.ended {
            while !self.pending.is_empty() {
                match self.stream.send_bytes(&mut self.pending, SendFlags::NONE) {
                    // The client must read before the server reads on.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    sent => drop(sent?),
                }
            }
            match self.stream.read(&mut buf) {
                Ok(0) => {
                    self.ended = true;
                    self.give_up = Some(Instant::now() + END_LIMIT);
                }
                Ok(n) => self.pending = Bytes::copy_from_slice(&buf[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        match self.stream.close_gracefully() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            done => done.map(|()| true),
        }
    }
}

fn server(address: &str, cert_out: Option<&str>) -> Outcome<()> {
    let address = common::parse(address)?;
    let config = test_config(cert_out)?;
    let mut listener = TcpListener::bind(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening on {}", listener.local_addr()?);

    let mut door = Door { listener, config, next: LISTENER.0 + 1, retry_at: None, reported: None };
    let mut events = Events::with_capacity(256);
    let mut echoes: HashMap<Token, Echo> = HashMap::new();
    // Streams with work that no event will announce.
    let mut pressing = Vec::new();
    loop {
        let mut timeout = door.before_poll(&poll, &mut echoes);
        let now = Instant::now();
        echoes.retain(|_, echo| echo.give_up.is_none_or(|at| now < at));
        echoes.retain(|token, echo| match echo.stream.before_poll() {
            Ok(due) => {
                let due = due.into_iter().chain(echo.give_up.map(|at| at.saturating_duration_since(now))).min();
                timeout = timeout.into_iter().chain(due).min();
                if due == Some(Duration::ZERO) {
                    pressing.push(*token);
                }
                true
            }
            Err(error) => report(*token, &error),
        });
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                door.accept(&poll, &mut echoes);
                continue;
            }
            let Some(echo) = echoes.get_mut(&event.token()) else { continue };
            match echo.stream.handle_event(event) {
                Ok(()) => go_on(event.token(), &mut echoes),
                Err(error) => {
                    report(event.token(), &error);
                    echoes.remove(&event.token());
                }
            }
        }
        for token in pressing.drain(..) {
            go_on(token, &mut echoes);
        }
    }
}

/// Continues a connection, and removes it when it has ended or failed.
fn go_on(token: Token, echoes: &mut HashMap<Token, Echo>) {
    let Some(echo) = echoes.get_mut(&token) else { return };
    if echo.go_on().unwrap_or_else(|error| !report(token, &error)) {
        echoes.remove(&token);
    }
}

/// Prints why a connection ended. Returns false: the connection is not kept.
fn report(token: Token, error: &io::Error) -> bool {
    eprintln!("connection {}: {error}", token.0);
    false
}

/// The listener, and when to call `accept` again.
struct Door {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    /// The next connection's token.
    next: usize,
    /// When to call `accept` again after a failure. The connections in the backlog cause no
    /// further event.
    retry_at: Option<Instant>,
    /// When a failure was last reported.
    reported: Option<Instant>,
}

impl Door {
    /// Retries `accept` if the time has come. Returns how long until the next retry.
    fn before_poll(&mut self, poll: &Poll, echoes: &mut HashMap<Token, Echo>) -> Option<Duration> {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.accept(poll, echoes);
        }
        self.retry_at.map(|at| at.saturating_duration_since(now))
    }

    /// Accepts every connection in the backlog. A failure, such as a lack of descriptors, ends
    /// this call; the server goes on.
    fn accept(&mut self, poll: &Poll, echoes: &mut HashMap<Token, Echo>) {
        self.retry_at = None;
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
                Err(error) => {
                    self.report(&error);
                    self.retry_at = Some(Instant::now() + PAUSE);
                    return;
                }
            };
            match self.admit(socket, poll) {
                Ok((token, echo)) => drop(echoes.insert(token, echo)),
                Err(error) => self.report(&error),
            }
        }
    }

    fn admit(&mut self, socket: TcpStream, poll: &Poll) -> io::Result<(Token, Echo)> {
        let token = Token(self.next);
        self.next += 1;
        let mut stream = TlsStream::server(socket, Arc::clone(&self.config), CorkConfig::default())?;
        poll.registry().register(&mut stream, token, BOTH)?;
        Ok((token, Echo { stream, pending: Bytes::new(), ended: false, give_up: None }))
    }

    /// Prints why a connection was not admitted, at most once in [`REPORT_EVERY`].
    fn report(&mut self, error: &io::Error) {
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            eprintln!("echo: accept: {error}");
        }
    }
}

fn client(address: &str, file: &str, message: &str) -> Outcome<()> {
    let address = common::parse(address)?;
    let config = common::client_config(file)?;

    let failed = |error: io::Error| format!("{address}: {error}");
    let mut stream = common::connect(address, &config).map_err(failed)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut stream, CLIENT, BOTH)?;
    let echo = exchange(&mut poll, &mut stream, message.as_bytes()).map_err(failed)?;
    io::stdout().write_all(&echo)?;
    println!();
    let stats = stream.stats();
    eprintln!("sent {} bytes in {} records", stats.plaintext_bytes, stats.records);
    Ok(())
}

/// Sends a header and `message`, and returns the echo.
fn exchange(poll: &mut Poll, stream: &mut TlsStream, message: &[u8]) -> io::Result<Vec<u8>> {
    // The header is accepted even before the handshake has ended, because it is small. It leaves
    // with the body: one record, one send.
    let header = format!("{} bytes: ", message.len());
    let accepted = stream.send(header.as_bytes(), SendFlags::MORE)?;
    debug_assert_eq!(accepted, header.len());

    let expected = header.len() + message.len();
    let mut events = Events::with_capacity(16);
    let (mut rest, mut echo, mut buf) = (message, Vec::new(), vec![0; 16 * 1024]);
    let mut limit = None;
    loop {
        while !rest.is_empty() {
            match stream.send(rest, SendFlags::NONE) {
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while echo.len() < expected {
            match stream.read(&mut buf) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server ended the stream too early")),
                Ok(n) => echo.extend_from_slice(&buf[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut left = None;
        if echo.len() >= expected {
            match stream.close_gracefully() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done.map(|()| echo),
            }
            let now = Instant::now();
            left = Some(limit.get_or_insert(now + END_LIMIT).saturating_duration_since(now));
            if left == Some(Duration::ZERO) {
                return Err(io::Error::new(ErrorKind::TimedOut, "the server does not end the stream"));
            }
        }
        let timeout = stream.before_poll()?.into_iter().chain(left).min();
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            stream.handle_event(event)?;
        }
    }
}
