//! A client and a server of a small RPC on tokio: `cargo run -p tls-cork-tokio --example rpc`
//!
//! A message is a header, the length of the body in four bytes, and the body.

use std::io::{self, ErrorKind};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tls_cork_tokio::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tls_cork_tokio::{SendFlags, TlsAcceptor, TlsConnector, TlsStream};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const MAX_BODY: usize = 1 << 20;

/// Runs `work`, with an error after 10 seconds: tls-cork has no time limit on handshakes and reads.
async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(Duration::from_secs(10), work).await?
}

async fn send(tls: &mut TlsStream<TcpStream>, mut body: Bytes) -> io::Result<()> {
    tls.send_all(&(body.len() as u32).to_be_bytes(), SendFlags::MORE).await?; // held
    tls.send_all_bytes(&mut body, SendFlags::NONE).await?; // both leave; a large body is not copied
    Ok(())
}

/// Receives a message; `None` after the last one.
async fn receive(tls: &mut TlsStream<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    if tls.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    tls.read_exact(&mut header[1..]).await?;
    let len = u32::from_be_bytes(header) as usize;
    if len > MAX_BODY {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a body of {len} bytes; {MAX_BODY} are allowed")));
    }
    let mut body = vec![0; len];
    tls.read_exact(&mut body).await?;
    Ok(Some(body))
}

/// Answers each request with the same bytes in capitals.
pub(crate) async fn serve(acceptor: TlsAcceptor, tcp: TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut tls = in_time(acceptor.accept(tcp)).await?.into();
    while let Some(request) = in_time(receive(&mut tls)).await? {
        in_time(send(&mut tls, request.to_ascii_uppercase().into())).await?;
    }
    in_time(tls.close_gracefully()).await
}

pub(crate) async fn call(connector: TlsConnector, tcp: TcpStream, requests: &[Bytes]) -> io::Result<Vec<Vec<u8>>> {
    tcp.set_nodelay(true)?;
    let name = "localhost".try_into().map_err(io::Error::other)?;
    let mut tls = in_time(connector.connect(name, tcp)).await?.into();
    let mut replies = Vec::new();
    for request in requests {
        in_time(send(&mut tls, request.clone())).await?;
        replies.push(in_time(receive(&mut tls)).await?.ok_or(ErrorKind::UnexpectedEof)?);
    }
    in_time(tls.close_gracefully()).await?; // the server has received everything
    Ok(replies)
}

/// The configurations of both sides, with a certificate from a new certificate authority.
pub(crate) fn configs() -> Result<(ClientConfig, ServerConfig), Box<dyn std::error::Error>> {
    let (authority_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut roots = RootCertStore::empty();
    roots.add(authority.self_signed(&authority_key)?.der().clone())?;
    let params = CertificateParams::new(["localhost".to_owned()])?;
    let chain = vec![params.signed_by(&key, &Issuer::new(authority, authority_key))?.der().clone()];
    let server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key.serialize_der().try_into()?)?;
    Ok((ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(), server))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (client, server) = configs()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let tcp = TcpStream::connect(listener.local_addr()?).await?;
    let server = tokio::spawn(serve(TlsAcceptor::from(Arc::new(server)), listener.accept().await?.0));
    for reply in call(TlsConnector::from(Arc::new(client)), tcp, &["hello".into(), "again".into()]).await? {
        println!("{}", reply.escape_ascii());
    }
    Ok(server.await??)
}
