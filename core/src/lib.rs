//! TLS writes with a flag for each write that states "more is coming", without I/O.
//!
//! Write a header with [`SendFlags::MORE`] and its body without the flag: both leave in one TLS
//! record and one send. Held bytes are bounded in size (64 KiB) and in time
//! ([`CorkConfig::max_hold`], 10 ms by default, if the driver calls
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
//! #     config: Arc<ClientConfig>,
//! #     name: ServerName<'static>,
//! #     mut socket: TcpStream,
//! #     header: &[u8],
//! #     mut body: Bytes,
//! #     now: Instant,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! # let mut buf = [0; 4096];
//! let mut conn = tls_cork::Connection::client(config, name, CorkConfig::default())?;
//! // One record and one send. A write may accept a prefix: write the rest after a transmit.
//! let written = conn.write(now, &[IoSlice::new(header)], SendFlags::MORE)?;
//! let written = conn.write_bytes(now, &mut body, SendFlags::NONE)?; // `body` keeps the rest
//! // If `sent.blocked`, transmit again when the socket is writable.
//! let sent = conn.transmit_with(|bufs, _more| socket.write_vectored(bufs))?;
//! // Received bytes may need an answer, for instance during the handshake. A read can decrypt more
//! // of them (R17). So transmit after both.
//! let received = conn.receive_from(now, &mut socket)?;
//! let n = conn.read(&mut buf)?; // `WouldBlock`: receive more first
//! // Before sleeping: releases held bytes, for which the peer may be waiting.
//! let decision = conn.handle_read_wait(now);
//! // Sleep no longer than this, then pass the time, and transmit if the decision is a flush.
//! let wake_up = conn.poll_timeout();
//! let decision = conn.handle_timeout(now);
//! # drop((written, sent, received, n, decision, wake_up));
//! # Ok(())
//! # }
//! ```
//!
//! # The contract with a driver
//!
//! [`Connection`] is a TLS session; [`CorkPolicy`] is its outbound half. They have no socket and no
//! clock: bytes and time are arguments. A driver repeats these steps:
//!
//! 1. **Commands** ([`write`](CorkPolicy::write), [`flush`](CorkPolicy::flush),
//!    [`close`](CorkPolicy::close), …), received bytes ([`Connection::receive_from`]) and reads
//!    ([`Connection::read`]) change what may leave.
//! 2. If [`wants_transmit`](CorkPolicy::wants_transmit), offer the output to the transport with
//!    [`transmit_with`](CorkPolicy::transmit_with), until it is blocked or done.
//! 3. Before waiting for the peer, call [`handle_read_wait`](CorkPolicy::handle_read_wait). Wait no
//!    longer than [`poll_timeout`](CorkPolicy::poll_timeout), then call
//!    [`handle_timeout`](CorkPolicy::handle_timeout).
//! 4. To end a stream without loss, call [`close`](CorkPolicy::close) and transmit until
//!    [`is_finished`](CorkPolicy::is_finished). Then receive and discard until the peer's end,
//!    within a time limit. If the transport is dropped earlier, the kernel may discard what it has
//!    taken: it resets a connection with unread bytes, and the tickets of TLS 1.3 are enough for
//!    that.
//!
//! A driver takes no corking decision of its own.
//!
//! # Features
//!
//! - `rustls`, on by default: [`Connection`], a session of rustls 0.23. Without it this crate is
//!   the policy alone and depends on no TLS library: [`CorkPolicy`] over a [`Seal`] of your own, or
//!   over [`Passthrough`].
//! - `aws-lc-rs`, `ring`, `fips`, `tls12`, `logging`: the features of rustls with these names. No
//!   crypto provider is enabled by default.
//!
//! # Out of scope
//!
//! - Early data (0-RTT) and half-RTT data: plaintext waits until the handshake has ended. A client
//!   offers no early data. A server refuses early data, so that the client sends it again.
//! - Time limits for the handshake, or for any other answer. A peer may send nothing, or one byte
//!   each second: drop the connection when it has taken too long. Until then it uses no more memory
//!   than the limits allow.
//!
//! # Words
//!
//! - **held**: accepted, and may not leave yet.
//! - **released**: may leave as soon as the transport takes it; still plaintext.
//! - **sealed**: encrypted into records, which wait for the transport.
//!
//! ARCHITECTURE.md in the repository defines all words and the rules, R1 to R17, that this
//! documentation and the tests cite.

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
