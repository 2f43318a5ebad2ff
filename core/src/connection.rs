//! `Connection`: a TLS session's two halves, the outbound one under a [`CorkPolicy`].

mod error;
mod outbound;

use std::fmt;
use std::io::{self, Read};
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

/// What became of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "`bytes` may be fewer than offered, and zero at the transport's end"]
pub struct Received {
    /// Bytes taken from the reader or the slice.
    pub bytes: usize,
    /// Whether a read would give something: plaintext, or the stream's end, which may be proper or
    /// a cut ([`read`](Connection::read)). Nothing more is received until plaintext has been read.
    pub readable: bool,
    /// What the end of the handshake released, if it ended now. What TLS itself has to send is not
    /// part of it.
    pub decision: FlushDecision,
}

/// A TLS session without I/O, whose writes take [`SendFlags`](crate::SendFlags).
///
/// Outbound, it has the commands, the output and the getters of [`CorkPolicy`]. Inbound: [`receive_from`](Self::receive_from) or [`receive`](Self::receive) takes what the
/// transport got, [`read`](Self::read) gives plaintext. After either, look at [`wants_transmit`](Self::wants_transmit): TLS has things to say of its own.
///
/// In debug builds rustls 0.23 asserts that it sends one fatal alert at most, and garbage received after our own
/// `close_notify` fails that assertion; release builds are not affected.
pub struct Connection {
    policy: CorkPolicy<Session>,
    /// What was received was a fatal error, which further calls return again.
    failure: Option<ReceiveError>,
    /// The transport has ended, after the handshake.
    ended: bool,
}

impl Connection {
    /// The client side of a new session. Early data is not offered, whatever `config` says.
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

    /// The server side of a new session. Early data is refused, whatever `config` says, so that the client sends it again.
    ///
    /// A `config` with `max_early_data_size` over zero is copied for each session: [`server_without_early_data`] makes the copy once.
    ///
    /// # Errors
    ///
    /// If rustls refuses the configuration, or `cork` is invalid.
    pub fn server(config: Arc<ServerConfig>, cork: CorkConfig) -> Result<Self, ConnectionError> {
        let config = server_without_early_data(config);
        Self::from_server(ServerConnection::new(Arc::clone(&config))?, &config, cork)
    }

    /// A client's session that was set up with rustls.
    ///
    /// `config` is the one that it was made from: it has the size of its records, which rustls 0.23
    /// does not report. No plaintext may have been written to the session.
    ///
    /// # Errors
    ///
    /// If `cork` is invalid, or [`ConnectionError::EarlyData`] if the session can send early data.
    pub fn from_client(
        conn: ClientConnection,
        config: &ClientConfig,
        cork: CorkConfig,
    ) -> Result<Self, ConnectionError> {
        Self::from_rustls(conn.into(), config.max_fragment_size, cork)
    }

