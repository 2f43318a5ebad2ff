//! `peers-send`: one stack sends one traffic pattern, in a process of its own.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use tls_cork::CorkConfig;

use super::delay::monotonic_ns;
use super::stacks::{self, Link, Stack, StackName};
use super::traffic::{Content, Pattern, Shape};
use crate::shared::arguments::{max_hold_parser, parse_seconds};
use crate::shared::cpu_time::CpuTime;
use crate::shared::endpoint::Endpoint;
use tls_cork_programs::Failure;

/// Options of `peers-send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Who sends.
    #[arg(long, value_enum)]
    pub stack: StackName,
    /// What.
    #[arg(long, value_enum)]
    pub pattern: Pattern,
    /// Where `peers-receive` listens.
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Endpoint,
    /// PEM file with the CA certificate.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// For how long to begin bursts.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub seconds: Duration,
    /// End after this many bursts, even if time is left.
    #[arg(long, value_name = "N", default_value_t = u64::MAX)]
    pub bursts: u64,
    /// How long tls-cork holds a piece at most.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10, value_parser = max_hold_parser())]
    pub max_hold_ms: u64,
    /// Send at the pattern's modest rate, and note when each message is sent.
    #[arg(long)]
    pub paced: bool,
}

/// What was sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Messages handed over.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Before the first; CLOCK_MONOTONIC in nanoseconds.
    pub start_ns: u64,
    /// When the transport had taken the last byte.
    pub end_ns: u64,
    /// System calls that sent, or tried to; without handshake and close.
    pub sends: u64,
    /// Bytes that the transport took; without handshake and close.
    pub wire_bytes: u64,
    /// CPU time, user and system, of the whole process; without handshake and close.
    pub cpu_s: f64,
    /// For each message of a paced run, when its first piece was handed over.
    pub sent_ns: Vec<u64>,
}

/// Sends and prints one JSON object.
///
/// # Errors
///
/// When this stack was not built in, or the connection fails.
pub fn run(args: &SendArgs) -> Result<(), Failure> {
    let cork = CorkConfig::default().max_hold(Duration::from_millis(args.max_hold_ms));
    let link = Link { endpoint: args.connect.clone(), ca: args.ca.clone(), cork };
    let load = Load {
        // For as long as the process: a stack may keep what it is given.
        content: Box::leak(Box::default()),
        shape: args.pattern.shape(),
        time: args.seconds,
        bursts: args.bursts,
        paced: args.paced,
    };
    let sent = stacks::run(args.stack, &link, load)?;
    print(&sent).map_err(|e| Failure::new("print", "standard output", e))
}

fn print(sent: &Sent) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, sent)?;
    writeln!(out)?;
    out.flush()
}

/// What to send, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    content: &'static Content,
    pub(super) shape: Shape,
    time: Duration,
    bursts: u64,
    paced: bool,
}

impl Load {
    /// Sends all of it over `stack`, and closes.
    pub(super) async fn send(self, mut stack: impl Stack) -> io::Result<Sent> {
        let before = stack.counters();
        let cpu = CpuTime::now();
        let start_ns = monotonic_ns();
        let begin = Instant::now();
        let mut offset = 0;
        let mut sent_ns = Vec::new();
        let mut bursts = 0;
        while bursts < self.bursts && begin.elapsed() < self.time {
            if self.paced {
                self.wait_for(begin, bursts);
            }
            for message in 1..=self.shape.burst {
                if self.paced {
                    sent_ns.push(monotonic_ns());
                }
                for (piece, &len) in self.shape.pieces.iter().enumerate() {
                    let last = message == self.shape.burst && piece + 1 == self.shape.pieces.len();
                    stack.write(self.content.at(offset, len), last).await?;
                    offset += len as u64;
                }
            }
            bursts += 1;
            if self.paced {
                // About to sleep: what the transport did not take at once has to leave now.
                stack.flush().await?;
            }
        }
        stack.flush().await?;
        let end_ns = monotonic_ns();
        let cpu = CpuTime::now().since(cpu);
        let counted = stack.counters().since(before);
        stack.close().await?;
        Ok(Sent {
            messages: bursts * self.shape.burst as u64,
            bytes: offset,
            start_ns,
            end_ns,
            sends: counted.sends,
            wire_bytes: counted.wire_bytes,
            cpu_s: (cpu.user + cpu.sys).as_secs_f64(),
            sent_ns,
        })
    }

    /// Sleeps, in the thread, until burst number `n` is due: no runtime's timer is to be measured.
    fn wait_for(&self, begin: Instant, n: u64) {
        let due = Duration::from_secs(1).mul_f64(n as f64 / f64::from(self.shape.bursts_per_s));
        thread::sleep(due.saturating_sub(begin.elapsed()));
    }
}
