//! The stacks, each written as its users write.
//!
//! A new stack is a name in [`StackName`], a module with a connection and its `Stack`, and a line
//! in `run`.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use clap::ValueEnum;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tls_cork::{CorkConfig, MAX_RECORD_SIZE};

use super::seat::{Seat, Stack};
use crate::shared::endpoint::Endpoint;
use crate::shared::socket::CountingSocket;
use tls_cork_programs::Failure;
use tls_cork_programs::tls::SERVER_NAMES;

mod blocking;
#[cfg(feature = "peers")]
pub(crate) mod counted;
#[cfg(feature = "peers")]
pub(crate) mod futures;
pub(super) mod limit;
#[cfg(feature = "peers")]
mod openssl;
#[cfg(feature = "peers")]
pub(crate) mod ours_async;
pub(crate) mod ours_mio;
#[cfg(feature = "peers")]
pub(crate) mod ours_tokio;
mod plain;
#[cfg(feature = "peers")]
mod s2n;
pub(crate) mod std_rustls;
#[cfg(feature = "peers")]
pub(crate) mod tokio;
mod vectored;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Capacity of every BufWriter: what fills one TLS record. With the default of 8 KiB, messages and
/// bursts that a record could hold would be cut in two.
pub(super) const BUFFER: usize = MAX_RECORD_SIZE;

/// A stack, with the way in which it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackName {
    /// rustls::StreamOwned over a blocking socket: one write_all for each piece.
    Rustls,
    /// rustls::Stream over the same (StreamOwned has no write_vectored of its own): one
    /// write_vectored for each burst.
    RustlsVec,
    /// std::io::BufWriter over the same, flushed where ours sends without MORE.
    RustlsBuf,
    /// OpenSSL over a blocking socket: one SSL_write for each piece.
    Openssl,
    /// std::io::BufWriter over the same, flushed where ours sends without MORE.
    OpensslBuf,
    /// tls-cork-mio: MORE on every piece but the last of a burst; polls only when the socket is
    /// full.
    OursMio,
    /// futures-rustls on async-io: one write_all for each piece.
    Futures,
    /// futures-rustls: one write_vectored for each burst.
    FuturesVec,
    /// futures::io::BufWriter over the same, flushed where ours sends without MORE.
    FuturesBuf,
    /// tokio-rustls on a current-thread runtime: one write_all for each piece.
    Tokio,
    /// tokio-rustls: one write_vectored for each burst.
    TokioVec,
    /// tokio::io::BufWriter over the same, flushed where ours sends without MORE.
    TokioBuf,
    /// s2n-tls-tokio, preferring throughput: one write_all for each piece.
    S2n,
    /// tokio::io::BufWriter over the same, flushed where ours sends without MORE.
    S2nBuf,
    /// Framed of tokio-util over tokio-rustls: one feed for each piece, flushed where ours sends
    /// without MORE.
    TokioFramed,
    /// tls-cork-async-std on async-io: MORE on every piece but the last of a burst.
    OursAsync,
    /// tls-cork-tokio on a current-thread runtime: MORE on every piece but the last of a burst.
    OursTokio,
    /// MessageSink of the same: one feed for each piece, flushed at the end of a burst.
    OursTokioSink,
    /// No TLS: send(2), MSG_MORE on every piece but the last of a burst.
    PlainMore,
    /// No TLS: one writev(2) for each burst.
    PlainVectored,
    /// Limit, no transport: AES-128-GCM in one warm buffer, by aws-lc-rs, in the records that a
    /// burst needs.
    Aead,
    /// Limit, no TLS: as many bytes, sent from one warm buffer.
    Plain,
    /// Limit: both together.
    AeadPlain,
}

impl StackName {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 23] = [
        Self::Rustls,
        Self::RustlsVec,
        Self::RustlsBuf,
        Self::Openssl,
        Self::OpensslBuf,
        Self::OursMio,
        Self::Futures,
        Self::FuturesVec,
        Self::FuturesBuf,
        Self::Tokio,
        Self::TokioVec,
        Self::TokioBuf,
        Self::S2n,
        Self::S2nBuf,
        Self::TokioFramed,
        Self::OursAsync,
        Self::OursTokio,
        Self::OursTokioSink,
        Self::PlainMore,
        Self::PlainVectored,
        Self::Aead,
        Self::Plain,
        Self::AeadPlain,
    ];

    /// What a user of this stack would get from this project; for one of ours, itself.
    #[must_use]
    pub fn ours(self) -> Self {
        match self {
            Self::OursAsync | Self::Futures | Self::FuturesVec | Self::FuturesBuf => Self::OursAsync,
            Self::OursTokio | Self::Tokio | Self::TokioVec | Self::TokioBuf => Self::OursTokio,
            Self::S2n | Self::S2nBuf => Self::OursTokio,
            Self::OursTokioSink | Self::TokioFramed => Self::OursTokioSink,
            _ => Self::OursMio,
        }
    }

    /// Whether it needs the cargo feature `peers`.
    #[must_use]
    pub fn needs_feature(self) -> bool {
        self.ours() != Self::OursMio || matches!(self, Self::Openssl | Self::OpensslBuf)
    }

    /// Whether it sends TLS records.
    #[must_use]
    pub fn uses_tls(self) -> bool {
        !self.is_limit() && !matches!(self, Self::PlainMore | Self::PlainVectored)
    }

    /// Whether it sends (or only seals) the same buffer over and over.
    #[must_use]
    pub fn is_limit(self) -> bool {
        matches!(self, Self::Aead | Self::Plain | Self::AeadPlain)
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn has_transport(self) -> bool {
        self != Self::Aead
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.pad(name.as_ref().map_or("", |value| value.get_name()))
    }
}

