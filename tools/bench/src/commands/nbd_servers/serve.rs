//! `nbd-servers-serve`: one of the servers, in a process of its own.

use std::ffi::OsString;
use std::{io, iter, process, thread};

use async_std::task;
use clap::{Args, Parser, ValueEnum};

use super::{ours, peer};
use crate::measure::place;
use tls_cork_programs::Failure;

/// What a server is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stack {
    /// tls-cork-async-std
    Ours,
    /// futures-rustls
    Futures,
}

/// Options of `nbd-servers-serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What the server is on.
    #[arg(long, value_enum)]
    stack: Stack,
    /// Which processor to stay on.
    #[arg(long)]
    processor: u32,
    /// Options of the example.
    #[arg(last = true)]
    args: Vec<OsString>,
}

/// Serves until standard input ends. A signal is not enough: when strace ends, the calls that it
/// counted fail in the program that it ran, and the server learns of a signal by such a call.
///
/// # Errors
///
/// When the server cannot start.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    // Threads of the runtime stay there too.
    place::pin(args.processor);
    thread::spawn(|| {
        // An error is an end too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(0);
    });
    let options = iter::once("nbd_server".into()).chain(args.args.iter().cloned());
    let served = match args.stack {
        Stack::Ours => task::block_on(ours::run(&ours::Args::parse_from(options))),
        Stack::Futures => task::block_on(peer::run(&peer::Args::parse_from(options))),
    };
    served.map_err(|e| Failure::new("serve", "nbd_server", e))
}
