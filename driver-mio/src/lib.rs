//! [`tls_cork`] on mio event loops.
//!
//! [`TlsStream`] moves bytes and time between a non-blocking transport and a [`tls_cork::Connection`]; every decision about when plaintext leaves is
//! the core's. Register it once, for both directions, and in each turn of the loop: [`before_poll`](TlsStream::before_poll),
//! `Poll::poll` with the timeout that it gave, [`handle_event`](TlsStream::handle_event) for each of its events, then read until `WouldBlock`.
//!
//! ```no_run
//! # use std::{io::{ErrorKind, Read}, sync::Arc};
//! # use bytes::Bytes;
//! # use mio::{Events, Interest, Poll, Token, net::TcpStream};
//! # use rustls::{ClientConfig, pki_types::ServerName};
//! # use tls_cork::{CorkConfig, SendFlags};
//! # const TOKEN: Token = Token(0);
//! # fn example(
//! #     tcp: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>, mut poll: Poll, header: &[u8], mut body: Bytes,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! # let (mut events, mut buf) = (Events::with_capacity(16), [0; 4096]);
//! let mut stream = tls_cork_mio::TlsStream::client(tcp, config, name, CorkConfig::default())?;
//! poll.registry().register(&mut stream, TOKEN, Interest::READABLE | Interest::WRITABLE)?;
//! let sent = stream.send(header, SendFlags::MORE)?; // how much was accepted; WouldBlock when the buffer is full
//! let sent = stream.send_bytes(&mut body, SendFlags::NONE)?; // what was accepted has left `body`
//! loop {
//!     let timeout = stream.before_poll()?; // fires deadlines, and releases what the peer's answer waits for
//!     poll.poll(&mut events, timeout)?;
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
//! The handshake has no limit on time: a loop that wants one drops a stream that [is still handshaking](TlsStream::is_handshaking) then.

mod stream;
mod transport;

pub use stream::TlsStream;
pub use transport::{PlainTransport, Transport, set_notsent_lowat};
