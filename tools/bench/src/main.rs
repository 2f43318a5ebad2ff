//! Command line of tls-cork-bench: without a subcommand, the main job.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tls_cork_bench::broadcast::receivers::ReceiversArgs;
use tls_cork_bench::broadcast::sender::SenderArgs;
use tls_cork_bench::broadcast::{self, BroadcastArgs};
use tls_cork_bench::compare::{self, ClientArgs, CompareArgs};
use tls_cork_bench::failure::Failure;
use tls_cork_bench::grid::{self, GridArgs};
use tls_cork_bench::nbd::server::{self, ServeArgs};
use tls_cork_bench::nbd_command::{self, NbdArgs};
use tls_cork_bench::peers::receiver::{self, ReceiveArgs};
use tls_cork_bench::peers::sender::{self, SendArgs};
use tls_cork_bench::peers::{self, PeersArgs};
use tls_cork_bench::real::{self, RealArgs};
use tls_cork_bench::report;
use tls_cork_bench::simulate::{self, SimulateArgs};
use tls_cork_bench::soak::{self, SoakArgs};
use tls_cork_bench::tls;

/// NBD writes over TLS by different strategies: how many records, sends and CPU seconds they
/// take, and how fast they are.
///
/// Without a subcommand, all strategies write to an embedded server at several block sizes; this
/// takes under 90 seconds.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
#[command(after_long_help = report::help_columns("grid", &grid::COLUMNS))]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    grid: GridArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One strategy at one block size, against a server that is running.
    Nbd(NbdArgs),
    /// Alternating slices against nbdkit, beside fio; medians of paired ratios, with intervals.
    Compare(CompareArgs),
    /// The clients of `compare`.
    #[command(hide = true)]
    CompareClients(ClientArgs),
    /// Networks that we do not have: policies over a model of TCP, in virtual time.
    Simulate(SimulateArgs),
    /// Side by side with qemu-img, qemu-io, nbdcopy and fio, all writing to one nbdkit.
    Real(RealArgs),
    /// One message to many receivers that do not read: what that takes in memory.
    Broadcast(BroadcastArgs),
    /// The same traffic through this library and through others, to one receiver; medians of paired ratios, with intervals.
    Peers(PeersArgs),
    /// The sending side of all stacks.
    #[command(hide = true)]
    PeersSend(SendArgs),
    /// The receiver of all stacks.
    #[command(hide = true)]
    PeersReceive(ReceiveArgs),
    /// A random mix of all operations on both drivers, through stalls, resets and worse; every byte is checked.
    Soak(SoakArgs),
    /// Write a test CA and a server certificate, as nbdkit's --tls-certificates wants them.
    MakeCerts {
        /// Where to; created if missing.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// The embedded NBD server.
    #[command(hide = true)]
    Serve(ServeArgs),
    /// The sender of `broadcast`.
    #[command(hide = true)]
    BroadcastSender(SenderArgs),
    /// The receivers of `broadcast`.
    #[command(hide = true)]
    BroadcastReceivers(ReceiversArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            // Help and version; a closed pipe behind them is nobody's problem.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&usage(&error)),
    };
    let result = match &cli.command {
        None => grid::run(&cli.grid),
        Some(Command::Nbd(args)) => nbd_command::run(args),
        Some(Command::Compare(args)) => compare::run(args),
        Some(Command::CompareClients(args)) => compare::serve(args),
        Some(Command::Simulate(args)) => simulate::run(args),
        Some(Command::Real(args)) => real::run(args),
        Some(Command::Broadcast(args)) => broadcast::run(args),
        Some(Command::BroadcastSender(args)) => broadcast::sender::run(args),
        Some(Command::BroadcastReceivers(args)) => broadcast::receivers::run(args),
        Some(Command::Peers(args)) => peers::run(args),
        Some(Command::PeersSend(args)) => sender::run(args),
        Some(Command::PeersReceive(args)) => receiver::run(args),
        Some(Command::Soak(args)) => soak::run(args),
        Some(Command::MakeCerts { out }) => tls::make_certificates(out),
        Some(Command::Serve(args)) => server::serve(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    // In one piece, so that it stays one line beside what children print. Nothing is left to tell
    // it to if standard error is gone.
    let line = format!("tls-cork-bench: {failure}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    ExitCode::from(failure.exit_status())
}

/// clap's message on one line, with its suggestions and without the rest of its decoration.
fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let message = paragraphs.next().unwrap_or(&text);
    let mut message = message.strip_prefix("error: ").unwrap_or(message).to_owned();
    // More than one suggestion may share a paragraph.
    for tip in paragraphs.filter(|paragraph| paragraph.starts_with("tip: ")).flat_map(str::lines) {
        message += "; ";
        message += tip.trim();
    }
    Failure::usage("command line", format!("{message} (see --help)"))
}
