//! What several subcommands use.

pub mod acceptor;
pub mod arguments;
pub mod cpu_time;
pub mod endpoint;
pub mod rivals;
pub mod socket;
pub(crate) mod strace;
