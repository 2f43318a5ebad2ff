//! `TlsStream`: its construction, its part in the event loop, and its getters.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::event::{self, Event};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tls_cork::{Connection, CorkConfig, Stats};

use crate::Transport;

/// R16: one call moves about this many bytes at most and leaves the rest to the next call.
pub(crate) const CALL_LIMIT: usize = 256 * 1024;

/// A TLS stream over a non-blocking transport, with a flag on each write.
///
/// `Read` and `Write` behave as on a non-blocking socket: after `WouldBlock`, repeat the call after
/// the next event. `Write::write` is [`send`](Self::send) without flags.
///
/// A stream that is dropped discards held bytes and all others that the transport has not taken.
/// End it with [`close_gracefully`](Self::close_gracefully) first.
pub struct TlsStream<T = TcpStream> {
    pub(crate) connection: Connection,
    pub(crate) transport: T,
    /// Bytes received before TLS began; they are read before the transport.
    pub(crate) early: Bytes,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed, or the transport has failed: no further event will announce that.
    pub(crate) ended: bool,
    /// An event has come.
    pub(crate) announced: bool,
    /// The last read had to wait.
    pub(crate) reader_waits: bool,
    /// A read was tried since the last `before_poll`.
    pub(crate) reads: bool,
    /// A read may return something that no event will announce.
    pub(crate) unseen: bool,
    /// The last send stopped at `CALL_LIMIT`. No event will announce that it can go on.
    pub(crate) cut_short: bool,
    /// The transport's sending direction has been ended.
    pub(crate) write_closed: bool,
    /// A deferred error, returned by the next call that sends.
    pub(crate) failure: Option<io::Error>,
}

/// Prints the [`Connection`], on one short line.
impl<T> fmt::Debug for TlsStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsStream({:?})", self.connection)
    }
}

impl TlsStream<TcpStream> {
    /// Creates the client side over a TCP stream, connected or connecting. Sets `TCP_NODELAY` of
    /// tcp(7).
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an invalid configuration; otherwise those of setsockopt(2).
    pub fn client(
        transport: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        cork: CorkConfig,
    ) -> io::Result<Self> {
        Self::client_with(transport, config, name, cork)
    }

    /// Creates the server side over an accepted TCP stream. Sets `TCP_NODELAY` of tcp(7).
    ///
    /// # Errors
    ///
    /// As [`client`](Self::client).
    pub fn server(transport: TcpStream, config: Arc<ServerConfig>, cork: CorkConfig) -> io::Result<Self> {
        Self::server_with(transport, config, cork)
    }
}

impl<T: Transport> TlsStream<T> {
    /// Creates the client side over any transport.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an invalid configuration; otherwise those of [`Transport::prepare`].
    pub fn client_with(
        transport: T,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        cork: CorkConfig,
    ) -> io::Result<Self> {
        Self::new(transport, Connection::client(config, name, cork)?)
    }

    /// Creates the server side over any transport.
    ///
    /// # Errors
    ///
    /// As [`client_with`](Self::client_with).
    pub fn server_with(transport: T, config: Arc<ServerConfig>, cork: CorkConfig) -> io::Result<Self> {
        Self::new(transport, Connection::server(config, cork)?)
    }

    /// Creates a stream from a connection that was set up elsewhere.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::prepare`].
    pub fn new(mut transport: T, connection: Connection) -> io::Result<Self> {
        transport.prepare()?;
        // Both directions are tried once, without an event.
        Ok(Self {
            connection,
            transport,
            early: Bytes::new(),
            readable: true,
            writable: true,
            ended: false,
            announced: false,
            reader_waits: false,
            reads: false,
            // An edge that came before this stream existed is not announced again.
            unseen: true,
            cut_short: false,
            write_closed: false,
            failure: None,
        })
    }

    /// Adds bytes of TLS that were received before this stream existed, as after STARTTLS. They are
    /// read before the transport.
    #[must_use]
    pub fn with_received(mut self, data: Bytes) -> Self {
        self.early = data;
        self.unseen = true;
        self
    }

