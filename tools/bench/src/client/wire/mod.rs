//! The ways to put requests on the wire that the benchmark compares.
//!
//! Each is written as a careful author would write it for a non-blocking socket: registered once,
//! drained until the socket pushes back, short writes resumed where they stopped, TCP_NODELAY
//! set. They differ in one thing only: when plaintext becomes records, and when records leave.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use mio::Registry;
use mio::event::Event;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use tls_cork::CorkConfig;

use crate::shared::socket::{Counters, CountingSocket};

mod cleartext_more;
mod corked;
mod flushed;
mod request_queue;

pub use request_queue::Outgoing;

/// When plaintext becomes records, and when records leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Header written and flushed, then payload written and flushed.
    Immediate,
    /// Header and payload in one vectored write, flushed for each request.
    Vectored,
    /// TCP_CORK on, header flushed, payload flushed, TCP_CORK off: what QEMU does.
    TcpCork,
    /// All requests of a turn copied together and encrypted at its end: what GnuTLS's cork does.
    FullCork,
    /// Every piece marked MORE but the last of the turn, through tls-cork.
    More,
}

impl Strategy {
    /// All of them, in the order of the tables; the first is what the others are measured by.
    pub const ALL: [Self; 5] = [Self::Immediate, Self::Vectored, Self::TcpCork, Self::FullCork, Self::More];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Immediate => "immediate",
            Self::Vectored => "vectored",
            Self::TcpCork => "tcp-cork",
            Self::FullCork => "full-cork",
            Self::More => "more",
        })
    }
}

/// What protects the transmission phase.
#[derive(Debug, Clone)]
pub enum Security {
    /// Nothing: the same client without TLS, for [`Strategy::More`] alone.
    Plaintext,
    /// TLS, with the server's certificate checked against `server_name`.
    Tls {
        /// Trust anchors and versions.
        config: Arc<ClientConfig>,
        /// The name the certificate must be good for.
        server_name: ServerName<'static>,
    },
}

/// A connection that sends requests by one strategy.
///
/// The order of calls is: in each turn of the loop any number of [`submit`](Wire::submit), one
/// [`end_turn`](Wire::end_turn), then [`before_poll`](Wire::before_poll), `Poll::poll`,
/// [`handle_event`](Wire::handle_event) for each event, and [`read`](Wire::read) until it would
/// block. Requests that the socket has no room for are kept by reference and go on at the next
/// writable event; how many there can be is for the caller to bound.
pub trait Wire: fmt::Debug {
    /// Starts watching the socket for reading and writing.
    fn register(&mut self, registry: &Registry) -> io::Result<()>;

    /// True once requests may be submitted: the TLS handshake, if there is one, is over.
    fn is_ready(&self) -> bool;

    /// Sends `request`, as far as strategy and socket let it go now. `last` is true for the last
    /// request of the turn.
    fn submit(&mut self, request: Outgoing, last: bool) -> io::Result<()>;

    /// Nothing more will be submitted in this turn.
    fn end_turn(&mut self) -> io::Result<()>;

    /// Received data; `WouldBlock` when there is none, zero at the end of the stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes note of readiness and goes on with what waits.
    fn handle_event(&mut self, event: &Event) -> io::Result<()>;

    /// To be called right before polling; how long the poll may take at most.
    fn before_poll(&mut self) -> io::Result<Option<Duration>> {
        Ok(None)
    }

    /// Sends `close_notify` behind everything submitted.
    fn close(&mut self) -> io::Result<()>;

    /// True while anything waits for the socket.
    fn has_unsent(&self) -> bool;

    /// Totals since the connection was made.
    fn counters(&self) -> Counters;
}

/// Wraps a connected socket in the wire that carries out `strategy`.
pub fn open(
    stream: std::net::TcpStream,
    security: &Security,
    strategy: Strategy,
    cork: CorkConfig,
) -> io::Result<Box<dyn Wire>> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let stream = mio::net::TcpStream::from_std(stream);
    Ok(match security {
        Security::Plaintext if strategy == Strategy::More => {
            Box::new(cleartext_more::CleartextMore::new(CountingSocket::cleartext(stream), cork)?)
        }
        Security::Plaintext => return Err(io::Error::other("only `more` is there without TLS")),
        Security::Tls { config, server_name } => {
            let (socket, config, name) = (CountingSocket::tls(stream), Arc::clone(config), server_name.clone());
            if strategy == Strategy::More {
                Box::new(corked::CorkedWire::new(socket, config, name, cork)?)
            } else {
                Box::new(flushed::FlushedWire::new(socket, config, name, strategy)?)
            }
        }
    })
}
