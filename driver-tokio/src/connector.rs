//! The client side.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tls_cork::{ConfigError, Connection, CorkConfig, client_without_early_data};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::TlsStream;
use crate::keeper::{Attended, Handshake};

/// Makes client-side streams from one TLS configuration. Early data is not offered, whatever the
/// configuration allows.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    cork: CorkConfig,
}

impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self { config: client_without_early_data(config), cork: CorkConfig::default() }
    }
}

impl TlsConnector {
    /// Sets the cork settings of the streams that this connector makes.
    ///
    /// # Errors
    ///
    /// If a field of `cork` is out of its range.
    pub fn with_cork(mut self, cork: CorkConfig) -> Result<Self, ConfigError> {
        cork.validate()?;
        self.cork = cork;
        Ok(self)
    }

    /// Performs the handshake over `stream`, with the server that `domain` names.
    ///
    /// The handshake has no time limit: set one around the future. A future that is dropped drops
    /// `stream`.
    pub fn connect<IO>(&self, domain: ServerName<'static>, stream: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.connect_with(domain, stream, |_| ())
    }

    /// As [`connect`](Self::connect), but calls `f` with the session before its first byte leaves.
    ///
    /// Use `f` for settings only. Plaintext that `f` writes leaves at the end of the handshake and
    /// is not counted. A buffer limit that `f` sets is replaced by
    /// [`CorkConfig::send_buffer_limit`]. Early data is not supported.
    pub fn connect_with<IO, F>(&self, domain: ServerName<'static>, stream: IO, f: F) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(&mut ClientConnection),
    {
        self.handshake(domain, Attended::attended(stream), None, f)
    }

    /// As [`connect`](Self::connect), over a transport that need not be `Send` or `'static`.
    ///
    /// Another task cannot use such a transport. The deadline of held bytes therefore fires when
    /// any operation of the stream is polled, and wakes a read that waits. It does not fire while
    /// nothing is polled. The sends of a socket do not carry `MSG_MORE`.
    pub fn connect_local<IO>(&self, domain: ServerName<'static>, stream: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake(domain, Attended::local(stream), None, |_| ())
    }

    /// A connector that offers the protocols `alpn_protocols` in place of the configuration's
    /// (ALPN, RFC 7301).
    pub fn with_alpn(&self, alpn_protocols: Vec<Vec<u8>>) -> TlsConnectorWithAlpn<'_> {
        TlsConnectorWithAlpn { connector: self, alpn_protocols }
    }

    /// The configuration, with early data turned off.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    fn handshake<IO>(
        &self,
        domain: ServerName<'static>,
        io: Attended<IO>,
        alpn_protocols: Option<Vec<Vec<u8>>>,
        f: impl FnOnce(&mut ClientConnection),
    ) -> Connect<IO> {
        let config = Arc::clone(&self.config);
        let made = match alpn_protocols {
            Some(protocols) => ClientConnection::new_with_alpn(config, domain, protocols),
            None => ClientConnection::new(config, domain),
        };
        Connect(match made {
            Ok(mut session) => {
                f(&mut session);
                Handshake::new(io, Connection::from_client(session, &self.config, self.cork.clone()))
            }
            Err(error) => Handshake::refused(io, error),
        })
    }
}

/// A [`TlsConnector`] with protocols of its own: [`TlsConnector::with_alpn`].
#[derive(Clone, Debug)]
pub struct TlsConnectorWithAlpn<'a> {
    connector: &'a TlsConnector,
    alpn_protocols: Vec<Vec<u8>>,
}

impl TlsConnectorWithAlpn<'_> {
    /// As [`TlsConnector::connect`].
    pub fn connect<IO>(self, domain: ServerName<'static>, stream: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.connect_with(domain, stream, |_| ())
    }

    /// As [`TlsConnector::connect_with`].
    pub fn connect_with<IO, F>(self, domain: ServerName<'static>, stream: IO, f: F) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(&mut ClientConnection),
    {
        self.connector.handshake(domain, Attended::attended(stream), Some(self.alpn_protocols), f)
    }

    /// As [`TlsConnector::connect_local`].
    pub fn connect_local<IO>(self, domain: ServerName<'static>, stream: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector.handshake(domain, Attended::local(stream), Some(self.alpn_protocols), |_| ())
    }
}

/// A future of a handshake: returns a [`client::TlsStream`](TlsStream) or an error.
///
/// The error holds the [`rustls::Error`] if TLS failed, or a
/// [`ReceiveError`](tls_cork::ReceiveError) if the peer's bytes are not TLS: see
/// [`io::Error::get_ref`]. A future that is dropped drops the transport.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Connect<IO>(Handshake<IO>);

/// As [`Connect`], but returns the transport with an error.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct FallibleConnect<IO>(Handshake<IO>);

impl<IO> Connect<IO> {
    /// The same handshake, but the transport is returned with an error.
    pub fn into_fallible(self) -> FallibleConnect<IO> {
        FallibleConnect(self.0)
    }

    /// The transport; `None` after the future was ready.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io().map(|io| &io.inner)
    }

    /// A mutable reference to the transport; `None` after the future was ready.
    pub fn get_mut(&mut self) -> Option<&mut IO> {
        self.0.io_mut().map(|io| &mut io.inner)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Connect<IO> {
    type Output = io::Result<TlsStream<IO>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|done| done.map(TlsStream::new).map_err(|(error, _)| error))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for FallibleConnect<IO> {
    type Output = Result<TlsStream<IO>, (io::Error, IO)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|done| done.map(TlsStream::new).map_err(|(error, io)| (error, io.inner)))
    }
}