    /// Notes the readiness in `event`, transmits output that waits, and continues the handshake.
    ///
    /// # Errors
    ///
    /// Those of TLS, and those of receiving during the handshake; all are final. An error of
    /// sending is returned by the next [`before_poll`](Self::before_poll) or write, so that the
    /// peer's last bytes can still be read.
    pub fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        self.announced = true;
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ended |= event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.transmit_or_keep()?;
        self.shake_hands()
    }

    /// Prepares the stream for a wait. Call it right before `Poll::poll`, and pass the returned
    /// timeout on.
    ///
    /// Fires a deadline that has come (R5), transmits, and continues the handshake. Releases held
    /// bytes if the program may wait for the peer's answer (R12,
    /// [`flush_on_read_wait`](CorkConfig::flush_on_read_wait)): if the last read had to wait, or if
    /// any read was tried since the last `before_poll`. The second condition serves a loop that
    /// reads exactly its answer and never meets `WouldBlock`.
    ///
    /// A loop that reads until `WouldBlock` in each turn therefore gathers only within a turn. A
    /// loop that only writes gathers across turns until the deadline. So does a stream before its
    /// first read.
    ///
    /// Returns the time until the next deadline; `None` if nothing is due. Returns zero if work is
    /// left that no event will announce:
    ///
    /// - bytes that came before the stream was registered or before TLS began,
    /// - plaintext that the last read left,
    /// - the rest of a [`send`](Self::send) that was cut short, or output that the transport still
    ///   takes,
    /// - an error that the next call returns.
    ///
    /// Then read until `WouldBlock` and send the rest. Zero is returned once for each such read or
    /// send.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS.
    pub fn before_poll(&mut self) -> io::Result<Option<Duration>> {
        self.take_failure()?;
        let now = Instant::now();
        let _ = self.connection.handle_timeout(now);
        if mem::take(&mut self.reads) || self.reader_waits {
            let _ = self.connection.handle_read_wait(now);
        }
        self.transmit()?;
        self.shake_hands()?;
        if self.take_pressing() {
            return Ok(Some(Duration::ZERO));
        }
        Ok(self.connection.poll_timeout().map(|at| at.saturating_duration_since(Instant::now())))
    }

    /// The time at which to call [`handle_timeout`](Self::handle_timeout), for loops that keep
    /// their own timers; `None` if nothing is due. Every other call can change it.
    ///
    /// The time is not in the future if work is due now, which includes all cases in which
    /// [`before_poll`](Self::before_poll) returns zero.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_pressing() {
            return Some(Instant::now());
        }
        self.connection.poll_timeout()
    }

    /// Fires a deadline that has come (R5), transmits, and continues the handshake. Read until
    /// `WouldBlock` afterwards, as after an event.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS.
    pub fn handle_timeout(&mut self) -> io::Result<()> {
        self.take_failure()?;
        let _ = self.connection.handle_timeout(Instant::now());
        self.transmit()?;
        self.shake_hands()?;
        self.take_pressing();
        Ok(())
    }

    /// Whether work is left that no event will announce.
    fn is_pressing(&self) -> bool {
        let transmits = self.writable && self.connection.wants_transmit();
        transmits || self.failure.is_some() || self.cut_short || self.has_unseen()
    }

    /// As [`is_pressing`](Self::is_pressing), but work that only the caller can do counts once.
    fn take_pressing(&mut self) -> bool {
        let pressing = self.is_pressing();
        self.cut_short = false;
        if self.has_unseen() {
            self.unseen = false;
        }
        pressing
    }

    /// Whether output waits for the transport. Every other call can change it.
    pub fn wants_transmit(&self) -> bool {
        self.connection.wants_transmit()
    }

    /// Whether a [`close`](Self::close) is complete: the transport has taken all accepted bytes and
    /// the `close_notify`.
    ///
    /// Also true after an abort or a failure, once nothing is left to send. Bytes that the
    /// transport has taken can still be lost if the stream is dropped before the peer has read
    /// them: see [`close_gracefully`](Self::close_gracefully).
    pub fn is_finished(&self) -> bool {
        self.connection.is_finished()
    }

    /// Whether the handshake is still in progress.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The session: its negotiated parameters, and how many bytes wait.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The counters of this stream so far.
    pub fn stats(&self) -> Stats {
        self.connection.stats()
    }
}

impl<T> TlsStream<T> {
    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.transport
    }

    /// The transport, for example to shut it down. Reading from it or writing to it breaks the TLS
    /// stream.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Returns the transport. Held bytes and all others that the transport has not taken are lost.
    pub fn into_inner(self) -> T {
        self.transport
    }
}

impl<T: event::Source> event::Source for TlsStream<T> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.transport.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.transport.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.transport.deregister(registry)
    }
}
