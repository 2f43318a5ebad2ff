//! Per-write "more is coming" over TLS, without I/O.
//!
//! Write a header with [`SendFlags::MORE`] and its body without: both leave in one TLS record and one send. What is held is bounded in
//! size (one record) and in time ([`CorkConfig::max_hold`], 10 ms, as long as the driver calls
//! [`handle_timeout`](CorkPolicy::handle_timeout) in time).
//!
#![cfg_attr(feature = "rustls", doc = "```no_run")]
#![cfg_attr(not(feature = "rustls"), doc = "```ignore")]
//! # use std::{io::IoSlice, net::TcpStream, sync::Arc, time::Instant};
//! # use bytes::Bytes;
//! # use rustls::{ClientConfig, pki_types::ServerName};
//! # use tls_cork::{CorkConfig, SendFlags};
//! # use std::io::Write;
//! # fn example(
//! #     config: Arc<ClientConfig>, name: ServerName<'static>, mut socket: TcpStream, header: &[u8], mut body: Bytes, now: Instant,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! # let mut buf = [0; 4096];
//! let mut conn = tls_cork::Connection::client(config, name, CorkConfig::default())?;
//! // One record and one send. Each write says how much it accepted: offer the rest again after a transmit.
//! let written = conn.write(now, &[IoSlice::new(header)], SendFlags::MORE)?;
//! let written = conn.write_bytes(now, &mut body, SendFlags::NONE)?; // what was accepted has left `body`
//! let sent = conn.transmit_with(|bufs, _more| socket.write_vectored(bufs))?; // `sent.blocked`: again when writable
//! let received = conn.receive_from(now, &mut socket)?; // then transmit: the handshake answers
//! let n = conn.read(&mut buf)?; // `WouldBlock`: receive more first
//! let decision = conn.handle_read_wait(now); // about to sleep: nothing held may keep the peer waiting
//! let wake_up = conn.poll_timeout(); // sleep no longer than this,
//! let decision = conn.handle_timeout(now); // then say what time it is, and transmit if it is a flush
//! # drop((written, sent, received, n, decision, wake_up));
//! # Ok(())
//! # }
//! ```
//!
//! # The contract with a driver
//!
//! [`Connection`] is a TLS session, [`CorkPolicy`] its outbound half. They have no socket and no clock: bytes and time come in by argument.
//!
//! 1. **Commands** ([`write`](CorkPolicy::write), [`flush`](CorkPolicy::flush), [`close`](CorkPolicy::close), …) and received bytes
//!    ([`Connection::receive_from`]) change what may leave.
//! 2. Then, if [`wants_transmit`](CorkPolicy::wants_transmit), offer the output to the transport:
//!    [`transmit_with`](CorkPolicy::transmit_with), until it is blocked or done.
//! 3. Before waiting for the peer, call [`handle_read_wait`](CorkPolicy::handle_read_wait); wait no longer than
//!    [`poll_timeout`](CorkPolicy::poll_timeout), then call [`handle_timeout`](CorkPolicy::handle_timeout).
//! 4. To end a stream without loss, [`close`](CorkPolicy::close), transmit until [`is_finished`](CorkPolicy::is_finished), then receive and
//!    discard until the peer's end, within a time limit. Dropping the transport earlier can make the kernel discard what it has taken:
//!    it resets the connection if received bytes are unread, of which TLS 1.3 tickets are enough.
//!
//! A driver takes no corking decision of its own.
//!
//! # Features
//!
//! - `rustls`, on by default: [`Connection`], a session of rustls 0.23. Without it this crate is the
//!   policy alone and depends on no TLS library: [`CorkPolicy`] over a [`Seal`] of your own, or over
//!   [`Passthrough`].
//! - `aws-lc-rs`, `ring`, `fips`, `tls12`, `logging`: the features of rustls with these names. No
//!   crypto provider is enabled by default.
//!
//! # Out of scope
//!
//! Early data (0-RTT) and half-RTT data: plaintext waits until the handshake has ended. A client offers no early data, and a server
//! refuses it, so that the client sends it again.
//!
//! A limit on the handshake's time, or on that of any other answer: a peer may say nothing, or a byte each second. Drop the connection when it has
//! taken too long; until then it costs no more than the limits allow.
//!
//! # Words
//!
//! **held**: accepted, may not leave yet. **released**: may leave as soon as the transport takes it, still plaintext. **sealed**: encrypted
//! into records, waiting for the transport.
//!
//! ARCHITECTURE.md in the repository has all words and the rules (R1 to R17) that comments and tests cite; CONTRIBUTING.md has where a change goes.

// Without rustls there is no `Connection` to link to.
#![cfg_attr(not(feature = "rustls"), allow(rustdoc::broken_intra_doc_links))]

mod batch;
mod config;
#[cfg(feature = "rustls")]
mod connection;
mod decision;
mod error;
mod gather;
mod hold;
mod outlet;
mod policy;
mod queue;
#[cfg(feature = "rustls")]
mod rustls;
mod seal;
mod spare;
mod stats;

pub use config::{CorkConfig, DynamicRecords, MAX_RECORD_SIZE};
#[cfg(feature = "rustls")]
pub use connection::{Connection, ConnectionError, Failure, ReceiveError, Received, RefreshError};
pub use decision::{FlushDecision, FlushReason, Output, SendFlags, Transmitted, Written};
pub use error::{ConfigError, SealError, TransmitError, WriteError};
pub use policy::CorkPolicy;
#[cfg(feature = "rustls")]
pub use rustls::{client_without_early_data, server_without_early_data};
pub use seal::{Passthrough, Seal};
pub use stats::Stats;
