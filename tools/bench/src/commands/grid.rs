//! The main job: every strategy at several block sizes, against the embedded server.
//!
//! Machines drift: caches warm up, neighbours come and go. So each cell is a number of short
//! slices that alternate between the strategies, and what is compared is the median of the ratios
//! within a round.

use std::time::Duration;

use clap::Args;
use rustls::pki_types::ServerName;
use tls_cork::CorkConfig;
use tls_cork_programs::Failure;
use tls_cork_programs::children;
use tls_cork_programs::tls::{self, TemporaryCertificates};
use tls_cork_report::Median;
use tls_cork_report::{self as report, Chart, Column, Kind, OutArgs, Report, Value};

use crate::client::cell::Cell;
use crate::client::link::{Link, Target};
use crate::client::load::{self, Load};
use crate::client::wire::{Security, Strategy};
use crate::measure::{self, Better, Verdict};
use crate::server::{EmbeddedServer, ExportKind};
use crate::shared::endpoint::Endpoint;

/// Block size and queue depth of each group of rows.
const CELLS: [(u32, u32); 7] =
    [(512, 16), (4096, 16), (32 * 1024, 16), (64 * 1024, 16), (2 * 1024 * 1024, 16), (512, 1), (4096, 1)];
const EXPORT_SIZE: u64 = 4 << 30;

