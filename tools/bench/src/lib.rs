//! NBD writes over TLS, corked and uncorked: the parts of the `tls-cork-bench` program.
//!
//! The thread that asked for a "more is coming" flag over TLS asked for it on behalf of NBD, where
//! a 28-byte header precedes each payload; this program measures what the flag is worth there,
//! against what careful authors do without it. It is Linux only: TCP_CORK is one of the rivals.

pub mod client;
pub mod commands;
pub mod measure;
pub mod server;
pub mod shared;
