//! The subcommands, one module each; `serve` is in [`server`](crate::server).

pub mod compare;
pub mod grid;
pub mod nbd;
pub mod peers;
pub mod real;
pub mod simulate;