/// Options of the main job.
#[derive(Debug, Args)]
pub struct GridArgs {
    /// A tenth of the time, for a first look: the figures spread more.
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON array with every slice instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

/// The columns of `grid.csv`, and of the table.
pub const COLUMNS: [Column; 9] = [
    Column { csv: "block_size_bytes", title: "block", kind: Kind::Count, about: "Payload of each write." },
    Column { csv: "queue_depth", title: "depth", kind: Kind::Count, about: "Requests kept outstanding." },
    Column { csv: "strategy", title: "strategy", kind: Kind::Text, about: "How the writer flushes." },
    Column { csv: "requests_per_s", title: "requests/s", kind: Kind::Middle(0), about: "Writes answered per second." },
    Column { csv: "mb_per_s", title: "MB/s", kind: Kind::Middle(1), about: "Payload, in 10^6 bytes per second." },
    Column {
        csv: "records_per_request",
        title: "records/req",
        kind: Kind::Middle(3),
        about: "TLS records sent for each write, counted on the wire.",
    },
    Column {
        csv: "sends_per_request",
        title: "sends/req",
        kind: Kind::Middle(3),
        about: "Sending system calls for each write.",
    },
    Column {
        csv: "cpu_s_per_gb",
        title: "CPU s/GB",
        kind: Kind::Middle(3),
        about: "CPU seconds of the client, user and system, for 10^9 bytes of payload.",
    },
    Column {
        csv: "immediate_ratio",
        title: "× immediate (min–max)",
        kind: Kind::Spread(2),
        about: "Requests per second over those of `immediate` in the same round.",
    },
];

const CHART: Chart = Chart {
    title: "NBD writes over TLS: requests per second, over those of one flush for each piece",
    panel: "{block_size_bytes} writes, depth {queue_depth}",
    series: "strategy",
    value: "immediate_ratio",
    leave_out: &[],
    highlight: &["more"],
};

const MEANING: &str = "\
× immediate: requests per second over those of `immediate` in the same round; median of six rounds
(lowest–highest: a 97 % interval of the median). ahead, behind: the whole range is on one side of 1.
level: it is within 3 % of 1. cannot tell: neither.";

struct Plan {
    rounds: usize,
    slice: Duration,
}

/// Runs the grid and prints it.
pub fn run(args: &GridArgs) -> Result<(), Failure> {
    let plan = if args.quick {
        Plan { rounds: 6, slice: Duration::from_millis(30) }
    } else {
        Plan { rounds: 6, slice: Duration::from_millis(330) }
    };
    args.out.prepare()?;
    let certs = TemporaryCertificates::new()?;
    let server =
        EmbeddedServer::start(&children::ourselves()?, Some(certs.path()), ExportKind::Null, EXPORT_SIZE, &[])?;
    let name = tls::SERVER_NAMES[0];
    let target = Target {
        endpoint: Endpoint::local(server.port),
        security: Security::Tls {
            config: tls::client_config(&certs.path().join(tls::CA_CERT), None)?,
            server_name: ServerName::try_from(name).map_err(|e| Failure::new("configure TLS", name, e))?,
        },
    };

    let groups = measure(&target, &plan)?;
    let report = report(&groups);
    if args.json {
        let slices: Vec<&Cell> = groups.iter().flatten().flatten().collect();
        report::print_json(&slices)?;
    } else {
        report.print()?;
        report::print(&format!("\n{MEANING}\n{}", verdict(&groups)))?;
    }
    report.save(&args.out, &CHART)
}

/// The slices of one block size and depth: for each strategy, one cell from each round.
type Group = Vec<Vec<Cell>>;

fn measure(target: &Target, plan: &Plan) -> Result<Vec<Group>, Failure> {
    let slices = CELLS.len() * plan.rounds * Strategy::ALL.len();
    let progress = report::progress(slices as u64);
    let mut groups = Vec::new();
    for (block_size, queue_depth) in CELLS {
        let load = Load { block_size, queue_depth, time: plan.slice, max_requests: u64::MAX, verify: false };
        let mut group: Group = vec![Vec::new(); Strategy::ALL.len()];
        for _ in 0..plan.rounds {
            for (strategy, cells) in Strategy::ALL.into_iter().zip(&mut group) {
                progress.set_message(format!("{strategy}, {block_size} B, depth {queue_depth}"));
                let (link, facts) = Link::open(target, strategy, CorkConfig::default())?;
                let measured = load::run(link, &facts, &load)?;
                cells.push(Cell::new(&strategy.to_string(), true, &load, &measured));
                progress.inc(1);
            }
        }
        groups.push(group);
    }
    progress.finish_and_clear();
    Ok(groups)
}

fn report(groups: &[Group]) -> Report {
    let mut report = Report::new("grid", &COLUMNS);
    for group in groups {
        let Some(immediate) = group.first() else {
            continue;
        };
        for row in group.iter().filter_map(|cells| row(cells, immediate)) {
            report.row(row);
        }
    }
    report
}

/// What the last column says of `more`, in words.
fn verdict(groups: &[Group]) -> String {
    let more = Strategy::More.to_string();
    let mut rows = Vec::new();
    for group in groups {
        for cells in group {
            let Some(cell) = cells.first().filter(|cell| cell.strategy == more) else { continue };
            let place = format!("{} at depth {}", report::size(cell.block_size.into()), cell.queue_depth);
            rows.push((Verdict::of(over(cells, &group[0]), Better::More), place));
        }
    }
    measure::judgement("Verdict, `more` against `immediate`", &rows)
}

/// Requests per second over those of `immediate` in the same round.
fn over(cells: &[Cell], immediate: &[Cell]) -> Option<Median> {
    Median::of(cells.iter().zip(immediate).map(|(cell, base)| cell.requests_per_s / base.requests_per_s))
}

fn row(cells: &[Cell], immediate: &[Cell]) -> Option<Vec<Value>> {
    let first = cells.first()?;
    let spread = |figure: fn(&Cell) -> f64| Value::spread(Median::of(cells.iter().map(figure)));
    Some(vec![
        Value::Count(first.block_size.into()),
        Value::Count(first.queue_depth.into()),
        Value::Text(first.strategy.clone()),
        spread(|c| c.requests_per_s),
        spread(|c| c.bytes_per_s / 1e6),
        spread(Cell::records_per_request),
        spread(Cell::sends_per_request),
        spread(Cell::cpu_s_per_gb),
        Value::spread(over(cells, immediate)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell for each of `rates`, which are requests per second.
    fn cells(strategy: Strategy, block_size: u32, rates: &[f64]) -> Vec<Cell> {
        let cell = |rate: &f64| Cell {
            strategy: strategy.to_string(),
            tls: true,
            block_size,
            queue_depth: 16,
            requests: 1,
            seconds: 1.0,
            requests_per_s: *rate,
            bytes_per_s: 0.0,
            records: 0,
            sends: 0,
            wire_bytes: 0,
            cpu_user_s: 0.0,
            cpu_sys_s: 0.0,
            server_cpu_s: None,
            verified: false,
        };
        rates.iter().map(cell).collect()
    }

    #[test]
    fn a_verdict_needs_a_range_that_excludes_one() {
        let group = |block_size, rates: &[f64]| {
            vec![
                cells(Strategy::Immediate, block_size, &[10.0, 20.0]),
                cells(Strategy::Vectored, block_size, &[50.0, 5.0]),
                cells(Strategy::More, block_size, rates),
            ]
        };
        let groups = [
            group(512, &[11.0, 40.0]),
            group(4096, &[11.0, 19.0]),
            group(32_768, &[10.2, 20.2]),
            group(65_536, &[9.0, 10.0]),
        ];
        assert_eq!(
            verdict(&groups),
            "Verdict, `more` against `immediate`: ahead (512 B at depth 16); level (32 KiB at depth 16); \
             behind (64 KiB at depth 16); cannot tell (4 KiB at depth 16)."
        );
    }
}
