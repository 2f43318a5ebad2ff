//! hyper-util: a connector for its client, and the facts that it asks of a connection.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::handle::Handle;
use crate::{Stream, TlsConnector, TlsStream, client};

type Failure = Box<dyn Error + Send + Sync>;

/// A connector for the client of hyper-util (`hyper_util::client::legacy::Client`). With the
/// feature `hyper-util`.
///
/// Each connection is made by the connector `C`, then encrypted. The protocols that the rustls
/// configuration offers (ALPN) decide the version of HTTP: HTTP/2 if the server chooses `h2`,
/// otherwise HTTP/1.1.
///
/// ```no_run
/// # use std::sync::Arc;
/// # async fn example(mut config: rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
/// use bytes::Bytes;
/// use http_body_util::Empty;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use tls_cork_tokio::{HttpsConnector, TlsConnector};
///
/// config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
/// let https = HttpsConnector::new(TlsConnector::from(Arc::new(config)));
/// let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(https);
/// let response = client.get("https://example.org/".parse()?).await?;
/// # Ok(())
/// # }
/// ```
///
/// A URI whose scheme is not `https` is refused. The handshake has no time limit: set one around
/// the request.
#[derive(Clone, Debug)]
pub struct HttpsConnector<C = HttpConnector> {
    inner: C,
    tls: TlsConnector,
}

impl HttpsConnector {
    /// A connector over TCP, with `TCP_NODELAY`.
    #[must_use]
    pub fn new(tls: TlsConnector) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self::with_connector(tcp, tls)
    }
}

impl<C> HttpsConnector<C> {
    /// A connector over the connections of `inner`, which must accept URIs of the scheme `https`
    /// (`HttpConnector::enforce_http`).
    #[must_use]
    pub fn with_connector(inner: C, tls: TlsConnector) -> Self {
        Self { inner, tls }
    }
}

impl<C, IO> Service<Uri> for HttpsConnector<C>
where
    C: Service<Uri, Response = TokioIo<IO>>,
    C::Error: Into<Failure>,
    C::Future: Send + 'static,
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Response = TokioIo<client::TlsStream<IO>>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let name = match server_name(&uri) {
            Ok(name) => name,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let (connecting, tls) = (self.inner.call(uri), self.tls.clone());
        Box::pin(async move {
            // Without the wrapper: a socket inside another type gets no `MSG_MORE`.
            let io = connecting.await.map_err(Into::into)?.into_inner();
            Ok(TokioIo::new(tls.connect(name, io).await?))
        })
    }
}

fn server_name(uri: &Uri) -> Result<ServerName<'static>, Failure> {
    let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(invalid(format!("{uri}: expected a URI that begins with https://")));
    };
    // RFC 3986, section 3.2.2: an IPv6 address is in brackets.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|error| invalid(format!("{host}: {error}")))
}

fn invalid(why: String) -> Failure {
    io::Error::new(io::ErrorKind::InvalidInput, why).into()
}

/// The facts of the transport, and whether ALPN chose HTTP/2.
impl<H: Handle> Connection for Stream<H>
where
    H::Io: Connection,
{
    fn connected(&self) -> Connected {
        self.with_ref(|io, session| facts(io, session.alpn_protocol()))
    }
}

/// The facts of the transport, and whether ALPN chose HTTP/2.
impl<IO: Connection> Connection for TlsStream<IO> {
    fn connected(&self) -> Connected {
        self.with_ref(|io, session| facts(io, session.alpn_protocol()))
    }
}

fn facts(io: &impl Connection, alpn: Option<&[u8]>) -> Connected {
    let connected = io.connected();
    if alpn == Some(b"h2") { connected.negotiated_h2() } else { connected }
}
