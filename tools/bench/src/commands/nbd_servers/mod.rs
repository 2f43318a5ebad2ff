//! `nbd-servers`: the NBD server of the examples on tls-cork and on futures-rustls, copied to and
//! from by qemu-img and nbdcopy.
//!
//! [`crate::measure`] decides which server is next. A slice is a copy of all of the export, over
//! connections of its own, by a client on the processor that the server is not on. What counts is
//! the CPU time that all threads of the server have spent meanwhile, handshakes included. A sitting
//! has new servers, whose export is written once before. The first sitting compares it with what was
//! written. Reads and sends are counted by strace, in copies of their own.

#![allow(clippy::duplicate_mod, reason = "two servers have the modules of the example")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use fastrand::Rng;

use crate::measure::column::{figure, ratio, text, verdict};
use crate::measure::place::process_cpu_ns;
use crate::measure::{self, Better, Figure, Pair, Plan, Sitting, Until, Verdict};
use crate::shared::{rivals, strace};
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Guarded};
use tls_cork_report::{self as report, Column, Kind, OutArgs, Report, Value};
use tls_cork_testing::content;

mod copies;
mod ours;
mod peer;
pub mod serve;

use copies::{Clients, Copy};
use serve::Stack;

/// The servers of a sitting: ours and its rival, for each rival. Rows share none: one that is used
/// more often than another costs more for each copy.
const SERVERS: [Stack; 4] = [Stack::Ours, Stack::Futures, Stack::Ours, Stack::Ours];
const RIVALS: [&str; 2] = ["futures-rustls", "tls-cork (A/A)"];
const MIB: u64 = 1 << 20;
/// What is counted: reads, then sends.
const CALLS: [&str; 8] = {
    let [a, b, c, d, e] = strace::SENDS;
    ["recvfrom", "recvmsg", "readv", a, b, c, d, e]
};

/// Options of `nbd-servers`.
#[derive(Debug, Args)]
#[command(after_long_help = report::help_columns("nbd-servers", &COLUMNS))]
pub struct NbdServersArgs {
    /// How many pairs of copies each row has; fewer than 6 give no interval.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Size of the export.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// Where to keep the figures.
    #[command(flatten)]
    out: OutArgs,
}

/// The columns of `nbd-servers.csv`, and of the table.
const COLUMNS: [Column; 9] = [
    text("client", "client", "Who copies."),
    text("command", "command", "The command of NBD."),
    text("server", "server on", "What the server is on; A/A: a second server on tls-cork."),
    figure("reads_per_mib", "reads/MiB", 2, "System calls of the server that read from its sockets, or tried to."),
    figure("sends_per_mib", "sends/MiB", 2, "System calls of the server that sent, or tried to."),
    figure("cpu_s_per_gb", "CPU s/GB", 3, "CPU seconds of the server for 10⁹ bytes, user and system."),
    ratio("cpu_ratio"),
    verdict("cpu_verdict", "CPU"),
    Column { csv: "pairs", title: "pairs", kind: Kind::Count, about: "Pairs of copies, one of them with tls-cork." },
];

/// Runs the comparison and prints it.
///
/// # Errors
///
/// When qemu-img, nbdcopy or strace is missing, or a copy fails.
pub fn run(args: &NbdServersArgs) -> Result<(), Failure> {
    rivals::require("qemu-img", "qemu-utils")?;
    rivals::require("nbdcopy", "libnbd-bin")?;
    rivals::require("strace", "strace")?;
    args.out.prepare()?;
    let home = rivals::home()?;
    let source = home.path().join("source");
    fill(&source, args.mib).map_err(|e| Failure::new("write file", source.display(), e))?;
    let clients = Clients { home: home.path(), source: &source, bytes: args.mib * MIB };
    let rows: Vec<_> = Copy::ALL.iter().flat_map(|&copy| [0, 2].map(|ours| ((copy, ours), (copy, ours + 1)))).collect();
    let plan = Plan { until: Until::Sittings(args.runs), rounds: 1 };
    let mut rng = Rng::new();
    let mut orders = rng.fork();
    let pairs = measure::run(plan, &rows, &mut rng, |number| Servers::start(number, &clients, &mut orders))?;

    let mut report = Report::new("nbd-servers", &COLUMNS);
    let mut judged: Vec<(Verdict, String)> = Vec::new();
    for (copy, pairs) in Copy::ALL.iter().zip(pairs.chunks(RIVALS.len())) {
        for (rival, pairs) in RIVALS.iter().zip(pairs) {
            let cpu = cpu(pairs);
            let stack = if *rival == RIVALS[0] { Stack::Futures } else { Stack::Ours };
            let mut row: Vec<Value> = copy.names().map(|name| Value::Text(name.to_owned())).to_vec();
            row.push(Value::Text((*rival).to_owned()));
            row.extend(count(stack, *copy, &clients)?.map(Value::Number));
            row.extend(cpu.values());
            row.push(Value::Count(pairs.len() as u64));
            report.row(row);
            if *rival == RIVALS[0] {
                judged.push((cpu.verdict, copy.names().join(" ")));
            }
        }
    }
    let subject = format!("CPU of the server, tls-cork against {}", RIVALS[0]);
    let text = format!("{}\n\n- {}", report.table(), measure::judgement(&subject, &judged));
    args.out.write("nbd-servers.csv", &report.csv()?)?;
    args.out.write("nbd-servers.md", format!("{text}\n").as_bytes())?;
    report::print(&text)
}

