//! The code that the examples share: their command line, and a protocol of one message each way.
//!
//! A message is its length, in four bytes, and its content.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tls_cork::SendFlags;

/// The largest message, in bytes.
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;

/// The pieces of a request that are not yet written, each with its flags.
pub(crate) type Request = VecDeque<(Bytes, SendFlags)>;

/// The peer to connect to: its address, the trusted certificates, and the name that its certificate
/// must have.
pub(crate) type Peer = (SocketAddr, Arc<ClientConfig>, ServerName<'static>);

/// Parses the arguments `ADDR CA_FILE SERVER_NAME MESSAGE`.
pub(crate) fn arguments(args: impl IntoIterator<Item = String>) -> Result<(Peer, Request), Box<dyn Error>> {
    let args: Vec<String> = args.into_iter().collect();
    let [addr, ca_file, server_name, message] = <[String; 4]>::try_from(args)
        .map_err(|_| "usage: ADDR CA_FILE SERVER_NAME MESSAGE, as in 127.0.0.1:4433 ca.pem localhost hello")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&ca_file)? {
        roots.add(certificate?)?;
    }
    let addr = addr.to_socket_addrs()?.next().ok_or("ADDR does not resolve to an address")?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let peer = (addr, Arc::new(config), ServerName::try_from(server_name)?);
    Ok((peer, request(message.into())?))
}

/// Returns a header with `MORE`, and the body that completes it. Together they are one record if
/// they fit one.
fn request(body: Bytes) -> Result<Request, Box<dyn Error>> {
    let header = Bytes::copy_from_slice(&u32::try_from(body.len())?.to_be_bytes());
    Ok(VecDeque::from([(header, SendFlags::MORE), (body, SendFlags::NONE)]))
}

/// The part of a reply that has arrived.
#[derive(Default)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    pub(crate) fn push(&mut self, data: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(data);
        match self.end() {
            Some(end) if end > MESSAGE_LIMIT || end < self.0.len() => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the reply is too long: over 16 MiB, or over the length in its header",
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.end() == Some(self.0.len())
    }

    /// The content, once the stream has ended.
    pub(crate) fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.is_complete() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed before its reply was complete"));
        }
        Ok(self.0.split_off(4))
    }

    fn end(&self) -> Option<usize> {
        let header = self.0.first_chunk::<4>()?;
        Some(4 + u32::from_be_bytes(*header) as usize)
    }
}
