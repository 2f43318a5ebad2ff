//! Per-write "more is coming" over TLS, without I/O.
//!
//! Write a header with [`SendFlags::MORE`] and its body without: both leave in one TLS record and one send. What is held is bounded in
//! size (one record) and in time ([`CorkConfig::max_hold`], 10 ms), whatever the caller forgets.
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
//!
//! A driver takes no corking decision of its own.
//!
//! # Out of scope
//!
//! Early data (0-RTT) and half-RTT data: plaintext waits until the handshake has ended.
//!
//! # Words
//!
//! **held**: accepted, may not leave yet. **released**: may leave as soon as the transport takes it, still plaintext. **sealed**: encrypted
//! into records, waiting for the transport.

mod batch;
mod config;
mod connection;
mod decision;
mod error;
mod gather;
mod hold;
mod policy;
mod queue;
mod rustls;
mod seal;
mod stats;

pub use config::{CorkConfig, DynamicRecords, MAX_RECORD_SIZE};
pub use connection::{Connection, Received};
pub use decision::{FlushDecision, FlushReason, Output, SendFlags, Transmitted, Written};
pub use error::{ConfigError, ConnectionError, ReceiveError, SealError, TransmitError, WriteError};
pub use policy::CorkPolicy;
pub use seal::{Passthrough, Seal};
pub use stats::Stats;
