//! Command line of tls-cork-bench: without a subcommand, the main job.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tls_cork_bench::commands::compare::{self, ClientArgs, CompareArgs};
use tls_cork_bench::commands::grid::{self, GridArgs};
#[cfg(feature = "peers")]
use tls_cork_bench::commands::h2load::{self, H2loadArgs};
use tls_cork_bench::commands::nbd::{self, NbdArgs};
#[cfg(feature = "peers")]
use tls_cork_bench::commands::nbd_servers::{self, NbdServersArgs};
use tls_cork_bench::commands::peers::receiver::{self, ReceiveArgs};
use tls_cork_bench::commands::peers::sender::{self, SendArgs};
use tls_cork_bench::commands::peers::{self, PeersArgs};
use tls_cork_bench::commands::real;
#[cfg(feature = "peers")]
use tls_cork_bench::commands::receive::{self, ReceiveArgs as ReceivingArgs};
use tls_cork_bench::commands::simulate::{self, SimulateArgs};
use tls_cork_bench::server::{self, ServeArgs};
use tls_cork_programs::tls;
use tls_cork_report as report;

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
    /// What qemu-img, qemu-io, nbdcopy and fio send for each write to nbdkit, beside tls-cork.
    Real,
    /// The same traffic through this library and through others, to one receiver; medians of paired
    /// ratios, with intervals.
    Peers(PeersArgs),
    /// The same records from one sender, received by this library and by others; medians of paired
    /// ratios, with intervals.
    #[cfg(feature = "peers")]
    Receive(ReceivingArgs),
    /// The sender of `receive`.
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    ReceiveSend(receive::sender::SendArgs),
    /// The receivers of `receive`.
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    ReceiveTake(receive::receivers::TakeArgs),
    /// The NBD server of the examples on this library and on futures-rustls, copied to and from by
    /// qemu-img and nbdcopy; medians of paired ratios, with intervals.
    #[cfg(feature = "peers")]
    NbdServers(NbdServersArgs),
    /// A server of `nbd-servers`.
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    NbdServersServe(nbd_servers::serve::ServeArgs),
    /// A hyper server on this library and on tokio-rustls, under h2load; medians of paired ratios,
    /// with intervals.
    #[cfg(feature = "peers")]
    H2load(H2loadArgs),
    /// The server of `h2load`.
    #[cfg(feature = "peers")]
    #[command(hide = true)]
    H2loadServe(h2load::server::ServeArgs),
    /// The sending side of all stacks.
    #[command(hide = true)]
    PeersSend(SendArgs),
    /// The receiver of all stacks.
    #[command(hide = true)]
    PeersReceive(ReceiveArgs),
    /// Write a test CA and a server certificate, as nbdkit's --tls-certificates wants them.
    MakeCerts {
        /// Where to; created if missing.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// The embedded NBD server.
    #[command(hide = true)]
    Serve(ServeArgs),
}

fn main() -> ExitCode {
    tls_cork_programs::command_line::main("tls-cork-bench", |cli: &Cli| match &cli.command {
        None => grid::run(&cli.grid),
        Some(Command::Nbd(args)) => nbd::run(args),
        Some(Command::Compare(args)) => compare::run(args),
        Some(Command::CompareClients(args)) => compare::serve(args),
        Some(Command::Simulate(args)) => simulate::run(args),
        Some(Command::Real) => real::run(),
        Some(Command::Peers(args)) => peers::run(args),
        #[cfg(feature = "peers")]
        Some(Command::Receive(args)) => receive::run(args),
        #[cfg(feature = "peers")]
        Some(Command::ReceiveSend(args)) => receive::sender::run(args),
        #[cfg(feature = "peers")]
        Some(Command::ReceiveTake(args)) => receive::receivers::run(args),
        #[cfg(feature = "peers")]
        Some(Command::NbdServers(args)) => nbd_servers::run(args),
        #[cfg(feature = "peers")]
        Some(Command::NbdServersServe(args)) => nbd_servers::serve::run(args),
        #[cfg(feature = "peers")]
        Some(Command::H2load(args)) => h2load::run(args),
        #[cfg(feature = "peers")]
        Some(Command::H2loadServe(args)) => h2load::server::run(args),
        Some(Command::PeersSend(args)) => sender::run(args),
        Some(Command::PeersReceive(args)) => receiver::run(args),
        Some(Command::MakeCerts { out }) => tls::make_certificates(out),
        Some(Command::Serve(args)) => server::serve(args),
    })
}
