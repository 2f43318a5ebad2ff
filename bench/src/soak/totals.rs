//! What all streams together went through.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use tls_cork::FlushReason;

use super::ledger::{self, EndReport, Fate, Ledger, Operation};
use super::memory::Memory;
use super::plan::{Fault, Pairing, Side, StreamPlan};
use super::stream::SHORT_LIVED;
use crate::failure::Failure;

/// The streams of one pairing.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    /// Streams that are over.
    pub streams: u64,
    /// Of these, with TLS 1.2.
    pub tls12: u64,
    /// Of these, with a wire between the ends.
    pub wires: u64,
    /// Calls of each kind.
    pub operations: BTreeMap<&'static str, u64>,
    /// Bytes accepted from clients and from servers.
    pub accepted: [u64; 2],
    /// Of these, received and found right.
    pub received: [u64; 2],
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
    /// Streams without a fault that ends them: both ends had every byte and a `close_notify`.
    pub clean: u64,
    /// Streams with each fault that has happened.
    pub faults: BTreeMap<Fault, u64>,
    /// What became of the two ends after each fault.
    pub fates: BTreeMap<(Fault, Fate), u64>,
}

impl Totals {
    fn add(&mut self, plan: &StreamPlan, ledger: &Ledger, reports: &[EndReport; 2]) {
        self.streams += 1;
        self.tls12 += u64::from(plan.tls12);
        self.wires += u64::from(plan.wire.is_some());
        for operation in Operation::ALL {
            *self.operations.entry(name(operation)).or_default() += ledger.operations(operation);
        }
        for side in Side::BOTH {
            self.accepted[side as usize] += ledger.accepted(side);
            self.received[side as usize] += ledger.received(side.other());
        }
        for EndReport { stats, .. } in reports {
            self.records += stats.records;
            self.sends += stats.transmits;
            self.deadlines += stats.flushes(FlushReason::Deadline);
            self.longest_hold = self.longest_hold.max(stats.longest_hold);
            if plan.short_lived_keys {
                self.key_updates += stats.records / SHORT_LIVED;
            }
        }
        let happened = Fault::ALL.into_iter().find(|&fault| ledger.has_happened(fault));
        match happened {
            None => self.clean += 1,
            Some(fault) => {
                *self.faults.entry(fault).or_default() += 1;
                for report in reports {
                    *self.fates.entry((fault, ledger::fate(report))).or_default() += 1;
                }
            }
        }
    }

    /// Calls that did something: all but the pauses, stalls and retries.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let others = [Operation::Blocked, Operation::Stall, Operation::Pause].map(name);
        self.operations.iter().filter(|(name, _)| !others.contains(name)).map(|(_, n)| n).sum()
    }

    /// How often `operation` came.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.operations.get(name(operation)).copied().unwrap_or(0)
    }
}

/// A soak that is over, with every check passed.
#[derive(Debug, Clone)]
pub struct Outcome {
    seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// By pairing, in the order of [`Pairing::ALL`].
    pub totals: [Totals; 3],
    /// Memory after a minute, or half the time if that is less; and when that was.
    pub early: Option<(Duration, Memory)>,
    /// Memory when the last stream was started.
    pub late: Memory,
}

