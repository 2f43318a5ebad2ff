//! [`tls_cork`] for mio event loops.
//!
//! [`TlsStream`] moves bytes and time between a non-blocking transport and a
//! [`tls_cork::Connection`]. The core decides when plaintext leaves. Register a stream once, for
//! both directions. In each turn of the loop:
//!
//! 1. Call [`before_poll`](TlsStream::before_poll), then `Poll::poll` with the timeout that it
//!    returned.
//! 2. Call [`handle_event`](TlsStream::handle_event) for each of the stream's events.
//! 3. Read until `WouldBlock`.
//! 4. Send. After a short count, send the rest again until all is accepted or `WouldBlock` comes;
//!    [`send_all_bytes`](TlsStream::send_all_bytes) repeats by itself.
//!
//! ```no_run
//! # use std::{io::{ErrorKind, Read}, sync::Arc};
//! # use bytes::Bytes;
//! # use mio::{Events, Interest, Poll, Token, net::TcpStream};
//! # use rustls::{ClientConfig, pki_types::ServerName};
//! # use tls_cork_mio::{CorkConfig, SendFlags};
//! # const TOKEN: Token = Token(0);
//! # fn example(
//! #     tcp: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>,
//! #     mut poll: Poll, mut body: Bytes,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! # let (mut events, mut buf) = (Events::with_capacity(16), [0; 4096]);
//! let mut stream = tls_cork_mio::TlsStream::client(tcp, config, name, CorkConfig::default())?;
//! poll.registry().register(&mut stream, TOKEN, Interest::READABLE | Interest::WRITABLE)?;
//! let mut header: &[u8] = b"header ";
//! loop {
//!     while !header.is_empty() || !body.is_empty() {
//!         let sent = match header.is_empty() {
//!             false => stream.send(header, SendFlags::MORE).map(|n| header = &header[n..]),
//!             true => stream.send_bytes(&mut body, SendFlags::NONE).map(drop), // cuts `body`
//!         };
//!         match sent {
//!             Err(error) if error.kind() == ErrorKind::WouldBlock => break, // until an event
//!             sent => sent?,
//!         }
//!     }
//!     let timeout = stream.before_poll()?; // fires deadlines; releases held bytes before a wait
//!     match poll.poll(&mut events, timeout) {
//!         Err(error) if error.kind() == ErrorKind::Interrupted => continue,
//!         polled => polled?,
//!     }
//!     for event in &events {
//!         stream.handle_event(event)?;
//!     }
//!     loop {
//!         match stream.read(&mut buf) {
//!             Ok(0) => return Ok(()), // the peer has closed
//!             Err(error) if error.kind() == ErrorKind::WouldBlock => break,
//!             received => println!("{:?}", &buf[..received?]),
//!         }
//!     }
//! }
//! # }
//! ```
//!
//! To end a stream, call [`close_gracefully`](TlsStream::close_gracefully) until it returns `Ok`. A
//! stream that is closed and dropped can lose data.
//!
//! The handshake has no time limit. To set one, drop a stream that [is still
//! handshaking](TlsStream::is_handshaking) when the limit has passed.
//!
//! # Features
//!
//! `aws-lc-rs`, `ring`, `fips`, `tls12`, `logging`: the features of rustls with these names. No
//! crypto provider is enabled by default.
//!
//! This crate re-exports [`rustls`], [`pki_types`], [`bytes`] and [`tls_cork`], and three types of
//! the core: [`SendFlags`], [`CorkConfig`], [`Stats`].

mod descriptor;
mod receiving;
mod sending;
mod stream;
mod transport;

pub use bytes;
pub use rustls;
pub use rustls::pki_types;
pub use stream::TlsStream;
pub use tls_cork;
pub use tls_cork::{CorkConfig, SendFlags, Stats};
pub use transport::{PlainTransport, Transport, set_notsent_lowat};
