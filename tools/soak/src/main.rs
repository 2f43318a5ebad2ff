//! Command line of tls-cork-soak.

use std::process::ExitCode;

use clap::Parser;
use tls_cork_soak::SoakArgs;

/// A random mix of all operations on both drivers, through stalls, resets and worse; every byte is checked.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    soak: SoakArgs,
}

fn main() -> ExitCode {
    tls_cork_programs::command_line::main("tls-cork-soak", |cli: &Cli| tls_cork_soak::run(&cli.soak))
}