impl Outcome {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, seconds: 0.0, totals: Default::default(), early: None, late: Memory::default() }
    }

    pub(crate) fn add(&mut self, plan: &StreamPlan, ledger: &Ledger, reports: &[EndReport; 2]) {
        self.totals[super::plan::pairing(plan.seed) as usize].add(plan, ledger, reports);
    }

    /// Streams that are over.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.totals.iter().map(|totals| totals.streams).sum()
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

    /// The tables, and what memory and time it took.
    #[must_use]
    pub fn text(&self) -> String {
        let faults: u64 = self.totals.iter().flat_map(|totals| totals.faults.values()).sum();
        let calls: u64 = self.totals.iter().map(Totals::calls).sum();
        let mut text = format!(
            "{}\n\n{}\n\n{calls} operations in {} streams and {:.0} s, {faults} of them with a fault that ended them (seed {}): \
             every byte that arrived was right.\nPeak resident memory {} MiB",
            self.figures(),
            self.fates(),
            self.streams(),
            self.seconds,
            self.seed,
            mib(self.late.peak)
        );
        if let Some((at, early)) = self.early {
            let (early, late) = (early.resident, self.late.resident);
            text += &format!(
                "; resident {} MiB after {:.0} s, {} MiB at the end.",
                mib(early),
                at.as_secs_f64(),
                mib(late)
            );
        }
        text
    }

    /// One column for each pairing.
    fn figures(&self) -> Table {
        let mut table = plain_table();
        table.set_header(["".to_owned()].into_iter().chain(Pairing::ALL.map(|pairing| pairing.to_string())));
        let mut row = |name: &str, figure: &dyn Fn(&Totals) -> String| {
            table.add_row([name.to_owned()].into_iter().chain(self.totals.iter().map(figure)));
        };
        row("streams", &|t| t.streams.to_string());
        row("of these TLS 1.2", &|t| t.tls12.to_string());
        row("of these over a faulty wire", &|t| t.wires.to_string());
        row("operations", &|t| t.calls().to_string());
        for operation in Operation::ALL {
            row(&format!("  {}", name(operation)), &|t| t.count(operation).to_string());
        }
        row("MB from clients", &|t| megabytes(t.accepted[0]));
        row("MB from servers", &|t| megabytes(t.accepted[1]));
        row("MB received and checked", &|t| megabytes(t.received.iter().sum()));
        row("records", &|t| t.records.to_string());
        row("sends", &|t| t.sends.to_string());
        row("KeyUpdates, at least", &|t| t.key_updates.to_string());
        row("deadlines that released", &|t| t.deadlines.to_string());
        row("longest hold, ms", &|t| format!("{:.1}", t.longest_hold.as_secs_f64() * 1e3));
        row("clean ends", &|t| t.clean.to_string());
        for fault in Fault::ALL {
            row(&format!("ended by: {fault}"), &|t| t.faults.get(&fault).copied().unwrap_or(0).to_string());
        }
        right_aligned(&mut table);
        table
    }

    /// One row for each fault: what its ends said.
    fn fates(&self) -> Table {
        let mut table = plain_table();
        table.set_header(["fault", "streams"].into_iter().chain(Fate::TOLD.map(fate_name)));
        for fault in Fault::ALL {
            let sum = |figure: &dyn Fn(&Totals) -> Option<u64>| self.totals.iter().filter_map(figure).sum::<u64>();
            let streams = sum(&|t| t.faults.get(&fault).copied());
            let fates = Fate::TOLD.map(|fate| sum(&|t| t.fates.get(&(fault, fate)).copied()).to_string());
            table.add_row([fault.to_string(), streams.to_string()].into_iter().chain(fates));
        }
        right_aligned(&mut table);
        table
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table
}

fn right_aligned(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Send => "send",
        Operation::SendVectored => "send_vectored",
        Operation::SendBytes => "send_bytes",
        Operation::Write => "write, write_vectored",
        Operation::Cork => "cork, uncork",
        Operation::Flush => "flush",
        Operation::Close => "close",
        Operation::Read => "read",
        Operation::Pause => "pauses in sending",
        Operation::AwaitPeer => "waits for the other end",
        Operation::Blocked => "calls that had to wait",
        Operation::Stall => "stalls in reading",
    }
}

fn fate_name(fate: Fate) -> &'static str {
    match fate {
        Fate::Clean => "was through",
        Fate::Left => "left itself",
        Fate::Reset => "ConnectionReset",
        Fate::BrokenPipe => "BrokenPipe",
        Fate::Truncated => "UnexpectedEof",
        Fate::Tls => "TLS error",
        Fate::Other => "other",
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
