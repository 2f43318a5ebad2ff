//! What a stack is to the sender: a connection that writes what a job says.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::receiver::Job;
use super::traffic::Content;
use crate::measure::place::{self, Pace, monotonic_ns, thread_cpu_ns};
use crate::shared::socket::Counters;
use tls_cork_programs::Failure;

/// A connection of some stack, its handshake done.
///
/// Blocking stacks never wait in the sense of async: their futures are ready at the first poll.
pub(super) trait Stack {
    /// Hands over one piece; `last` for the last of a burst.
    async fn write(&mut self, piece: &'static [u8], last: bool) -> io::Result<()>;

    /// Returns when the transport has taken everything.
    async fn flush(&mut self) -> io::Result<()>;

    /// Ends the session properly.
    async fn close(&mut self) -> io::Result<()>;

    /// What the transport counted so far.
    fn counters(&self) -> Counters;
}

/// What was sent.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Sent {
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

/// Where a connection's thread gets its jobs, and how it does them.
#[derive(Debug)]
pub(crate) struct Seat<J = Job, R = Sent> {
    pub(crate) content: &'static Content,
    pub(crate) jobs: mpsc::Receiver<J>,
    /// Takes a report once connected, and one for each job.
    pub(crate) done: mpsc::Sender<Result<R, Failure>>,
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
        let spin = Duration::from_nanos(job.spin_ns as u64);
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
            if !spin.is_zero() {
                place::spin(spin);
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
