//! The types that threads share: locks, flags and counted pointers of std.
//!
//! Under `cfg(tls_cork_loom)` the unit tests use loom's types instead, and `tests/interleavings`
//! explores the orders in which threads can reach them.

#[cfg(not(all(test, tls_cork_loom)))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool};

#[cfg(all(test, tls_cork_loom))]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool};
