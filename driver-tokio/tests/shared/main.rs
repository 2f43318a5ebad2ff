//! The tests of `tls-cork-async-std` that are not about its runtime, on this driver.
//!
//! Their sources are those in `driver-async-std/tests`. This program stands in for the crate that
//! they import: `adapter.rs` gives its API on streams of tokio's driver.
//!
//! `many` is a program of its own beside this one, because it counts the memory of its process.
//! ARCHITECTURE.md, "A new driver", lists the tests that do not run here.
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
#[path = "../../../driver-async-std/tests/every_call/main.rs"]
mod every_call;
#[path = "../../../driver-async-std/tests/holding.rs"]
mod holding;
#[path = "../../../driver-async-std/tests/hostile.rs"]
mod hostile;
#[path = "../../../driver-async-std/tests/relay.rs"]
mod relay;
#[path = "../../../driver-async-std/tests/sink.rs"]
mod sink;
#[path = "../../../driver-async-std/tests/tasks.rs"]
mod tasks;
#[path = "../../../driver-async-std/tests/transport.rs"]
mod transport;
#[path = "../../../driver-async-std/tests/websocket.rs"]
mod websocket;
