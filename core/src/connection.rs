//! `Connection`: both halves of a TLS session, the outbound one under a [`CorkPolicy`].

mod error;
mod outbound;

use std::fmt;
use std::io::{self, Read};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use ::rustls::crypto::SupportedKxGroup;
use ::rustls::pki_types::{CertificateDer, ServerName};
use ::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, InvalidMessage, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

use crate::rustls::{Session, client_without_early_data, has_early_data, server_without_early_data};
use crate::{CorkConfig, CorkPolicy, FlushDecision};

pub use error::{ConnectionError, Failure, ReceiveError, RefreshError};

/// The result of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "`bytes` may be fewer than offered, and zero at the transport's end"]
pub struct Received {
    /// Bytes taken from the reader or the slice. May be fewer than offered, and zero.
    pub bytes: usize,
    /// Whether a [`read`](Connection::read) would return something: plaintext, or the end of the
    /// stream, proper or cut. Nothing more is received until all plaintext has been read.
    pub readable: bool,
    /// The plaintext released by the end of the handshake, if it ended in this call (R6). Output of
    /// TLS itself is not part of the decision: see [`wants_transmit`](Connection::wants_transmit).
    pub decision: FlushDecision,
}

/// A TLS session without I/O, whose writes take [`SendFlags`](crate::SendFlags).
///
/// The outbound half has the commands, the output and the getters of [`CorkPolicy`]. Inbound,
/// [`receive_from`](Self::receive_from) or [`receive`](Self::receive) takes bytes from the
/// transport. [`read`](Self::read) returns plaintext, and [`fill_buf`](Self::fill_buf) shows it.
/// Check [`wants_transmit`](Self::wants_transmit) after each: TLS has output of its own.
///
/// Debug builds only: rustls 0.23 asserts that it sends at most one alert. Invalid bytes received
/// after our own `close_notify` fail that assertion. In release builds they are an error.
pub struct Connection {
    policy: CorkPolicy<Session>,
    /// The fatal error of a receive, which further calls return again.
    failure: Option<Box<ReceiveError>>,
    /// Whether a read has found `failure`, which the next receive returns.
    unreturned: bool,
    /// Whether the transport has ended after the handshake.
    ended: bool,
}

