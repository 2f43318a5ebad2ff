//! One connection and the poll loop that moves it.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use tls_cork::CorkConfig;
use tls_cork_nbd::client::{self, ExportFacts, GoReplies};
use tls_cork_programs::Failure;

use crate::client::wire::{self, Outgoing, Security, Strategy, Wire};
use crate::shared::endpoint::Endpoint;
use crate::shared::socket::Counters;

/// How long a server may take for any one step before the transmission phase.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// How long a closed session may take to end at the server's side.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Where to connect, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server.
    pub endpoint: Endpoint,
    /// TLS, or none.
    pub security: Security,
}

/// A connection in the transmission phase (or on its way there).
#[derive(Debug)]
pub struct Link {
    endpoint: Endpoint,
    wire: Box<dyn Wire>,
    poll: Poll,
    events: Events,
}

impl Link {
    /// Connects to `target` and negotiates until requests can be sent by `strategy`.
    pub fn open(target: &Target, strategy: Strategy, cork: CorkConfig) -> Result<(Self, ExportFacts), Failure> {
        let endpoint = &target.endpoint;
        let tls = matches!(target.security, Security::Tls { .. });
        let stream = connect(endpoint, tls)?;
        let setup = || -> io::Result<Self> {
            let mut link = Self {
                endpoint: endpoint.clone(),
                wire: wire::open(stream, &target.security, strategy, cork)?,
                poll: Poll::new()?,
                events: Events::with_capacity(8),
            };
            link.wire.register(link.poll.registry())?;
            Ok(link)
        };
        let mut link = setup().map_err(|e| Failure::new("set up connection", endpoint, e))?;
        link.handshake(&target.security)?;
        let facts = link.go()?;
        Ok((link, facts))
    }

    fn handshake(&mut self, security: &Security) -> Result<(), Failure> {
        let what = match security {
            Security::Plaintext => "NBD negotiation".to_owned(),
            Security::Tls { server_name, .. } => {
                format!("TLS handshake as {}", server_name.to_str())
            }
        };
        let deadline = Instant::now() + STEP_LIMIT;
        while !self.wire.is_ready() {
            // Nothing can be read before the handshake ends; reading is what drives it.
            match self.wire.read(&mut [0; 1]) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.failure(what, "the server closed the connection"));
                }
                Err(e) => return Err(self.failure(what, e)),
                Ok(0) => return Err(self.failure(what, "the server closed the connection")),
                Ok(_) => return Err(self.failure(what, "the server sent data unasked")),
            }
            if self.wire.is_ready() {
                break;
            }
            match self.wait(deadline) {
                Ok(true) => {}
                Ok(false) => return Err(self.failure(what, "no answer in time")),
                Err(e) => return Err(self.failure(what, e)),
            }
        }
        Ok(())
    }

    /// Chooses the default export and starts the transmission phase.
    fn go(&mut self) -> Result<ExportFacts, Failure> {
        let what = "NBD negotiation (GO)";
        let sent = self.submit(Outgoing::message(client::go("").into()), true).and_then(|()| self.end_turn());
        sent.map_err(|e| self.failure(what, e))?;

        let deadline = Instant::now() + STEP_LIMIT;
        let mut replies = GoReplies::default();
        let mut buffer = [0; 4096];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Err(self.failure(what, "the server closed the connection")),
                Ok(n) => replies.feed(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(deadline).map_err(|e| self.failure(what, e))? {
                        return Err(self.failure(what, "no answer in time"));
                    }
                    continue;
                }
                Err(e) => return Err(self.failure(what, e)),
            }
            if let Some(facts) = replies.parse().map_err(|e| self.failure(what, e))? {
                return Ok(facts);
            }
        }
    }

    /// Sends a message as the wire's strategy has it; `last` for the last one of the turn.
    pub fn submit(&mut self, message: Outgoing, last: bool) -> io::Result<()> {
        self.wire.submit(message, last)
    }

    /// Nothing more will be submitted in this turn.
    pub fn end_turn(&mut self) -> io::Result<()> {
        self.wire.end_turn()
    }

    /// Received data; zero at the end of the stream, `WouldBlock` when there is none now.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wire.read(buffer)
    }

    /// Sleeps until the socket is ready or a time limit of the wire is due; false once `deadline`
    /// has passed.
    pub fn wait(&mut self, deadline: Instant) -> io::Result<bool> {
        let wire_timeout = self.wire.before_poll()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = wire_timeout.map_or(left, |timeout| timeout.min(left));
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            Err(_) => return Ok(true),
            Ok(()) => {}
        }
        for event in &self.events {
            self.wire.handle_event(event)?;
        }
        Ok(true)
    }

    /// Closes cleanly: everything submitted, then `close_notify`, then the server's end.
    ///
    /// A server may end the connection as it likes once it has been told to disconnect, so how it
    /// does is no error.
    pub fn close(mut self) -> Result<(), Failure> {
        let what = "close";
        let deadline = Instant::now() + CLOSE_LIMIT;
        self.wire.close().map_err(|e| self.failure(what, e))?;
        let mut buffer = [0; 4096];
        let mut open = true;
        while open || self.wire.has_unsent() {
            match self.wire.read(&mut buffer) {
                Ok(0) => open = false,
                Ok(_) => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => open = false,
            }
            let unsent = self.wire.has_unsent();
            if !open && !unsent {
                break;
            }
            match self.wait(deadline) {
                Ok(true) => {}
                Ok(false) if unsent => return Err(self.failure(what, "the server takes no data")),
                Err(e) if unsent => return Err(self.failure(what, e)),
                _ => break,
            }
        }
        Ok(())
    }

    /// Totals since the connection was made.
    pub fn counters(&self) -> Counters {
        self.wire.counters()
    }

    /// A failure of this connection.
    pub(crate) fn failure(&self, what: impl Into<String>, why: impl fmt::Display) -> Failure {
        Failure::new(what, &self.endpoint, why)
    }
}

/// Connects, and goes as far as plaintext goes.
fn connect(endpoint: &Endpoint, tls: bool) -> Result<TcpStream, Failure> {
    let mut stream = endpoint.connect(STEP_LIMIT).map_err(|e| Failure::new("connect", endpoint, e))?;
    let mut begin = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_LIMIT))?;
        stream.set_write_timeout(Some(STEP_LIMIT))?;
        client::begin(&mut stream, tls)
    };
    begin().map_err(|e| {
        let what = if tls { "NBD negotiation (STARTTLS)" } else { "NBD negotiation" };
        match e.kind() {
            io::ErrorKind::WouldBlock => Failure::new(what, endpoint, "the server sends nothing; is it an NBD server?"),
            io::ErrorKind::UnexpectedEof => Failure::new(what, endpoint, "the server closed the connection"),
            _ => Failure::new(what, endpoint, e),
        }
    })?;
    Ok(stream)
}
