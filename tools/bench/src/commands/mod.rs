//! The subcommands, one module each; `serve` is in [`server`](crate::server).

pub mod compare;
pub mod grid;
#[cfg(feature = "peers")]
pub mod h2load;
pub mod nbd;
#[cfg(feature = "peers")]
pub mod nbd_servers;
pub mod peers;
pub mod real;
#[cfg(feature = "peers")]
pub mod receive;
pub mod simulate;