/// How users of an async TLS stream write.
#[cfg(feature = "peers")]
#[derive(Debug)]
enum Way {
    /// Each piece by itself.
    Pieces,
    /// The stream is a buffer.
    Buffer,
    Vectored(vectored::Pieces),
}

#[cfg(feature = "peers")]
impl Way {
    fn vectored() -> Self {
        Self::Vectored(vectored::Pieces::default())
    }
}

/// Where the other end is, and whom to trust.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) endpoint: Endpoint,
    pub(crate) ca: PathBuf,
    /// For ours.
    pub(crate) cork: CorkConfig,
}

impl Link {
    fn connect(&self) -> io::Result<TcpStream> {
        let stream = self.endpoint.connect(CONNECT_LIMIT)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A socket that counts, blocking or not: what `connect` gives is blocking.
    fn counting(&self) -> io::Result<CountingSocket> {
        // mio's stream makes the system calls that the standard library's does.
        Ok(CountingSocket::cleartext(mio::net::TcpStream::from_std(self.connect()?)))
    }

    fn server_name(&self) -> io::Result<ServerName<'static>> {
        ServerName::try_from(SERVER_NAMES[0]).map_err(io::Error::other)
    }
}

/// Connects `name`, and does the jobs of `seat`.
///
/// # Errors
///
/// When it was not built in, or the connection fails.
pub(super) fn run(name: StackName, link: &Link, seat: Seat) -> Result<(), Failure> {
    let served = match name {
        StackName::OursMio => ours_mio::run(link, seat),
        StackName::Rustls => std_rustls::run(link, seat),
        StackName::RustlsBuf => std_rustls::run_buffered(link, seat),
        StackName::RustlsVec => std_rustls::run_vectored(link, seat),
        StackName::PlainMore => plain::run(link, seat),
        StackName::PlainVectored => plain::run_vectored(link, seat),
        StackName::Aead => limit::run_aead(seat),
        StackName::Plain => limit::run_plain(link, seat),
        StackName::AeadPlain => limit::run_aead_plain(link, seat),
        #[cfg(feature = "peers")]
        StackName::OursAsync => ours_async::run(link, seat),
        #[cfg(feature = "peers")]
        StackName::OursTokio => ours_tokio::run(link, seat),
        #[cfg(feature = "peers")]
        StackName::OursTokioSink => ours_tokio::run_sink(link, seat),
        #[cfg(feature = "peers")]
        StackName::TokioFramed => tokio::run_framed(link, seat),
        #[cfg(feature = "peers")]
        StackName::Futures => futures::run(link, seat),
        #[cfg(feature = "peers")]
        StackName::FuturesBuf => futures::run_buffered(link, seat),
        #[cfg(feature = "peers")]
        StackName::FuturesVec => futures::run_vectored(link, seat),
        #[cfg(feature = "peers")]
        StackName::Tokio => tokio::run(link, seat),
        #[cfg(feature = "peers")]
        StackName::TokioBuf => tokio::run_buffered(link, seat),
        #[cfg(feature = "peers")]
        StackName::TokioVec => tokio::run_vectored(link, seat),
        #[cfg(feature = "peers")]
        StackName::Openssl => openssl::run(link, seat),
        #[cfg(feature = "peers")]
        StackName::OpensslBuf => openssl::run_buffered(link, seat),
        #[cfg(feature = "peers")]
        StackName::S2n => s2n::run(link, seat),
        #[cfg(feature = "peers")]
        StackName::S2nBuf => s2n::run_buffered(link, seat),
        #[cfg(not(feature = "peers"))]
        _ => return Err(Failure::usage("--stack", format!("{name} needs a build with --features peers"))),
    };
    served.map_err(|e| Failure::new(format!("send with {name}"), &link.endpoint, e))
}

/// Runs a future that never waits.
pub(crate) fn now<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::Error::other("a blocking stack waited")),
    }
}
