//! The main job: every strategy at several block sizes, against the embedded server.
//!
//! Machines drift: caches warm up, neighbours come and go. So each cell is a number of short
//! slices that alternate between the strategies, and what is compared is the median of the ratios
//! within a round.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use rustls::pki_types::ServerName;
use tls_cork::CorkConfig;

use crate::cell::Cell;
use crate::children::{self, EmbeddedServer};
use crate::endpoint::Endpoint;
use crate::engine::{self, Load};
use crate::failure::Failure;
use crate::link::{Link, Target};
use crate::median::Median;
use crate::nbd::server::ExportKind;
use crate::tls;
use crate::wire::{Security, Strategy};

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
}

struct Plan {
    rounds: usize,
    slice: Duration,
}

/// Runs the grid and prints it.
///
/// # Errors
///
/// When the embedded server does not start, or a slice fails.
pub fn run(args: &GridArgs) -> Result<(), Failure> {
    let plan = if args.quick {
        Plan { rounds: 3, slice: Duration::from_millis(60) }
    } else {
        Plan { rounds: 5, slice: Duration::from_millis(400) }
    };
    let certs = tempfile::tempdir().map_err(|e| Failure::new("create directory", std::env::temp_dir().display(), e))?;
    tls::make_certificates(certs.path())?;
    let server =
        EmbeddedServer::start(&children::ourselves()?, Some(certs.path()), ExportKind::Null, EXPORT_SIZE, &[])?;
    let name = tls::SERVER_NAMES[0];
    let target = Target {
        endpoint: Endpoint::local(server.port),
        security: Security::Tls {
            config: tls::client_config(&certs.path().join(tls::CA_CERT), None)?,
            server_name: ServerName::try_from(name).map_err(|e| Failure::new("configure TLS", name, e))?,
        },
        export: String::new(),
    };

    let groups = measure(&target, &plan)?;
    let text = if args.json {
        let slices: Vec<&Cell> = groups.iter().flatten().flatten().collect();
        serde_json::to_string_pretty(&slices).map_err(|e| Failure::new("print", "standard output", e))?
    } else {
        table(&groups)
    };
    writeln!(io::stdout(), "{text}").map_err(|e| Failure::new("print", "standard output", e))
}

/// The slices of one block size and depth: for each strategy, one cell from each round.
type Group = Vec<Vec<Cell>>;

fn measure(target: &Target, plan: &Plan) -> Result<Vec<Group>, Failure> {
    let slices = CELLS.len() * plan.rounds * Strategy::ALL.len();
    let progress = ProgressBar::new(slices as u64).with_style(progress_style());
    let mut groups = Vec::new();
    for (block_size, queue_depth) in CELLS {
        let load = Load { block_size, queue_depth, time: plan.slice, max_requests: u64::MAX, verify: false };
        let mut group: Group = vec![Vec::new(); Strategy::ALL.len()];
        for _ in 0..plan.rounds {
            for (strategy, cells) in Strategy::ALL.into_iter().zip(&mut group) {
                progress.set_message(format!("{strategy}, {block_size} B, depth {queue_depth}"));
                let (link, facts) = Link::open(target, strategy, CorkConfig::default())?;
                let measured = engine::run(link, &facts, &load)?;
                cells.push(Cell::new(&strategy.to_string(), true, &load, &measured));
                progress.inc(1);
            }
        }
        groups.push(group);
    }
    progress.finish_and_clear();
    Ok(groups)
}

fn progress_style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn table(groups: &[Group]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "block",
        "depth",
        "strategy",
        "requests/s",
        "MB/s",
        "records/req",
        "sends/req",
        "CPU s/GB",
        "× immediate (min–max)",
    ]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    for group in groups {
        let Some(immediate) = group.first() else {
            continue;
        };
        for cells in group {
            table.add_row(row(cells, immediate));
        }
    }
    table.to_string()
}

fn row(cells: &[Cell], immediate: &[Cell]) -> Vec<String> {
    let Some(first) = cells.first() else {
        return Vec::new();
    };
    let middle = |figure: fn(&Cell) -> f64| Median::of(cells.iter().map(figure)).map_or(f64::NAN, |m| m.median);
    let ratio = Median::of(cells.iter().zip(immediate).map(|(cell, base)| cell.requests_per_s / base.requests_per_s));
    vec![
        first.block_size.to_string(),
        first.queue_depth.to_string(),
        first.strategy.clone(),
        format!("{:.0}", middle(|c| c.requests_per_s)),
        format!("{:.1}", middle(|c| c.bytes_per_s / 1e6)),
        format!("{:.3}", middle(Cell::records_per_request)),
        format!("{:.3}", middle(Cell::sends_per_request)),
        format!("{:.3}", middle(Cell::cpu_s_per_gb)),
        ratio.map_or_else(String::new, |r| format!("{:.2} ({:.2}–{:.2})", r.median, r.min, r.max)),
    ]
}
