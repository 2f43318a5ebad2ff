//! What programs and tests that start other programs share: child processes and temporary directories,
//! which end with this program, certificates in files, and one kind of error. Linux only.

pub mod children;
mod cleanup;
mod failure;
pub mod tls;

pub use failure::Failure;
