//! hyper-util's client over HTTPS:
//! `cargo run -p tls-cork-tokio --features hyper-util --example https_client`
//!
//! The client keeps its connections and uses them again. ALPN chooses HTTP/2 or HTTP/1.1. The
//! server is the one of the example `hyper`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpInfo;
use hyper_util::rt::TokioExecutor;
use tls_cork_tokio::{HttpsConnector, TlsAcceptor, TlsConnector};
use tokio::net::TcpListener;

#[allow(dead_code, reason = "it is a program of its own")]
#[path = "hyper.rs"]
mod server;

pub(crate) use server::{Failure, configs, serve};

pub(crate) type HttpsClient = Client<HttpsConnector, Full<Bytes>>;

/// An answer, and how it came.
pub(crate) struct Answer {
    pub(crate) version: Version,
    /// The address of the server.
    pub(crate) from: Option<SocketAddr>,
    pub(crate) text: String,
}

pub(crate) fn client(tls: TlsConnector) -> HttpsClient {
    Client::builder(TokioExecutor::new()).build(HttpsConnector::new(tls))
}

pub(crate) async fn post(client: &HttpsClient, uri: Uri, body: Bytes) -> Result<Answer, Failure> {
    let response = client.request(Request::post(uri).body(Full::new(body))?).await?;
    let version = response.version();
    let from = response.extensions().get::<HttpInfo>().map(HttpInfo::remote_addr);
    let text = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
    Ok(Answer { version, from, text })
}

/// Serves every connection, each in a task of its own.
async fn serve_all(acceptor: TlsAcceptor, listener: TcpListener) -> io::Result<()> {
    loop {
        let (tcp, peer) = listener.accept().await?;
        let serving = serve(acceptor.clone(), tcp);
        tokio::spawn(async move { serving.await.inspect_err(|error| eprintln!("{peer}: {error}")) });
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (connector, acceptor) = configs(version)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let uri: Uri = format!("https://localhost:{}/echo", listener.local_addr()?.port()).parse()?;
        let serving = tokio::spawn(serve_all(acceptor, listener));
        let client = client(connector);
        for body in ["hello", "hello again"] {
            let Answer { version, from, text } = post(&client, uri.clone(), body.into()).await?;
            print!("{version:?} from {from:?}: {text}");
        }
        serving.abort();
    }
    Ok(())
}
