//! `nbd`: one strategy at one block size, against a server that is running.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use rustls::pki_types::ServerName;
use tls_cork::CorkConfig;
use tls_cork_programs::Failure;
use tls_cork_programs::tls::{self, TlsVersion};

use crate::client::cell::Cell;
use crate::client::link::{Link, Target};
use crate::client::load::{self, Load};
use crate::client::wire::{Security, Strategy};
use crate::shared::arguments::{block_size_parser, max_hold_parser, parse_seconds};
use crate::shared::endpoint::Endpoint;

/// Options of `nbd`.
#[derive(Debug, Args)]
pub struct NbdArgs {
    /// The NBD server.
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Endpoint,
    /// PEM file with the CA certificate that the server's certificate is checked against.
    #[arg(long, value_name = "FILE", required_unless_present = "plaintext")]
    pub ca: Option<PathBuf>,
    /// Name the server's certificate must be good for [default: the host in --connect].
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// The same client without TLS (only for `more`).
    #[arg(long, conflicts_with_all = ["ca", "server_name", "tls_version"])]
    pub plaintext: bool,
    /// How requests are sent.
    #[arg(long, value_enum)]
    pub strategy: Strategy,
    /// Payload of each write.
    #[arg(long, value_name = "BYTES", value_parser = block_size_parser())]
    pub block_size: u32,
    /// Requests kept outstanding.
    #[arg(long, value_name = "N", value_parser = queue_depth_parser())]
    pub queue_depth: u32,
    /// For how long to begin writes.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub seconds: Duration,
    /// End after this many writes, even if time is left.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Flush, read everything back and compare.
    #[arg(long)]
    pub verify: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Insist on one version of TLS.
    #[arg(long, value_enum, value_name = "VERSION")]
    pub tls_version: Option<TlsVersion>,
    /// How long a write is held at most (only for `more`).
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10, value_parser = max_hold_parser())]
    pub max_hold_ms: u64,
}

fn queue_depth_parser() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=1024)
}

/// Runs the cell and prints it.
pub fn run(args: &NbdArgs) -> Result<(), Failure> {
    let cork = CorkConfig::default().max_hold(Duration::from_millis(args.max_hold_ms));
    let target = Target { endpoint: args.connect.clone(), security: security(args)? };
    let load = Load {
        block_size: args.block_size,
        queue_depth: args.queue_depth,
        time: args.seconds,
        max_requests: args.requests.unwrap_or(u64::MAX),
        verify: args.verify,
    };
    let (link, facts) = Link::open(&target, args.strategy, cork)?;
    let measured = load::run(link, &facts, &load)?;
    let cell = Cell::new(&args.strategy.to_string(), !args.plaintext, &load, &measured);
    print(&cell, args.json).map_err(|e| Failure::new("print", "standard output", e))
}

fn security(args: &NbdArgs) -> Result<Security, Failure> {
    let Some(ca) = &args.ca else {
        if args.strategy != Strategy::More {
            return Err(Failure::usage("--plaintext", "only --strategy more is there without TLS"));
        }
        return Ok(Security::Plaintext);
    };
    let name = args.server_name.as_deref().unwrap_or(args.connect.host());
    let server_name =
        ServerName::try_from(name.to_owned()).map_err(|e| Failure::usage("--server-name", format!("{name:?}: {e}")))?;
    Ok(Security::Tls { config: tls::client_config(ca, args.tls_version)?, server_name })
}

fn print(cell: &Cell, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, cell)?;
        writeln!(out)?;
        return out.flush();
    }
    writeln!(
        out,
        "{}{}, {} B blocks, queue depth {}: {} requests in {:.3} s{}",
        cell.strategy,
        if cell.tls { " over TLS" } else { " without TLS" },
        cell.block_size,
        cell.queue_depth,
        cell.requests,
        cell.seconds,
        if cell.verified { ", verified" } else { "" },
    )?;
    writeln!(
        out,
        "{:.0} requests/s, {:.1} MB/s, {:.3} records and {:.3} sends per request, \
         {:.3} CPU s per GB",
        cell.requests_per_s,
        cell.bytes_per_s / 1e6,
        cell.records_per_request(),
        cell.sends_per_request(),
        cell.cpu_s_per_gb(),
    )?;
    out.flush()
}
