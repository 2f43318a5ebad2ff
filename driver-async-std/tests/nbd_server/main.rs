//! The NBD server of the examples: by the protocol's word, with bad input, and with other people's clients.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, too, panic where a test has to fail")]

mod bad_input;
mod client;
mod descriptors;
mod programs;
mod protocol;
mod server;
