// Included by the examples in the documentation of the crate.

use std::net::{TcpListener, TcpStream};

use async_io::Async;
use tls_cork_async_std::{TlsAcceptor, TlsConnector, client, server};

/// Both ends of a stream, over sockets.
async fn connected() -> std::io::Result<(client::TlsStream<Async<TcpStream>>, server::TlsStream<Async<TcpStream>>)> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root certificate");
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");

    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    let tcp = Async::<TcpStream>::connect(listener.get_ref().local_addr()?).await?;
    let (accepted, _) = listener.accept().await?;
    let name = "localhost".try_into().expect("a name");
    let connects = TlsConnector::from(std::sync::Arc::new(client)).connect(name, tcp);
    let accepts = TlsAcceptor::from(std::sync::Arc::new(server)).accept(accepted);
    futures_util::future::try_join(connects, accepts).await
}
