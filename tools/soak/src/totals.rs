//! What all streams together went through.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{Table, presets};
use tls_cork::FlushReason;
use tls_cork_programs::Failure;

use super::ledger::{EndReport, Ledger};
use super::memory::Memory;
use super::plan::{self, Fault, Pairing, Side, StreamPlan, Tls};
use super::session::SHORT_LIVED;

/// Streams that have something in common.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    /// Streams that are over.
    pub streams: u64,
    /// Calls, pauses and waits.
    pub operations: u64,
    /// Of these, the ones in sending that could not go on at once.
    pub blocked: u64,
    /// Bytes that were accepted.
    pub accepted: u64,
    /// Of these, received and found right.
    pub received: u64,
    /// KeyUpdates of TLS 1.3, at least.
    pub key_updates: u64,
    /// Tails that left because their deadline came.
    pub deadlines: u64,
    /// How often a stream's end had which result: `through`, `left` or a kind of error.
    pub results: BTreeMap<String, u64>,
}

impl Totals {
    fn add(&mut self, plan: &StreamPlan, ledger: &Ledger, reports: &[EndReport; 2]) {
        self.streams += 1;
        for end in Side::BOTH.map(|side| ledger.end(side)) {
            self.operations += end.operations.get();
            self.blocked += end.blocked.get();
            self.accepted += end.accepted.get();
            self.received += end.received.get();
        }
        for EndReport { sending, receiving, left, stats } in reports {
            self.deadlines += stats.flushes(FlushReason::Deadline);
            if plan.tls == Tls::ShortLivedKeys {
                self.key_updates += stats.records / SHORT_LIVED;
            }
            let result = match receiving.as_ref().and(sending.as_ref()) {
                _ if *left => "left".to_owned(),
                Ok(()) => "through".to_owned(),
                Err(error) => format!("{:?}", error.kind()),
            };
            *self.results.entry(result).or_default() += 1;
        }
    }
}

/// A soak that is over, with every check passed.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How long it took.
    pub(crate) seconds: f64,
    /// By pairing and by the fault that ended a stream; none if it ended properly.
    pub totals: BTreeMap<(Pairing, Option<Fault>), Totals>,
    /// Memory after a minute, or half the time if that is less; and when that was.
    pub(crate) early: Option<(Duration, Memory)>,
    /// Memory when the last stream was started.
    pub late: Memory,
}

impl Outcome {
    pub(crate) fn add(&mut self, plan: &StreamPlan, ledger: &Ledger, reports: &[EndReport; 2]) {
        let fault = ledger.fault().map(|plan| plan.fault);
        self.totals.entry((plan::pairing(plan.seed), fault)).or_default().add(plan, ledger, reports);
    }

    /// A figure of all streams together.
    pub fn sum(&self, figure: impl Fn(&Totals) -> u64) -> u64 {
        self.totals.values().map(figure).sum()
    }

    pub(crate) fn check_memory(&self, most: u64) -> Result<(), Failure> {
        let Some((at, early)) = self.early else { return Ok(()) };
        if self.late.resident.saturating_sub(early.resident) <= most {
            return Ok(());
        }
        let (early, late) = (mib(early.resident), mib(self.late.resident));
        let why = format!("resident memory grew from {early} MiB after {:.0} s to {late} MiB", at.as_secs_f64());
        Err(Failure::new("soak", "memory", why))
    }

    /// A table with a row for each pairing and each way in which streams ended, then the sums, memory
    /// and time.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["drivers", "ended by", "streams", "operations", "had to wait", "MB checked", "their ends"]);
        for ((pairing, fault), totals) in &self.totals {
            let results: Vec<String> = totals.results.iter().map(|(result, n)| format!("{n} {result}")).collect();
            table.add_row([
                format!("{pairing:?}"),
                fault.map_or("close".to_owned(), |fault| format!("{fault:?}")),
                totals.streams.to_string(),
                totals.operations.to_string(),
                totals.blocked.to_string(),
                format!("{:.1}", totals.received as f64 / 1e6),
                results.join(", "),
            ]);
        }
        let flips = self.totals.iter().filter(|((_, fault), _)| *fault == Some(Fault::BitFlip)).map(|(_, t)| t.streams);
        let closed = self.totals.iter().filter(|((_, fault), _)| fault.is_none()).map(|(_, t)| t.streams);
        let streams = self.sum(|t| t.streams);
        let mut text = format!(
            "{table}\n\n\
             {} operations and {:.1} MB in {streams} streams and {:.0} s; a fault ended {} streams.\n\
             {} KeyUpdates at least, {} deadlines.\n\
             Every byte that arrived was right, and the receivers of {} changed bits reported an error.\n\
             Peak resident memory {} MiB",
            self.sum(|t| t.operations),
            self.sum(|t| t.received) as f64 / 1e6,
            self.seconds,
            streams - closed.sum::<u64>(),
            self.sum(|t| t.key_updates),
            self.sum(|t| t.deadlines),
            flips.sum::<u64>(),
            mib(self.late.peak)
        );
        if let Some((at, early)) = self.early {
            let (early, late) = (mib(early.resident), mib(self.late.resident));
            text += &format!("; resident {early} MiB after {:.0} s, {late} MiB at the end", at.as_secs_f64());
        }
        text + "."
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