    /// A server's session that was set up with rustls, for instance by its
    /// [`Acceptor`](rustls::server::Acceptor).
    ///
    /// `config` is the one that it was made from: it has the size of its records, which rustls 0.23
    /// does not report. No plaintext may have been written to the session.
    ///
    /// # Errors
    ///
    /// If `cork` is invalid, or [`ConnectionError::EarlyData`] if the session has accepted early data.
    /// A session that accepts some later, with the ClientHello, fails then, before it answers: make
    /// its configuration with [`server_without_early_data`].
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
        Ok(Self { policy: CorkPolicy::new(session, cork)?, failure: None, ended: false })
    }

    /// Reads once from `reader` and processes what it gave.
    ///
    /// Zero bytes: the transport has ended, or the peer has sent `close_notify`, or plaintext has to be read first
    /// ([`wants_receive`](Self::wants_receive) is false then).
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Io`] for the reader's own, `WouldBlock` included; others are fatal, and said again by further calls. Transmit once more then: an
    /// alert may be waiting.
    pub fn receive_from(&mut self, now: Instant, reader: &mut dyn Read) -> Result<Received, ReceiveError> {
        self.check_failure()?;
        if self.is_readable() {
            return Ok(Received { bytes: 0, readable: true, decision: self.policy.handle_handshake_done(now) });
        }
        let Some(bytes) = self.policy.get_mut().receive_from(reader).map_err(ReceiveError::Io)? else {
            return Err(self.fail_tls(InvalidMessage::HandshakePayloadTooLarge.into()));
        };
        if bytes == 0 && self.is_handshaking() {
            let discarded = self.policy.handle_failure();
            self.failure = Some(ReceiveError::HandshakeEof { discarded });
            return Err(ReceiveError::HandshakeEof { discarded });
        }
        self.ended |= bytes == 0;
        self.process(now, bytes)
    }

    /// Takes bytes that were received elsewhere, such as those that came along before TLS began (STARTTLS).
    ///
    /// Takes a prefix: less than all if plaintext has to be read first.
    ///
    /// # Errors
    ///
    /// As [`receive_from`](Self::receive_from), without `Io`.
    pub fn receive(&mut self, now: Instant, mut data: &[u8]) -> Result<Received, ReceiveError> {
        self.check_failure()?;
        let offered = data.len();
        let decision = self.policy.handle_handshake_done(now);
        let mut total = Received { bytes: 0, readable: self.is_readable() || self.ended, decision };
        while !data.is_empty() && !self.is_readable() {
            let step = self.receive_from(now, &mut data)?;
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

    /// Gives received plaintext.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none yet; `UnexpectedEof` if the transport ended without the peer's `close_notify`, so that the
    /// stream may have been cut. `Ok(0)` is its proper end. After [`ReceiveError::HandshakeEof`],
    /// that error again.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(ReceiveError::HandshakeEof { .. }) = &self.failure {
            return Err(ReceiveError::HandshakeEof { discarded: 0 }.into());
        }
        self.policy.get_mut().read(buf)
    }

    /// The error that ended this session for good, as the call that found it returned it; `None`
    /// while there was none.
    ///
    /// For a task that meets [`WriteError::Failed`](crate::WriteError::Failed), and for logs. An error
    /// of the transport is not here: it ends nothing by itself.
    ///
    /// ```no_run
    /// # fn example(conn: tls_cork::Connection) {
    /// if let Some(failure) = conn.failure() {
    ///     eprintln!("{failure}"); // with the number of bytes that it cost
    /// }
    /// # }
    /// ```
    pub fn failure(&self) -> Option<Failure<'_>> {
        let received = self.failure.as_ref().map(Failure::Receive);
        received.or_else(|| self.policy.failure().map(Failure::Transmit))
    }

    /// Refreshes the keys of a TLS 1.3 session, and asks the peer to do the same (KeyUpdate, RFC 8446,
    /// section 4.6.3).
    ///
    /// The request goes out with the next transmit, behind what is sealed by then. Held and released
    /// bytes are still plaintext and get the new keys. Does nothing while an earlier request waits
    /// for the transport, so that one is waiting at most.
    ///
    /// rustls refreshes keys unasked before they are used up. A peer may take many requests without
    /// data between them for an attack; rustls does so after 32.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Handshaking`] before the handshake's end, [`RefreshError::Unsupported`] with TLS
    /// 1.2, [`RefreshError::Closed`] and [`RefreshError::Failed`] when no write would be accepted.
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

    /// Whether received bytes are wanted: not while plaintext waits to be read, nor after the
    /// peer's `close_notify`, nor after a fatal error of a receive. During the handshake not while
    /// something waits to be transmitted.
    pub fn wants_receive(&self) -> bool {
        self.failure.is_none() && self.policy.get_ref().wants_receive()
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.policy.get_ref().rustls().is_handshaking()
    }

    /// The application protocol agreed on (ALPN, RFC 7301); `None` before that, and if there is none.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.policy.get_ref().rustls().alpn_protocol()
    }

    /// The peer's certificate chain, its own first; `None` until it is known, and if the peer sent
    /// none. A resumed session has that of the first.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.policy.get_ref().rustls().peer_certificates()
    }

    /// The protocol version agreed on; `None` until then.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.policy.get_ref().rustls().protocol_version()
    }

    /// The group in which keys were exchanged; `None` until then, and in a resumed session of TLS
    /// 1.2, which exchanges none.
    pub fn negotiated_key_exchange_group(&self) -> Option<&'static dyn SupportedKxGroup> {
        self.policy.get_ref().rustls().negotiated_key_exchange_group()
    }

    /// The cipher suite agreed on; `None` until then.
    pub fn negotiated_cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.policy.get_ref().rustls().negotiated_cipher_suite()
    }

    /// Whether the handshake was a full one or resumed an earlier session; `None` until it is known.
    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.policy.get_ref().rustls().handshake_kind()
    }

    /// At a server, the name that the client asked for (SNI, RFC 6066); `None` before that, and if there is none.
    pub fn server_name(&self) -> Option<&str> {
        match self.policy.get_ref().rustls() {
            ::rustls::Connection::Server(server) => server.server_name(),
            ::rustls::Connection::Client(_) => None,
        }
    }

    /// Fills `output` with keying material of this session (RFC 5705; RFC 8446, section 7.5), for instance for channel binding.
    ///
    /// # Errors
    ///
    /// Before the handshake has ended, and if `output` is empty.
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
            Ok(plaintext) => {
                let readable = plaintext || self.is_readable() || self.ended;
                Ok(Received { bytes, readable, decision: self.policy.handle_handshake_done(now) })
            }
            Err(error) => Err(self.fail_tls(error)),
        }
    }

    fn fail_tls(&mut self, error: ::rustls::Error) -> ReceiveError {
        let not_tls = !self.policy.get_ref().peer_speaks_tls();
        let discarded = self.policy.handle_failure();
        self.failure = Some(ReceiveError::Tls { error: error.clone(), not_tls, discarded });
        ReceiveError::Tls { error, not_tls, discarded }
    }

    /// A fatal error again; what it cost was said the first time.
    fn check_failure(&self) -> Result<(), ReceiveError> {
        match &self.failure {
            None | Some(ReceiveError::Io(_)) => Ok(()),
            Some(ReceiveError::Tls { error, not_tls, .. }) => {
                Err(ReceiveError::Tls { error: error.clone(), not_tls: *not_tls, discarded: 0 })
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
