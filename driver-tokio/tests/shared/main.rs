//! The tests of `tls-cork-async-std` that are not about its runtime, on this driver.
//!
//! Their sources are those in `driver-async-std/tests`. This program stands in for the crate that
//! they import: `adapter.rs` gives its API on streams of tokio's driver.
//!
//! Not here: `tasks`, `handles`, `many`, `every_call`, `runtimes` and `rpc`, which use a
//! `DeadlineTask` or an executor of their own; `sockets` and `moving`, of which this driver has its
//! own (`sockets`, `program`); `interop` and `nbd_server`, for which the driver does not matter or
//! which run a program of the other crate.
#![cfg(target_os = "linux")]
#![allow(clippy::duplicate_mod, reason = "each test brings its support along")]

extern crate self as tls_cork_async_std;

mod adapter;

pub use adapter::*;

#[path = "../../../driver-async-std/tests/bounded_polls.rs"]
mod bounded_polls;
#[path = "../../../driver-async-std/tests/buffered_reads.rs"]
mod buffered_reads;
#[path = "../../../driver-async-std/tests/early_data.rs"]
mod early_data;
#[path = "../../../driver-async-std/tests/endings.rs"]
mod endings;
#[path = "../../../driver-async-std/tests/holding.rs"]
mod holding;
#[path = "../../../driver-async-std/tests/hostile.rs"]
mod hostile;
#[path = "../../../driver-async-std/tests/relay.rs"]
mod relay;
#[path = "../../../driver-async-std/tests/transport.rs"]
mod transport;
#[path = "../../../driver-async-std/tests/websocket.rs"]
mod websocket;
