//! The library `libtls_cork`: the policy of tls-cork for C programs, over any TLS library.
//!
//! C programs use it by `tls_cork.h`, which describes every call; this documentation is that of the
//! header. A policy (`tls_cork_policy`) decides when plaintext becomes TLS records and when the
//! records leave. A sealer (`tls_cork_sealer`), a set of callbacks over GnuTLS, OpenSSL or another
//! library, encrypts for it. Rust programs use the crate `tls-cork` instead.
//!
//! # Safety
//!
//! Every `unsafe` function here requires of its caller:
//!
//! - Each pointer is NULL or points to what its type says, for the duration of the call. An object
//!   was made by its `_new` function and has not been freed. A NULL that is not allowed is an error.
//! - A pointer with a length (`data` and `len`, `iov` and `iovcnt`, `stats` and `size`) has that
//!   much memory behind it.
//! - At most one thread uses an object at a time.
//! - Callbacks do what the documentation of their types requires, and `user` is what they expect.
//!
//! All else, such as calls in a wrong order or from inside a callback, is an error and not undefined
//! behaviour. No panic crosses the boundary.

#![cfg(unix)]
// C names, in Rust as in the header.
#![allow(non_camel_case_types)]
// One section for all functions, above.
#![allow(clippy::missing_safety_doc)]

mod clock;
mod config;
mod error;
mod guard;
mod output;
mod policy;
mod sealer;
mod stats;
mod transmit;

use std::ffi::{c_char, c_int, c_uint};

pub use config::*;
pub use output::{tls_cork_output, tls_cork_output_append, tls_cork_output_set_error};
pub use policy::*;
pub use sealer::tls_cork_sealer;
pub use stats::*;
pub use transmit::*;

/// The version of this header's ABI. A change that breaks compiled programs adds one.
pub const TLS_CORK_ABI_VERSION: u32 = 1;

/// Flag of tls_cork_writev(): more is coming. The tail of this write may wait for the next write.
pub const TLS_CORK_MORE: c_uint = 1;

/// Returned by tls_cork_transmit(): the limit was reached, and more may leave. Call again in the
/// next turn, without waiting for the transport.
pub const TLS_CORK_AGAIN: c_int = 1;

/// For tls_cork_transmit(): no limit.
///
/// cbindgen:ignore
pub const TLS_CORK_NO_LIMIT: usize = usize::MAX;

/// Returned by tls_cork_timeout(): nothing is due.
pub const TLS_CORK_NEVER: i64 = i64::MAX;

/// The most elements of `iov` in one tls_cork_writev(), as for writev(2) on Linux.
pub const TLS_CORK_IOV_MAX: usize = 1024;

/// The largest plaintext of one TLS record, in bytes (RFC 8446, section 5.1).
pub const TLS_CORK_MAX_RECORD_SIZE: usize = 16384;

/// Reason of a release, for tls_cork_releases(): a write without TLS_CORK_MORE.
pub const TLS_CORK_REASON_LAST: c_uint = 0;
/// Full records that do not wait for company: see tls_cork_config_set_hold_limit().
pub const TLS_CORK_REASON_RECORD_FULL: c_uint = 1;
/// The tail grew over the hold limit.
pub const TLS_CORK_REASON_HOLD_LIMIT: c_uint = 2;
/// A record that had to leave was filled up with held bytes.
pub const TLS_CORK_REASON_FILLED: c_uint = 3;
/// tls_cork_uncork().
pub const TLS_CORK_REASON_UNCORK: c_uint = 4;
/// tls_cork_flush().
pub const TLS_CORK_REASON_FLUSH: c_uint = 5;
/// tls_cork_handle_timeout(): the first held byte had waited for the time of
/// tls_cork_config_set_max_hold().
pub const TLS_CORK_REASON_DEADLINE: c_uint = 6;
/// tls_cork_handle_read_wait().
pub const TLS_CORK_REASON_READ_WAIT: c_uint = 7;
/// tls_cork_handle_handshake_done().
pub const TLS_CORK_REASON_HANDSHAKE_DONE: c_uint = 8;
/// tls_cork_close().
pub const TLS_CORK_REASON_CLOSE: c_uint = 9;
/// The number of reasons.
pub const TLS_CORK_REASONS: c_uint = 10;

/// The ABI version of the library at run time. A program that loads the library with dlopen(3)
/// compares it with TLS_CORK_ABI_VERSION; a linked program has the right one by the soname.
#[unsafe(no_mangle)]
pub extern "C" fn tls_cork_abi_version() -> u32 {
    TLS_CORK_ABI_VERSION
}

/// The text of the last error that a call returned in this thread; empty if there was none. Never
/// NULL. Valid until the next call that fails in this thread. A return of -EAGAIN sets no text.
#[unsafe(no_mangle)]
pub extern "C" fn tls_cork_last_error() -> *const c_char {
    error::last()
}
