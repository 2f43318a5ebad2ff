//! [`tls_cork`] on mio event loops.
//!
//! [`TlsStream`] moves bytes and time between a non-blocking transport and a [`tls_cork::Connection`]; every decision about when plaintext leaves is
//! the core's. Register it once, for both directions, and in each turn of the loop: [`before_poll`](TlsStream::before_poll),
//! `Poll::poll` with the timeout that it gave, [`handle_event`](TlsStream::handle_event) for each of its events, then read until `WouldBlock`.
//! What a send did not accept is offered again until all is accepted or `WouldBlock` comes;
//! [`send_all_bytes`](TlsStream::send_all_bytes) does so by itself.
//!
//! ```no_run
//! # use std::{io::{ErrorKind, Read}, sync::Arc};
//! # use bytes::Bytes;
//! # use mio::{Events, Interest, Poll, Token, net::TcpStream};
//! # use rustls::{ClientConfig, pki_types::ServerName};
//! # use tls_cork_mio::{CorkConfig, SendFlags};
//! # const TOKEN: Token = Token(0);
//! # fn example(
//! #     tcp: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>, mut poll: Poll, mut body: Bytes,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! # let (mut events, mut buf) = (Events::with_capacity(16), [0; 4096]);
//! let mut stream = tls_cork_mio::TlsStream::client(tcp, config, name, CorkConfig::default())?;
//! poll.registry().register(&mut stream, TOKEN, Interest::READABLE | Interest::WRITABLE)?;
//! let mut header: &[u8] = b"header ";
//! loop {
//!     while !header.is_empty() || !body.is_empty() {
//!         let sent = match header.is_empty() {
//!             false => stream.send(header, SendFlags::MORE).map(|accepted| header = &header[accepted..]),
//!             true => stream.send_bytes(&mut body, SendFlags::NONE).map(drop), // what was accepted has left `body`
//!         };
//!         match sent {
//!             Err(error) if error.kind() == ErrorKind::WouldBlock => break, // the rest after the next event
//!             sent => sent?,
//!         }
//!     }
//!     let timeout = stream.before_poll()?; // fires deadlines, and releases what the peer's answer waits for
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
//! To end a stream, call [`close_gracefully`](TlsStream::close_gracefully) until it is done: dropping one that is only closed can lose data.
//!
//! The handshake has no limit on time: a loop that wants one drops a stream that [is still handshaking](TlsStream::is_handshaking) then.
//!
//! # Features
//!
//! `aws-lc-rs`, `ring`, `fips`, `tls12`, `logging`: the features of rustls with these names. No
//! crypto provider is enabled by default.
//!
//! This crate re-exports [`rustls`], [`pki_types`], [`bytes`] and [`tls_cork`], and the types of every
//! program: [`SendFlags`], [`CorkConfig`], [`Stats`].

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