fn cpu(pairs: &[Pair<f64>]) -> Figure {
    Figure::of(pairs, Better::Less, |&cpu| Some(cpu))
}

/// Nothing in the file is zero for long: clients look for zeroes, and do not send them.
fn fill(path: &Path, mib: u64) -> std::io::Result<()> {
    let mut block = vec![0; MIB as usize];
    let mut file = File::create(path)?;
    for number in 0..mib {
        content::fill(0, number * MIB, &mut block);
        file.write_all(&block)?;
    }
    Ok(())
}

/// The servers of a sitting.
struct Servers<'a> {
    running: Vec<(usize, Guarded, u16)>,
    clients: &'a Clients<'a>,
    number: u32,
}

impl<'a> Servers<'a> {
    /// In random order: what comes of being first is nobody's for long.
    fn start(number: u32, clients: &'a Clients<'a>, rng: &mut Rng) -> Result<Self, Failure> {
        let mut servers = Self { running: Vec::new(), clients, number };
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        for which in order {
            let (server, port) = start(Command::new(children::ourselves()?), SERVERS[which], number, clients)?;
            // Its memory is there then.
            clients.copy(Copy::NbdcopyWrite, port, number + 1)?;
            if number == 0 {
                clients.compare(port, number + 1)?;
            }
            servers.running.push((which, server, port));
        }
        servers.running.sort_by_key(|(which, ..)| *which);
        Ok(servers)
    }
}

/// Reads and sends of a server of its own, for each MiB that is copied.
fn count(stack: Stack, copy: Copy, clients: &Clients<'_>) -> Result<[f64; 2], Failure> {
    let log = clients.home.join("strace.log");
    let mut command = strace::counting(&CALLS, &log);
    command.arg(children::ourselves()?);
    let (server, port) = start(command, stack, 0, clients)?;
    clients.copy(copy, port, 1)?;
    // strace writes at the end.
    drop(server);
    let table = fs::read_to_string(&log).map_err(|e| Failure::new("read file", log.display(), e))?;
    let calls = strace::parse(&table, CALLS).map_err(|e| Failure::new("count system calls", "NBD server", e))?;
    let (reads, sends) = calls.split_at(CALLS.len() - strace::SENDS.len());
    Ok([reads, sends].map(|calls| calls.iter().sum::<u64>() as f64 / (clients.bytes / MIB) as f64))
}

/// A server that `command` runs, and the port on which it listens.
fn start(mut command: Command, stack: Stack, processor: u32, clients: &Clients<'_>) -> Result<(Guarded, u16), Failure> {
    let stack = if stack == Stack::Ours { "ours" } else { "futures" };
    command.arg("nbd-servers-serve").arg(format!("--stack={stack}")).arg(format!("--processor={processor}")).arg("--");
    command.args(["--listen=127.0.0.1:0", &format!("--memory={}", clients.bytes)]);
    command.arg("--cert").arg(clients.home.join("server-cert.pem"));
    command.arg("--key").arg(clients.home.join("server-key.pem"));
    let mut server = Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()), "NBD server")?;
    let line = server.line()?;
    let port = port(&line).ok_or_else(|| Failure::new("read address", "NBD server", format!("found {line:?}")))?;
    Ok((server, port))
}

/// Of the line that a server prints.
fn port(line: &str) -> Option<u16> {
    line.parse::<std::net::SocketAddr>().ok().map(|address| address.port())
}

impl Sitting<(Copy, usize)> for Servers<'_> {
    /// CPU seconds for 10⁹ bytes.
    type Slice = f64;

    fn slice(&mut self, &(copy, which): &(Copy, usize)) -> Result<f64, Failure> {
        let (_, server, port) = &self.running[which];
        let cpu_ns =
            || process_cpu_ns(server.id()).ok_or_else(|| Failure::new("read CPU time", "NBD server", "it has ended"));
        let before = cpu_ns()?;
        self.clients.copy(copy, *port, self.number + 1)?;
        Ok((cpu_ns()? - before) as f64 / self.clients.bytes as f64)
    }

    fn end(self) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_line_of_the_server() {
        assert_eq!(port("127.0.0.1:10809"), Some(10809));
        for line in ["", "10809", "127.0.0.1", "127.0.0.1:65536", "nbd_server: no such file"] {
            assert_eq!(port(line), None, "{line:?}");
        }
    }
}
