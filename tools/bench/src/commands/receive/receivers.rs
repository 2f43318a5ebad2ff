//! `receive-take`: every stack's receiving side, in one process with a thread for each connection.
//!
//! It prints a line once all are connected. Then each line on its standard input is a job for one
//! of them, and is answered by a line on its standard output. It ends with its input.

use std::path::PathBuf;

use clap::Args;
use tls_cork::CorkConfig;

use super::message::Job;
use super::sources;
use crate::commands::peers::sender::attend;
use crate::commands::peers::stacks::{Link, StackName};
use crate::measure::place;
use crate::shared::endpoint::Endpoint;
use tls_cork_programs::Failure;

/// Options of `receive-take`.
#[derive(Debug, Args)]
pub struct TakeArgs {
    /// Who receives, each over a connection of its own.
    #[arg(long, value_enum)]
    stack: Vec<StackName>,
    /// Where `receive-send` listens.
    #[arg(long, value_name = "HOST:PORT")]
    connect: Endpoint,
    /// PEM file with the CA certificate.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Which processor to stay on.
    #[arg(long)]
    processor: u32,
}

/// Connects all stacks, then receives what each job says.
///
/// # Errors
///
/// When a stack does not take part, a connection fails, or a line is no job.
pub fn run(args: &TakeArgs) -> Result<(), Failure> {
    place::pin(args.processor);
    let link = Link { endpoint: args.connect.clone(), ca: args.ca.clone(), cork: CorkConfig::default() };
    attend(&args.stack, &args.connect, |job: &Job| job.seat, move |stack, seat| sources::run(stack, &link, seat))
}
