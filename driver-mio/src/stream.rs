//! `TlsStream`: moves bytes and time.

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

/// R16: after this many bytes, one call leaves the rest to the next.
pub(crate) const CALL_LIMIT: usize = 256 * 1024;

/// A TLS stream over a non-blocking transport, with a flag on each write.
///
/// `Read` and `Write` behave as on a non-blocking socket: `WouldBlock` means that the call is worth repeating after the next event.
/// `Write::write` is [`send`](Self::send) without flags.
///
/// Dropping a stream discards what is held and what the transport has not taken. End it with
/// [`close_gracefully`](Self::close_gracefully) first.
pub struct TlsStream<T = TcpStream> {
    pub(crate) connection: Connection,
    pub(crate) transport: T,
    /// Received before TLS began; read before the transport.
    pub(crate) early: Bytes,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer has closed, or the transport failed: no further event will say so.
    pub(crate) ended: bool,
    /// An event has come.
    pub(crate) announced: bool,
    /// The last read had to wait.
    pub(crate) reader_waits: bool,
    /// A read was tried since the last `before_poll`.
    pub(crate) reads: bool,
    /// There may be something to read that no event will announce.
    pub(crate) unseen: bool,
    /// The last send stopped at `CALL_LIMIT`, which no event will announce either.
    pub(crate) cut_short: bool,
    /// Held writes since the clock was last read.
    pub(crate) joins: u8,
    /// The transport's sending direction has been ended.
    pub(crate) write_closed: bool,
    /// A deferred error, returned by the next call that sends.
    pub(crate) failure: Option<io::Error>,
    /// TLS has failed: what is received no longer matters.
    pub(crate) broken: bool,
}

/// One short line, as that of the [`Connection`].
impl<T> fmt::Debug for TlsStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsStream({:?})", self.connection)
    }
}

impl TlsStream<TcpStream> {
    /// The client side over a TCP stream, connected or connecting; sets TCP_NODELAY.
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

    /// The server side over an accepted TCP stream; sets TCP_NODELAY.
    ///
    /// # Errors
    ///
    /// As [`client`](Self::client).
    pub fn server(transport: TcpStream, config: Arc<ServerConfig>, cork: CorkConfig) -> io::Result<Self> {
        Self::server_with(transport, config, cork)
    }
}

impl<T: Transport> TlsStream<T> {
    /// The client side over any transport.
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

    /// The server side over any transport.
    ///
    /// # Errors
    ///
    /// As [`client_with`](Self::client_with).
    pub fn server_with(transport: T, config: Arc<ServerConfig>, cork: CorkConfig) -> io::Result<Self> {
        Self::new(transport, Connection::server(config, cork)?)
    }

    /// A connection that was set up elsewhere.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::prepare`].
    pub fn new(mut transport: T, connection: Connection) -> io::Result<Self> {
        transport.prepare()?;
        // Both directions are tried once; WouldBlock tells.
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
            // An edge that came before this stream was made is not announced again.
            unseen: true,
            cut_short: false,
            joins: 0,
            write_closed: false,
            failure: None,
            broken: false,
        })
    }

    /// Hands over bytes that were received before TLS began, as after STARTTLS.
    #[must_use]
    pub fn with_received(mut self, data: Bytes) -> Self {
        self.early = data;
        self.unseen = true;
        self
    }

    /// Takes readiness in, transmits what waits, and moves the handshake on.
    ///
    /// # Errors
    ///
    /// Those of TLS, and those of receiving during the handshake; all are final. That the transport takes no more is left to the
    /// next [`before_poll`](Self::before_poll) or write: what the peer said last can still be read.
    pub fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        self.announced = true;
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ended |= event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.transmit_or_keep()?;
        self.shake_hands()
    }

    /// Call right before `Poll::poll`, and give it the timeout that this returns.
    ///
    /// Fires a deadline that is due, releases what is held if the peer's answer may be waiting for it
    /// ([`flush_on_read_wait`](CorkConfig::flush_on_read_wait)), transmits, and moves the handshake on.
    ///
    /// The peer's answer may be waiting if the last read had to wait, or if any read was tried since the last `before_poll`: a loop that reads
    /// exactly its answer meets no `WouldBlock`. A loop that reads until `WouldBlock` in each turn gathers within its turns alone. One that only
    /// writes keeps gathering across turns until the deadline; so does the first request of a stream on which no read was tried yet.
    ///
    /// Returns zero if no event will announce what there is to do: bytes that came before the stream was registered or before TLS began, plaintext
    /// that the last read left, the rest of a [`send`](Self::send) that was cut short, or an error that the next call returns. Read until `WouldBlock` and offer the rest
    /// again then. A loop that does not is asked once for each such read or send, and may sleep after that.
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

    /// When [`handle_timeout`](Self::handle_timeout) is due: for loops that keep their own timers. Changes with every other call.
    ///
    /// In the past if it is due now, which includes all for which [`before_poll`](Self::before_poll) returns zero.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_pressing() {
            return Some(Instant::now());
        }
        self.connection.poll_timeout()
    }

    /// Fires a deadline that is due, transmits, and moves the handshake on. Read until `WouldBlock` after it, as after an event.
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

    /// Whether there is something to do that no event will announce.
    fn is_pressing(&self) -> bool {
        let transmits = self.writable && self.connection.wants_transmit();
        transmits || self.failure.is_some() || self.cut_short || self.has_unseen()
    }

    /// The same; what is the caller's to do counts once.
    fn take_pressing(&mut self) -> bool {
        let pressing = self.is_pressing();
        self.cut_short = false;
        if self.has_unseen() {
            self.unseen = false;
        }
        pressing
    }

    /// Whether something waits for the transport.
    pub fn wants_transmit(&self) -> bool {
        self.connection.wants_transmit()
    }

    /// Whether a [`close`](Self::close) is through: the transport has taken all that was accepted and the `close_notify`.
    ///
    /// Also true when an abort or a failure has nothing left to send. What the transport has taken may still be lost, if the stream is dropped
    /// before the peer has read it: see [`close_gracefully`](Self::close_gracefully).
    pub fn is_finished(&self) -> bool {
        self.connection.is_finished()
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The session: what was agreed on, and what waits.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.connection.stats()
    }
}

impl<T> TlsStream<T> {
    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.transport
    }

    /// The transport, for instance to shut it down. Reading from it or writing to it breaks the TLS stream.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Gives the transport back; what is held or waits for the transport is lost.
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
