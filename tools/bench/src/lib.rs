//! NBD writes over TLS, corked and uncorked: the parts of the `tls-cork-bench` program.
//!
//! The thread that asked for a "more is coming" flag over TLS asked for it on behalf of NBD, where
//! a 28-byte header precedes each payload; this program measures what the flag is worth there,
//! against what careful authors do without it. It is Linux only: TCP_CORK is one of the rivals.

pub mod acceptor;
pub mod broadcast;
pub mod cell;
pub mod chart;
pub mod children;
pub mod cleanup;
pub mod compare;
pub mod content;
pub mod cpu_time;
pub mod endpoint;
pub mod engine;
pub mod failure;
pub mod grid;
pub mod link;
pub mod measure;
pub mod median;
pub mod nbd;
pub mod nbd_command;
pub mod peers;
pub mod real;
pub mod record_count;
pub mod replies;
pub mod report;
pub mod rivals;
pub mod simulate;
pub mod soak;
pub mod tls;
pub mod wire;
