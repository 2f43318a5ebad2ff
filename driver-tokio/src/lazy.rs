//! The server side, with a configuration chosen after the ClientHello has arrived.

use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::{Accepted, AcceptedAlert, Acceptor, ClientHello};
use rustls::{ServerConfig, ServerConnection};
use tls_cork::{ConfigError, Connection, CorkConfig, server_without_early_data};
use tls_cork_engine::{Reader, poll_alert};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Accept;
use crate::keeper::{Attended, Handshake};

/// A future that reads the ClientHello, so that the program can choose a configuration by it.
///
/// It waits without a time limit: set one around this future, and around that of
/// [`StartHandshake::into_stream`].
///
/// ```no_run
/// # use std::{io, sync::Arc};
/// # use tls_cork_tokio::{LazyConfigAcceptor, rustls::{ServerConfig, server::Acceptor}};
/// # use tokio::net::TcpStream;
/// # type Choose = fn(Option<&str>) -> Arc<ServerConfig>;
/// # async fn example(tcp: TcpStream, choose: Choose) -> io::Result<()> {
/// let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
/// let config = choose(start.client_hello().server_name());
/// let stream = start.into_stream(config).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct LazyConfigAcceptor<IO> {
    acceptor: Acceptor,
    io: Option<Attended<IO>>,
    alert: Option<(rustls::Error, AcceptedAlert)>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> LazyConfigAcceptor<IO> {
    /// Creates the future; `acceptor` parses the bytes that are read from `io`.
    pub fn new(acceptor: Acceptor, io: IO) -> Self {
        Self { acceptor, io: Some(Attended::local(io)), alert: None }
    }

    /// Returns the transport, for example after an error; `None` if a [`StartHandshake`] has it, or
    /// if it was taken before.
    pub fn take_io(&mut self) -> Option<IO> {
        self.io.take().map(|io| io.inner)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for LazyConfigAcceptor<IO> {
    type Output = io::Result<StartHandshake<IO>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let Some(io) = &mut this.io else {
                return Poll::Ready(Err(io::Error::other("the transport was taken from the acceptor")));
            };
            if let Some((_, alert)) = &mut this.alert {
                ready!(poll_alert(io, alert, cx));
            }
            if let Some((error, _)) = this.alert.take() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
            match this.acceptor.read_tls(&mut Reader::new(io, cx) as &mut dyn Read) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Poll::Ready(Err(error)),
            }
            match this.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    if let Some(io) = this.io.take() {
                        return Poll::Ready(Ok(StartHandshake::from_parts(accepted, io.inner)));
                    }
                }
                Err(refused) => this.alert = Some(refused),
            }
        }
    }
}

impl<IO: fmt::Debug> fmt::Debug for LazyConfigAcceptor<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyConfigAcceptor").field("io", &self.io).finish_non_exhaustive()
    }
}

/// A handshake whose ClientHello has arrived; it waits for a configuration.
#[non_exhaustive]
pub struct StartHandshake<IO> {
    /// The state of the handshake in rustls.
    pub accepted: Accepted,
    /// The transport.
    pub io: IO,
    cork: CorkConfig,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> StartHandshake<IO> {
    /// Continues a handshake that began elsewhere.
    pub fn from_parts(accepted: Accepted, io: IO) -> Self {
        Self { accepted, io, cork: CorkConfig::default() }
    }

    /// The ClientHello: server name, application protocols, cipher suites.
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.accepted.client_hello()
    }

    /// The transport.
    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Sets the cork settings of the stream that this handshake makes.
    ///
    /// # Errors
    ///
    /// If a field of `cork` is out of its range.
    pub fn with_cork(mut self, cork: CorkConfig) -> Result<Self, ConfigError> {
        cork.validate()?;
        self.cork = cork;
        Ok(self)
    }

    /// Continues the handshake with `config`. Early data is refused; a `config` that accepts early
    /// data is copied in each call.
    pub fn into_stream(self, config: Arc<ServerConfig>) -> Accept<IO>
    where
        IO: Send + 'static,
    {
        self.into_stream_with(config, |_| ())
    }

    /// As [`into_stream`](Self::into_stream), but calls `f` with the session before it answers.
    ///
    /// Use `f` for settings only, as in
    /// [`TlsAcceptor::accept_with`](crate::TlsAcceptor::accept_with).
    pub fn into_stream_with<F>(self, config: Arc<ServerConfig>, f: F) -> Accept<IO>
    where
        IO: Send + 'static,
        F: FnOnce(&mut ServerConnection),
    {
        self.go_on(config, Attended::attended, f)
    }

    /// As [`into_stream`](Self::into_stream), over a transport that need not be `Send` or
    /// `'static`.
    ///
    /// The deadlines of such a stream fire as described at
    /// [`TlsConnector::connect_local`](crate::TlsConnector::connect_local).
    pub fn into_stream_local(self, config: Arc<ServerConfig>) -> Accept<IO> {
        self.go_on(config, Attended::local, |_| ())
    }

    fn go_on(
        self,
        config: Arc<ServerConfig>,
        io: fn(IO) -> Attended<IO>,
        f: impl FnOnce(&mut ServerConnection),
    ) -> Accept<IO> {
        let config = server_without_early_data(config);
        let io = io(self.io);
        Accept(match self.accepted.into_connection(Arc::clone(&config)) {
            Ok(mut session) => {
                f(&mut session);
                Handshake::new(io, Connection::from_server(session, &config, self.cork))
            }
            Err((error, alert)) => Handshake::alert(io, alert, error),
        })
    }
}

impl<IO: fmt::Debug> fmt::Debug for StartHandshake<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartHandshake").field("io", &self.io).field("cork", &self.cork).finish_non_exhaustive()
    }
}
