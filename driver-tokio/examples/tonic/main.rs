//! gRPC with tonic: `cargo run -p tls-cork-tokio --features hyper-util --example tonic`
//!
//! The client uses the connector for hyper-util. The server needs tonic's trait `Connected`, so its
//! streams are wrapped.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use hyper::Version;
use tls_cork_tokio::{HttpsConnector, TlsAcceptor, TlsConnector, server};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::transport::{Channel, Endpoint, Server};

mod echo;
#[path = "../support/forward.rs"]
mod forward;
#[allow(dead_code, reason = "it is a program of its own")]
#[path = "../hyper.rs"]
mod https;

pub(crate) use https::{Failure, configs};

use echo::{ECHO, EchoServer, MEASURE, Plain};

/// The time limit of a handshake: tls-cork has none.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Connections that have shaken hands and wait for tonic.
const BACKLOG: usize = 16;

/// A connection of the server.
struct Connection(server::TlsStream<TcpStream>);

forward::forward!(Connection);

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.0.with_ref(|tcp, _| tcp.connect_info())
    }
}

/// Serves all connections.
pub(crate) async fn serve(acceptor: TlsAcceptor, listener: TcpListener) -> Result<(), Failure> {
    let (ready, connections) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        loop {
            let tcp = match listener.accept().await {
                Ok((tcp, _)) => tcp,
                Err(error) => return ready.send(Err(error)).await,
            };
            let (acceptor, ready) = (acceptor.clone(), ready.clone());
            // In a task of its own: a client that is slow delays no other.
            tokio::spawn(async move {
                tcp.set_nodelay(true)?;
                let tls = timeout(HANDSHAKE_LIMIT, acceptor.accept(tcp)).await??;
                ready.send(Ok(Connection(tls))).await.map_err(io::Error::other)
            });
        }
    });
    Ok(Server::builder().add_service(EchoServer).serve_with_incoming(ReceiverStream::new(connections)).await?)
}

pub(crate) async fn connect(tls: TlsConnector, port: u16) -> Result<Grpc<Channel>, Failure> {
    let endpoint = Endpoint::from_shared(format!("https://localhost:{port}"))?;
    Ok(Grpc::new(endpoint.connect_with_connector(HttpsConnector::new(tls)).await?))
}

/// One message, and its answer.
pub(crate) async fn measure(client: &mut Grpc<Channel>, message: Bytes) -> Result<Bytes, Failure> {
    client.ready().await?;
    let path = PathAndQuery::from_static(MEASURE);
    Ok(client.unary(Request::new(message), path, Plain).await?.into_inner())
}

/// A stream of messages, and the stream of their answers.
pub(crate) async fn echo(client: &mut Grpc<Channel>, messages: Vec<Bytes>) -> Result<Vec<Bytes>, Failure> {
    client.ready().await?;
    let (path, messages) = (PathAndQuery::from_static(ECHO), tokio_stream::iter(messages));
    let mut answers = client.streaming(Request::new(messages), path, Plain).await?.into_inner();
    let mut got = Vec::new();
    while let Some(answer) = answers.message().await? {
        got.push(answer);
    }
    Ok(got)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (connector, acceptor) = configs(Version::HTTP_2)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(serve(acceptor, listener));
    let mut client = connect(connector, port).await?;
    println!("{:?}", measure(&mut client, "hello".into()).await?);
    println!("{:?}", echo(&mut client, vec!["one".into(), "two".into()]).await?);
    Ok(())
}
