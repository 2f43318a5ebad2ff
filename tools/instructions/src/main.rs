//! Counts the instructions of the paths that a message takes, by callgrind.
//!
//! A row is one kind of message; a path is what carries it: the core, a driver, or rustls alone.
//! Each pair runs in a process of its own under valgrind, which counts only within the function
//! `rows::collected`. The counts are exact: one build gives the same figures on every run.
//!
//! Two figures are compared with those in `table.csv`:
//!
//! - `own`: instructions in functions of tls-cork, bytes and smallvec, and in the standard library's
//!   code that is compiled into them. Not those of rustls, cryptography and the C library.
//! - `ratio`: all instructions, over those of rustls alone; of a burst, behind a `BufWriter`.
//!   Cryptographic libraries choose their code by the processor, so that only a ratio can be compared
//!   between machines.
//!
//! The transport is in memory, so that no system call is counted.

mod callgrind;
mod path;
mod peer;
mod rows;
mod table;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use path::Path;
use rows::Row;

/// Counts the instructions of tls-cork's paths. Needs valgrind.
///
/// Without a subcommand, prints the figures of this build beside those of table.csv.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Fail if a figure is more than 3 % above that of table.csv.
    Check,
    /// Write table.csv anew.
    Write,
    /// Send or receive the messages of one row over one path; runs under valgrind.
    #[command(hide = true)]
    Run {
        #[arg(value_enum)]
        row: Row,
        #[arg(value_enum)]
        path: Path,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Some(Command::Run { row, path }) => rows::run(row, path),
        Some(Command::Check) => table::measure().and_then(|figures| table::check(&figures)),
        Some(Command::Write) => table::measure().and_then(|figures| table::write(&figures)),
        None => table::measure().and_then(|figures| table::print(&figures)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("tls-cork-instructions: {error}");
    ExitCode::FAILURE
}
