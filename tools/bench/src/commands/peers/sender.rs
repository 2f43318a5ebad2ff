//! `peers-send`: every stack's sending side, in one process with a thread for each connection.
//!
//! It prints a line once all are connected. Then each line on its standard input is a job for one
//! of them, and is answered by a line on its standard output. It ends with its input.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use tls_cork::CorkConfig;

use super::receiver::{Job, say};
use super::stacks::{self, Link, Stack, StackName};
use super::traffic::Content;
use crate::measure::place::{self, Pace, Spin, deeper, monotonic_ns, thread_cpu_ns};
use crate::shared::arguments::max_hold_parser;
use crate::shared::endpoint::Endpoint;
use tls_cork_programs::Failure;

/// Options of `peers-send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Who sends, each over a connection of its own.
    #[arg(long, value_enum)]
    pub stack: Vec<StackName>,
    /// Where `peers-receive` listens.
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Endpoint,
    /// PEM file with the CA certificate.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// How long tls-cork holds a piece at most.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10, value_parser = max_hold_parser())]
    pub max_hold_ms: u64,
    /// Which processor to stay on.
    #[arg(long)]
    pub processor: Option<u32>,
}

/// What was sent.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Sent {
    /// Plaintext bytes handed over.
    pub bytes: u64,
    /// Before the first; CLOCK_MONOTONIC in nanoseconds.
    pub start_ns: u64,
    /// When the transport had taken the last byte.
    pub end_ns: u64,
    /// System calls that sent, or tried to.
    pub sends: u64,
    /// Bytes that the transport took.
    pub wire_bytes: u64,
    /// CPU time of the thread that sends; at a fixed rate without the sleep between bursts.
    pub cpu_ns: u64,
    /// For each burst at a fixed rate, when its first piece was handed over.
    pub sent_ns: Vec<u64>,
}

/// Connects all stacks, then sends what each job says.
///
/// # Errors
///
/// When a stack was not built in, a connection fails, or a line is no job.
pub fn run(args: &SendArgs) -> Result<(), Failure> {
    args.processor.inspect(|&which| place::pin(which));
    let cork = CorkConfig::default().max_hold(Duration::from_millis(args.max_hold_ms));
    let link = Arc::new(Link { endpoint: args.connect.clone(), ca: args.ca.clone(), cork });
    // For as long as the process: a stack may keep what it is given.
    let content: &'static Content = Box::leak(Box::default());
    let spin = Spin::default();
    let (done, reports) = mpsc::channel();
    let gone = || Failure::new("send", &args.connect, "a sender ended without a word");
    let hear = || reports.recv().unwrap_or_else(|_| Err(gone()));
    let mut seats = Vec::new();
    for &stack in &args.stack {
        let (queue, jobs) = mpsc::channel();
        let (link, done) = (Arc::clone(&link), done.clone());
        let frames = Rng::new().u32(0..40);
        thread::spawn(move || {
            let _ballast = place::ballast(&mut Rng::new());
            let seat = Seat { content, spin, jobs, done: done.clone() };
            let ended = deeper(frames, Box::new(|| stacks::run(stack, &link, seat)));
            // If this fails, the process is about to end.
            let _ = ended.map_err(|failure| done.send(Err(failure)));
        });
        hear()?;
        seats.push(queue);
    }
    say(&"connected")?;
    for line in io::stdin().lock().lines() {
        let fail = |e: &dyn std::fmt::Display| Failure::new("read job", "standard input", e);
        let job: Job = serde_json::from_str(&line.map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
        let seat = seats.get(job.seat).ok_or_else(|| fail(&"no such connection"))?;
        seat.send(job).map_err(|_| gone())?;
        say(&serde_json::json!(hear()?))?;
    }
    Ok(())
}

/// Where a connection's thread gets its jobs, and how it does them.
#[derive(Debug)]
pub(super) struct Seat {
    content: &'static Content,
    spin: Spin,
    jobs: mpsc::Receiver<Job>,
    done: mpsc::Sender<Result<Sent, Failure>>,
}

impl Seat {
    /// Does all jobs over `stack`, which is connected; returns after the last.
    pub(super) async fn serve(self, mut stack: impl Stack) -> io::Result<()> {
        let mut offset = 0;
        let mut report = Sent::default();
        while self.done.send(Ok(report)).is_ok() {
            // Other connections' threads wait here too, within their runtimes: those have nothing
            // else to do.
            let Ok(job) = self.jobs.recv() else { break };
            if job.bursts == 0 {
                stack.close().await?;
                report = Sent::default();
                continue;
            }
            let _ballast = place::ballast(&mut Rng::with_seed(job.place));
            report = self.send(&mut stack, &job, offset).await?;
            offset += report.bytes;
        }
        Ok(())
    }

    async fn send(&self, stack: &mut impl Stack, job: &Job, start: u64) -> io::Result<Sent> {
        let shape = job.pattern.shape();
        let mut sent = Sent { sent_ns: Vec::with_capacity(job.bursts as usize), ..Sent::default() };
        let mut offset = start;
        let before = stack.counters();
        let pace = job.interval_ns.map(|ns| Pace::new(Duration::from_nanos(ns)));
        sent.start_ns = monotonic_ns();
        let mut cpu = thread_cpu_ns();
        for burst in 0..job.bursts {
            if let Some(pace) = &pace {
                // What sleeping costs is no stack's doing.
                sent.cpu_ns += thread_cpu_ns() - cpu;
                pace.wait(burst);
                sent.sent_ns.push(monotonic_ns());
                cpu = thread_cpu_ns();
            }
            if job.spin_ns > 0.0 {
                self.spin.spin(job.spin_ns);
            }
            for message in 1..=shape.burst {
                for (piece, &len) in shape.pieces.iter().enumerate() {
                    let last = message == shape.burst && piece + 1 == shape.pieces.len();
                    stack.write(self.content.at(offset, len), last).await?;
                    offset += len as u64;
                }
            }
            if pace.is_some() {
                // About to sleep: what the transport did not take at once has to leave now.
                stack.flush().await?;
            }
        }
        stack.flush().await?;
        sent.cpu_ns += thread_cpu_ns() - cpu;
        sent.end_ns = monotonic_ns();
        let counted = stack.counters().since(before);
        (sent.bytes, sent.sends, sent.wire_bytes) = (offset - start, counted.sends, counted.wire_bytes);
        Ok(sent)
    }
}
