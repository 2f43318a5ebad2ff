//! Code that the examples share.

#![allow(dead_code, reason = "each example uses a part")]

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tls_cork::CorkConfig;
use tls_cork_mio::TlsStream;

/// Connects `count` streams to the server that the command line names.
pub(crate) fn streams(count: usize) -> Result<Vec<TlsStream>, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, file] = &args[..] else { return Err("the arguments are ADDRESS:PORT FILE".into()) };
    let (address, config) = (parse(address)?, client_config(file)?);
    Ok((0..count).map(|_| connect(address, &config)).collect::<Result<_, _>>()?)
}

/// Parses an IP address and a port.
pub(crate) fn parse(address: &str) -> Result<SocketAddr, Box<dyn Error>> {
    address.parse().map_err(|_| format!("{address:?} is not an IP address and a port, such as 127.0.0.1:4433").into())
}

/// A client's configuration that trusts the certificate in `file`.
pub(crate) fn client_config(file: &str) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let certificate = CertificateDer::from_pem_file(file)
        .map_err(|error| format!("cannot read a certificate from {file}: {error}"))?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(|error| format!("cannot use the certificate in {file}: {error}"))?;
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// Starts a connection to the server `localhost` at `address`.
pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<TlsStream> {
    let name = "localhost".try_into().map_err(io::Error::other)?;
    TlsStream::client(TcpStream::connect(address)?, Arc::clone(config), name, CorkConfig::default())
}