impl Connection {
    /// Creates the client side of a new session. Early data is not offered, whatever `config` sets
    /// (R6).
    ///
    /// # Errors
    ///
    /// If rustls refuses the configuration, or `cork` is invalid.
    pub fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        cork: CorkConfig,
    ) -> Result<Self, ConnectionError> {
        let config = client_without_early_data(config);
        Self::from_client(ClientConnection::new(Arc::clone(&config), name)?, &config, cork)
    }

    /// Creates the server side of a new session. Early data is refused, whatever `config` sets, so
    /// that the client sends it again (R6).
    ///
    /// A `config` with a `max_early_data_size` over zero is copied for each session:
    /// [`server_without_early_data`] makes the copy once.
    ///
    /// # Errors
    ///
    /// If rustls refuses the configuration, or `cork` is invalid.
    pub fn server(config: Arc<ServerConfig>, cork: CorkConfig) -> Result<Self, ConnectionError> {
        let config = server_without_early_data(config);
        Self::from_server(ServerConnection::new(Arc::clone(&config))?, &config, cork)
    }

    /// Takes over a client's session that was set up with rustls.
    ///
    /// `config` must be the configuration of that session: it has the size of the session's
    /// records, which rustls 0.23 does not report. No plaintext may have been written to the
    /// session.
    ///
    /// # Errors
    ///
    /// If `cork` is invalid; [`ConnectionError::EarlyData`] if the session can send early data.
    pub fn from_client(
        conn: ClientConnection,
        config: &ClientConfig,
        cork: CorkConfig,
    ) -> Result<Self, ConnectionError> {
        Self::from_rustls(conn.into(), config.max_fragment_size, cork)
    }

    /// Takes over a server's session that was set up with rustls, for instance by its
    /// [`Acceptor`](rustls::server::Acceptor).
    ///
    /// `config` must be the configuration of that session: it has the size of the session's
    /// records, which rustls 0.23 does not report. No plaintext may have been written to the
    /// session.
    ///
    /// # Errors
    ///
    /// If `cork` is invalid; [`ConnectionError::EarlyData`] if the session has accepted early data.
    /// A session that accepts some later, with the ClientHello, fails then, before it answers. To
    /// avoid this, make its configuration with [`server_without_early_data`].
    pub fn from_server(
        conn: ServerConnection,
        config: &ServerConfig,
        cork: CorkConfig,
    ) -> Result<Self, ConnectionError> {
        Self::from_rustls(conn.into(), config.max_fragment_size, cork)
    }

    fn from_rustls(
        mut conn: ::rustls::Connection,
        max_fragment_size: Option<usize>,
        cork: CorkConfig,
    ) -> Result<Self, ConnectionError> {
        if has_early_data(&mut conn) {
            return Err(ConnectionError::EarlyData);
        }
        let session = Session::new(conn, max_fragment_size);
        Ok(Self { policy: CorkPolicy::new(session, cork)?, failure: None, unreturned: false, ended: false })
    }

    /// Reads at most once from `reader` and processes the bytes.
    ///
    /// After the handshake, the read takes up to 64 KiB (R17). What follows the first records with
    /// plaintext stays in the connection: [`read`](Self::read) and [`consume`](Self::consume)
    /// decrypt it as plaintext is taken, and nothing more is received until all of it has been read.
    ///
    /// Zero [`bytes`](Received::bytes) mean that the transport has ended, that the peer has sent
    /// `close_notify`, or that plaintext has to be read first. In the last two cases
    /// [`wants_receive`](Self::wants_receive) is false.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Io`] is the reader's own error, `WouldBlock` and `Interrupted` included; the
    /// call may be repeated. All other errors are fatal, and further calls return them again. An
    /// error that a `read` or a `consume` has found is returned by the next receive, which then
    /// reads nothing. Transmit once more after a fatal error: an alert may be waiting.
    pub fn receive_from(&mut self, now: Instant, reader: &mut dyn Read) -> Result<Received, ReceiveError> {
        self.receive_once(now, |session| session.receive_from(reader))
    }

    fn receive_once(
        &mut self,
        now: Instant,
        receive: impl FnOnce(&mut Session) -> io::Result<Option<usize>>,
    ) -> Result<Received, ReceiveError> {
        self.check_failure()?;
        if self.is_readable() {
            return Ok(Received { bytes: 0, readable: true, decision: self.policy.handle_handshake_done(now) });
        }
        let Some(bytes) = receive(self.policy.get_mut()).map_err(|error| self.not_received(error))? else {
            return Err(self.fail_tls(InvalidMessage::HandshakePayloadTooLarge.into()));
        };
        if bytes == 0 && self.is_handshaking() {
            let discarded = self.policy.handle_failure();
            self.failure = Some(Box::new(ReceiveError::HandshakeEof { discarded }));
            return Err(ReceiveError::HandshakeEof { discarded });
        }
        self.ended |= bytes == 0;
        self.process(now, bytes)
    }

    #[cold]
    fn not_received(&mut self, error: io::Error) -> ReceiveError {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.policy.give_back_buffer();
        }
        ReceiveError::Io(error)
    }

    /// Processes bytes that were received elsewhere, such as those that arrived before TLS began
    /// (STARTTLS).
    ///
    /// Takes a prefix of `data`: less than all of it if plaintext has to be read first.
    ///
    /// # Errors
    ///
    /// Those of [`receive_from`](Self::receive_from), without `Io`.
    pub fn receive(&mut self, now: Instant, mut data: &[u8]) -> Result<Received, ReceiveError> {
        self.check_failure()?;
        let offered = data.len();
        let decision = self.policy.handle_handshake_done(now);
        let mut total = Received { bytes: 0, readable: self.is_readable() || self.ended, decision };
        while !data.is_empty() && !self.is_readable() {
            let step = self.receive_once(now, |session| session.receive_directly(&mut data))?;
            total.readable |= step.readable;
            if step.decision.is_flush() {
                total.decision = step.decision;
            }
            if step.bytes == 0 {
                break;
            }
        }
        total.bytes = offered - data.len();
        Ok(total)
    }

    /// Copies received plaintext to `buf`; returns its length in bytes. `Ok(0)` is the proper end
    /// of the stream, if `buf` is not empty.
    ///
    /// Fills `buf` from several records, if so many have been received, and decrypts the next one.
    /// Check [`wants_transmit`](Self::wants_transmit) afterwards: a record may need an answer. An
    /// error of TLS behind the bytes that are returned is kept for the next receive;
    /// [`failure`](Self::failure) has it at once.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no plaintext yet. `UnexpectedEof` if the transport has ended
    /// without the peer's `close_notify`: the stream may have been cut. After
    /// [`ReceiveError::HandshakeEof`], that error again.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.check_handshake_eof()?;
        let mut len = self.policy.get_mut().read(buf)?;
        while self.policy.get_ref().wants_ahead() {
            self.decrypt_ahead();
            match self.policy.get_mut().read(&mut buf[len..]) {
                Ok(more) => len += more,
                Err(_) => break,
            }
        }
        Ok(len)
    }

    /// Shows received plaintext where it was decrypted: the rest of the oldest record with content.
    ///
    /// Returns the same bytes until [`consume`](Self::consume) or [`read`](Self::read) takes them.
    /// An empty slice is the stream's proper end. Receives nothing by itself.
    ///
    /// ```
    /// # fn example(conn: &mut tls_cork::Connection) -> std::io::Result<Option<u64>> {
    /// let plaintext = conn.fill_buf()?; // `WouldBlock`: receive more first
    /// if let Some(header) = plaintext.first_chunk() {
    ///     let number = u64::from_be_bytes(*header);
    ///     conn.consume(8);
    ///     return Ok(Some(number));
    /// }
    /// # Ok(None)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check_handshake_eof()?;
        self.policy.get_mut().fill_buf()
    }

    /// Takes the first `len` bytes of what [`fill_buf`](Self::fill_buf) shows, or all of them if they
    /// are fewer. Decrypts the next record as [`read`](Self::read) does.
    pub fn consume(&mut self, len: usize) {
        self.policy.get_mut().consume(len);
        if self.policy.get_ref().wants_ahead() {
            self.decrypt_ahead();
        }
    }

    /// The error that ended this session for good, as the call that found it returned it; `None`
    /// without one.
    ///
    /// For a task that gets [`WriteError::Failed`](crate::WriteError::Failed), and for logs. An
    /// error of the transport is not here, because it ends nothing by itself.
    ///
    /// ```no_run
    /// # fn example(conn: tls_cork::Connection) {
    /// if let Some(failure) = conn.failure() {
    ///     eprintln!("{failure}"); // includes the number of bytes lost
    /// }
    /// # }
    /// ```
    pub fn failure(&self) -> Option<Failure<'_>> {
        let received = self.failure.as_deref().map(Failure::Receive);
        received.or_else(|| self.policy.failure().map(Failure::Transmit))
    }

    /// Refreshes the keys of a TLS 1.3 session, and asks the peer to refresh its keys (KeyUpdate,
    /// RFC 8446, section 4.6.3).
    ///
    /// The request leaves with the next transmit, behind records that are sealed by then. Held and
    /// released bytes are still plaintext and get the new keys (R14). Does nothing while an earlier
    /// request waits for the transport: at most one waits.
    ///
    /// rustls refreshes keys by itself before they are used up. A peer may regard many requests
    /// without data between them as an attack; rustls does so after 32.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Handshaking`] before the end of the handshake, [`RefreshError::Unsupported`]
    /// with TLS 1.2, [`RefreshError::Closed`] or [`RefreshError::Failed`] when no write would be
    /// accepted.
    pub fn refresh_traffic_keys(&mut self) -> Result<(), RefreshError> {
        if self.failure().is_some() {
            return Err(RefreshError::Failed);
        }
        if self.is_write_closed() {
            return Err(RefreshError::Closed);
        }
        if self.is_handshaking() {
            return Err(RefreshError::Handshaking);
        }
        let session = self.policy.get_mut();
        if !session.is_tls13() {
            return Err(RefreshError::Unsupported);
        }
        session.refresh_traffic_keys().map_err(|error| {
            self.fail_tls(error);
            RefreshError::Failed
        })
    }

    /// Whether the session takes received bytes now.
    ///
    /// False while plaintext waits to be read, after the peer's `close_notify`, and after a receive
    /// has returned a fatal error. During the handshake, false while output waits to be transmitted.
    pub fn wants_receive(&self) -> bool {
        (self.failure.is_none() || self.unreturned) && self.policy.get_ref().wants_receive()
    }

    /// Whether the handshake is still going on. Once false, it stays false.
    pub fn is_handshaking(&self) -> bool {
        self.policy.get_ref().rustls().is_handshaking()
    }

    /// The negotiated application protocol (ALPN, RFC 7301); `None` before the negotiation, and if
    /// there is none.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.policy.get_ref().rustls().alpn_protocol()
    }

    /// The peer's certificate chain, its own certificate first; `None` until it is known, and if
    /// the peer sent none. A resumed session has the chain of the original session.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.policy.get_ref().rustls().peer_certificates()
    }

    /// The negotiated protocol version; `None` before the negotiation.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.policy.get_ref().rustls().protocol_version()
    }

    /// The group of the key exchange; `None` before the exchange, and in a resumed session of TLS
    /// 1.2, which has none.
    pub fn negotiated_key_exchange_group(&self) -> Option<&'static dyn SupportedKxGroup> {
        self.policy.get_ref().rustls().negotiated_key_exchange_group()
    }

    /// The negotiated cipher suite; `None` before the negotiation.
    pub fn negotiated_cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.policy.get_ref().rustls().negotiated_cipher_suite()
    }

    /// Whether the handshake was a full one or resumed an earlier session; `None` until this is
    /// known.
    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.policy.get_ref().rustls().handshake_kind()
    }

    /// On a server, the name that the client asked for (SNI, RFC 6066); `None` before it is known,
    /// and if the client sent none. On a client always `None`.
    pub fn server_name(&self) -> Option<&str> {
        match self.policy.get_ref().rustls() {
            ::rustls::Connection::Server(server) => server.server_name(),
            ::rustls::Connection::Client(_) => None,
        }
    }

    /// Fills `output` with keying material of this session (RFC 5705; RFC 8446, section 7.5), for
    /// instance for channel binding.
    ///
    /// # Errors
    ///
    /// Before the end of the handshake, and if `output` is empty.
    pub fn export_keying_material<T: AsMut<[u8]>>(
        &self,
        output: T,
        label: &[u8],
        context: Option<&[u8]>,
    ) -> Result<T, ::rustls::Error> {
        self.policy.get_ref().rustls().export_keying_material(output, label, context)
    }

    /// Whether plaintext waits to be read, or the peer has sent `close_notify`.
    fn is_readable(&self) -> bool {
        !self.policy.get_ref().wants_receive() && !self.is_handshaking()
    }

    fn process(&mut self, now: Instant, bytes: usize) -> Result<Received, ReceiveError> {
        match self.policy.get_mut().process() {
            Ok(()) => {
                let readable = self.is_readable() || self.ended;
                Ok(Received { bytes, readable, decision: self.policy.handle_handshake_done(now) })
            }
            Err(error) => Err(self.fail_tls(error)),
        }
    }

    /// Decrypts what was read ahead until plaintext waits, and keeps an error for the next receive.
    fn decrypt_ahead(&mut self) {
        if let Err(error) = self.policy.get_mut().process_ahead() {
            self.fail_tls(error);
            self.unreturned = true;
        }
    }

    fn fail_tls(&mut self, error: ::rustls::Error) -> ReceiveError {
        let not_tls = !self.policy.get_ref().peer_speaks_tls();
        let discarded = self.policy.handle_failure();
        self.failure = Some(Box::new(ReceiveError::Tls { error: error.clone(), not_tls, discarded }));
        ReceiveError::Tls { error, not_tls, discarded }
    }

    /// A handshake that the transport cut off is no proper end of the stream.
    fn check_handshake_eof(&self) -> io::Result<()> {
        match self.failure.as_deref() {
            Some(ReceiveError::HandshakeEof { .. }) => Err(ReceiveError::HandshakeEof { discarded: 0 }.into()),
            _ => Ok(()),
        }
    }

    /// Returns a fatal error again, with no bytes lost: the first return gave their number. An error
    /// that a read has found is returned when the plaintext before it has been read.
    fn check_failure(&mut self) -> Result<(), ReceiveError> {
        if self.unreturned && self.is_readable() {
            return Ok(());
        }
        let first = mem::take(&mut self.unreturned);
        match self.failure.as_deref() {
            None | Some(ReceiveError::Io(_)) => Ok(()),
            Some(ReceiveError::Tls { error, not_tls, discarded }) => {
                let discarded = if first { *discarded } else { 0 };
                Err(ReceiveError::Tls { error: error.clone(), not_tls: *not_tls, discarded })
            }
            Some(ReceiveError::HandshakeEof { .. }) => Err(ReceiveError::HandshakeEof { discarded: 0 }),
        }
    }
}

/// One short line: side, version, state, and the plaintext bytes that wait.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.policy.get_ref().rustls() {
            ::rustls::Connection::Client(_) => "client",
            ::rustls::Connection::Server(_) => "server",
        };
        write!(f, "Connection({side}, ")?;
        if let Some(version) = self.protocol_version() {
            write!(f, "{version:?}, ")?;
        }
        let state = match () {
            () if self.failure().is_some() => "failed",
            () if self.is_handshaking() => "handshaking",
            () if self.is_write_closed() => "closed",
            () => "open",
        };
        write!(f, "{state}, {} bytes waiting)", self.waiting())
    }
}
