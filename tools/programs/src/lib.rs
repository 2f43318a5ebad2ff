//! What programs and tests that start other programs share: child processes and temporary directories,
//! which end with this program, certificates in files, one kind of error, and
//! the way from a command line to an exit status. Linux only.

pub mod children;
mod cleanup;
pub mod command_line;
mod failure;
pub mod tls;

pub use failure::Failure;
