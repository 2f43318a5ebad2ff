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
use crate::io::{Handshake, Io};

/// Makes client-side streams from one TLS configuration. Early data is not offered, whatever that
/// says.
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
    /// The same connector, whose streams hold, release and seal as `cork` says.
    ///
    /// # Errors
    ///
    /// If a field of `cork` is out of its range.
    pub fn with_cork(mut self, cork: CorkConfig) -> Result<Self, ConfigError> {
        cork.validate()?;
        self.cork = cork;
        Ok(self)
    }

    /// Shakes hands over `stream`, with the server that `domain` names.
    ///
    /// Without a limit on time: put one around the future; dropping it drops `stream`.
    pub fn connect<IO>(&self, domain: ServerName<'static>, stream: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.connect_with(domain, stream, |_| ())
    }

    /// As [`connect`](Self::connect), with a look at the session before its first byte leaves.
    ///
    /// The closure is for settings. Plaintext that it writes leaves at the end of the handshake and
    /// is not counted; rustls's buffer limit is lifted afterwards,
    /// [`CorkConfig::send_buffer_limit`] takes its place. Early data is out of scope.
    pub fn connect_with<IO, F>(&self, domain: ServerName<'static>, stream: IO, f: F) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(&mut ClientConnection),
    {
        self.handshake(domain, Io::attended(stream), None, f)
    }

    /// As [`connect`](Self::connect), over a transport that need not be `Send` or `'static`.
    ///
    /// No task can be given such a transport. The deadline of what is held therefore fires when any
    /// operation of the stream is polled, and wakes a read that waits; it does not fire while
    /// nothing is polled. The sends of a socket do not say `MSG_MORE`.
    pub fn connect_local<IO>(&self, domain: ServerName<'static>, stream: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.handshake(domain, Io::local(stream), None, |_| ())
    }

    /// The same connector, which offers the protocols `alpn_protocols` in place of the
    /// configuration's (ALPN, RFC 7301).
    pub fn with_alpn(&self, alpn_protocols: Vec<Vec<u8>>) -> TlsConnectorWithAlpn<'_> {
        TlsConnectorWithAlpn { connector: self, alpn_protocols }
    }

    /// The configuration, in which early data is turned off.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    fn handshake<IO>(
        &self,
        domain: ServerName<'static>,
        io: Io<IO>,
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
        self.connector.handshake(domain, Io::attended(stream), Some(self.alpn_protocols), f)
    }

    /// As [`TlsConnector::connect_local`].
    pub fn connect_local<IO>(self, domain: ServerName<'static>, stream: IO) -> Connect<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector.handshake(domain, Io::local(stream), Some(self.alpn_protocols), |_| ())
    }
}

/// A handshake that gives a [`client::TlsStream`](TlsStream), or an error.
///
/// The error holds the [`rustls::Error`] if TLS failed, or a
/// [`ReceiveError`](tls_cork::ReceiveError) if the peer does not seem to speak TLS: see
/// [`io::Error::get_ref`]. Dropping it drops the transport.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Connect<IO>(Handshake<IO>);

/// As [`Connect`], but gives the transport back with an error.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct FallibleConnect<IO>(Handshake<IO>);

impl<IO> Connect<IO> {
    /// The same handshake, which gives the transport back with an error.
    pub fn into_fallible(self) -> FallibleConnect<IO> {
        FallibleConnect(self.0)
    }

    /// The transport; `None` after the end.
    pub fn get_ref(&self) -> Option<&IO> {
        self.0.io().map(|io| &io.inner)
    }

    /// The transport, to be changed; `None` after the end.
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
