//! The client side.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tls_cork::{ConfigError, Connection, CorkConfig, client_without_early_data};

use crate::client::TlsStream;
use crate::io::{Handshake, Io};

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
        IO: AsyncRead + AsyncWrite + Unpin,
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
        IO: AsyncRead + AsyncWrite + Unpin,
        F: FnOnce(&mut ClientConnection),
    {
        match ClientConnection::new(Arc::clone(&self.config), domain) {
            Ok(mut session) => {
                f(&mut session);
                Connect(Handshake::new(
                    Io::new(stream),
                    Connection::from_client(session, &self.config, self.cork.clone()),
                ))
            }
            Err(error) => Connect(Handshake::refused(Io::new(stream), error)),
        }
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
