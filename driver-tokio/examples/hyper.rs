//! An HTTPS server and client with hyper 1: `cargo run -p tls-cork-tokio --example hyper`
//!
//! ALPN chooses HTTP/2 or HTTP/1.1. hyper's writes carry no `MORE`: it gathers by itself, in vectored
//! writes that reach the socket as they are.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version, client};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::generate_simple_self_signed;
use tls_cork_tokio::rustls::pki_types::PrivateKeyDer;
use tls_cork_tokio::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tls_cork_tokio::{TlsAcceptor, TlsConnector};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The time limit of a handshake: tls-cork has none.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (version, path) = (request.version(), request.uri().path().to_owned());
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::from(format!("{version:?} {path}: {} bytes\n", body.len()))))
}

/// Serves one connection.
pub(crate) async fn serve(acceptor: TlsAcceptor, tcp: TcpStream) -> Result<(), Failure> {
    tcp.set_nodelay(true)?;
    let tls = timeout(HANDSHAKE_LIMIT, acceptor.accept(tcp)).await??;
    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service_fn(answer)).await
}

/// Posts `body` and returns the answer.
pub(crate) async fn post(connector: &TlsConnector, tcp: TcpStream, body: Bytes) -> Result<String, Failure> {
    tcp.set_nodelay(true)?;
    let connecting = connector.connect("localhost".try_into()?, tcp);
    let tls = timeout(HANDSHAKE_LIMIT, connecting).await??;
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(tls);
    let uri = if http2 { "https://localhost/echo" } else { "/echo" };
    let request = Request::post(uri).header("host", "localhost").body(Full::new(body))?;
    let response = if http2 {
        let (mut sender, connection) = client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().into())?)
}

/// Configurations for both sides that agree on `version`.
pub(crate) fn configs(version: Version) -> Result<(TlsConnector, TlsAcceptor), Failure> {
    let made = generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    let mut server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    client.alpn_protocols = vec![if version == Version::HTTP_2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok((TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server))))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (connector, acceptor) = configs(version)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let tcp = TcpStream::connect(listener.local_addr()?).await?;
        let serving = tokio::spawn(serve(acceptor, listener.accept().await?.0));
        print!("{}", post(&connector, tcp, Bytes::from_static(b"hello")).await?);
        serving.await??;
    }
    Ok(())
}
