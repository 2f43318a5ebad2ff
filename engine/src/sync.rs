//! What threads meet at: locks, flags and counted pointers. They are those of std.
//!
//! `tests/interleavings` is compiled into the unit tests with loom's in their place, and explores
//! the orders in which threads can come to them.

#[cfg(not(all(test, tls_cork_loom)))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool};

#[cfg(all(test, tls_cork_loom))]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic::AtomicBool};
