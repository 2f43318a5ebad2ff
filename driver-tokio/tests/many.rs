//! Many streams in one process, from the source of `tls-cork-async-std`: see `shared`.
#![cfg(target_os = "linux")]

extern crate self as tls_cork_async_std;

#[path = "shared/adapter.rs"]
mod adapter;

pub use adapter::*;

#[path = "../../driver-async-std/tests/many.rs"]
mod many;
