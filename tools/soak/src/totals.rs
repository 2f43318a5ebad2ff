//! What all streams together went through.

use std::collections::BTreeMap;
use std::time::Duration;

use tls_cork::FlushReason;

use super::judge::{self, FlipFate};
use super::ledger::{self, EndReport, Fate, Ledger, Operation};
use super::memory::Memory;
use super::plan::{self, Fault, Pairing, Side, StreamPlan};
use super::stream::SHORT_LIVED;
use super::table;
use tls_cork_programs::Failure;
use tls_cork_report::Report;

/// Streams that have something in common.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    /// Streams that are over.
    pub streams: u64,
    /// Of these, with TLS 1.2.
    pub tls12: u64,
    /// Of these, with a wire between the ends.
    pub wires: u64,
    operations: [u64; Operation::ALL.len()],
    /// Bytes that were accepted.
    pub accepted: u64,
    /// Of these, received and found right.
    pub received: u64,
    /// Application records.
    pub records: u64,
    /// Sends that the sockets took.
    pub sends: u64,
    /// KeyUpdates of TLS 1.3, at least.
    pub key_updates: u64,
    /// Tails that left because their deadline came.
    pub deadlines: u64,
    /// The longest time for which a tail was held.
    pub longest_hold: Duration,
    fates: BTreeMap<Fate, u64>,
    /// Streams with a changed bit whose receiver said that a record is wrong.
    pub flips_tls_error: u64,
    /// Streams with a changed bit that ended otherwise, in the handshake.
    pub flips_other_error: u64,
    /// Streams with a changed bit that nobody read, because the stream had ended before.
    pub flips_unread: u64,
}

impl Totals {
    fn add(&mut self, plan: &StreamPlan, ledger: &Ledger, reports: &[EndReport; 2]) -> Result<(), String> {
        self.streams += 1;
        self.tls12 += u64::from(plan.tls12);
        self.wires += u64::from(plan.wire.is_some());
        for operation in Operation::ALL {
            self.operations[operation as usize] += ledger.operations(operation);
        }
        for side in Side::BOTH {
            self.accepted += ledger.accepted(side);
            self.received += ledger.received(side);
        }
        for report in reports {
            let stats = &report.stats;
            self.records += stats.records;
            self.sends += stats.transmits;
            self.deadlines += stats.flushes(FlushReason::Deadline);
            self.longest_hold = self.longest_hold.max(stats.longest_hold);
            if plan.short_lived_keys {
                self.key_updates += stats.records / SHORT_LIVED;
            }
            *self.fates.entry(ledger::fate(report)).or_default() += 1;
        }
        if let Some(flip) = ledger.flip() {
            match judge::judge_flip(ledger, flip, reports)? {
                FlipFate::TlsError => self.flips_tls_error += 1,
                FlipFate::OtherError => self.flips_other_error += 1,
                FlipFate::Unread => self.flips_unread += 1,
            }
        }
        Ok(())
    }

    /// Calls that did something: all but the pauses, stalls and retries.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let others = [Operation::Blocked, Operation::Stall, Operation::Pause];
        Operation::ALL.into_iter().filter(|operation| !others.contains(operation)).map(|each| self.count(each)).sum()
    }

    /// How often `operation` came.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.operations[operation as usize]
    }

    /// Ends with this fate.
    #[must_use]
    pub fn ends(&self, fate: Fate) -> u64 {
        self.fates.get(&fate).copied().unwrap_or(0)
    }
}

/// A soak that is over, with every check passed.
#[derive(Debug, Clone)]
pub struct Outcome {
    seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// By pairing and by the fault that ended a stream; none if it ended properly.
    pub totals: BTreeMap<(Pairing, Option<Fault>), Totals>,
    /// Memory after a minute, or half the time if that is less; and when that was.
    pub early: Option<(Duration, Memory)>,
    /// Memory when the last stream was started.
    pub late: Memory,
}

impl Outcome {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, seconds: 0.0, totals: BTreeMap::new(), early: None, late: Memory::default() }
    }

    pub(crate) fn add(&mut self, plan: &StreamPlan, ledger: &Ledger, reports: &[EndReport; 2]) -> Result<(), String> {
        let happened = Fault::ALL.into_iter().find(|&fault| ledger.has_happened(fault));
        self.totals.entry((plan::pairing(plan.seed), happened)).or_default().add(plan, ledger, reports)
    }

    /// A figure of all streams together.
    pub fn sum(&self, figure: impl Fn(&Totals) -> u64) -> u64 {
        self.totals.values().map(figure).sum()
    }

    pub(crate) fn check_memory(&self, most: u64) -> Result<(), Failure> {
        let Some((at, early)) = self.early else { return Ok(()) };
        let growth = self.late.resident.saturating_sub(early.resident);
        if growth <= most {
            return Ok(());
        }
        let why = format!(
            "resident memory grew from {} MiB after {:.0} s to {} MiB",
            mib(early.resident),
            at.as_secs_f64(),
            mib(self.late.resident)
        );
        Err(Failure::new("soak", format!("seed {}", self.seed), why))
    }

    /// One row for each pairing and each way in which streams ended.
    #[must_use]
    pub fn report(&self) -> Report {
        table::report(&self.totals)
    }

    /// What it comes to, and what memory and time it took.
    #[must_use]
    pub fn summary(&self) -> String {
        let undisturbed = self.totals.iter().filter(|((_, fault), _)| fault.is_none()).map(|(_, t)| t.streams);
        let (streams, undisturbed) = (self.sum(|t| t.streams), undisturbed.sum::<u64>());
        let mut text = format!(
            "{} operations and {:.1} MB in {streams} streams and {:.0} s (seed {}); {} streams were ended by a fault.\n\
             Every byte that arrived was right. Of {} changed bits, {} were named a TLS error by their receiver, {} ended \
             the handshake otherwise, {} came behind the end and were not read.\n\
             Peak resident memory {} MiB",
            self.sum(Totals::calls),
            self.sum(|t| t.received) as f64 / 1e6,
            self.seconds,
            self.seed,
            streams - undisturbed,
            self.sum(|t| t.flips_tls_error + t.flips_other_error + t.flips_unread),
            self.sum(|t| t.flips_tls_error),
            self.sum(|t| t.flips_other_error),
            self.sum(|t| t.flips_unread),
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
