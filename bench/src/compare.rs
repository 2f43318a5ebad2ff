//! `compare`: repeated alternating runs against a real server.
//!
//! Runs on one machine spread widely, so strategies alternate within each run, each in a fresh
//! process, and what is reported is the median over the runs of the ratio within a run.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tempfile::TempDir;

use crate::cell::Cell;
use crate::children;
use crate::failure::Failure;
use crate::median::Median;
use crate::nbd_command::{block_size_parser, parse_seconds};
use crate::rivals::{self, Nbdkit};
use crate::tls;
use crate::wire::Strategy;

const QUEUE_DEPTH: u32 = 16;
/// The block size at which fio takes part: small requests are what the flag is for.
const FIO_BLOCK_SIZE: u32 = 512;
const NBDKIT_PLUGIN: [&str; 2] = ["null", "4g"];

/// Options of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// How often each strategy runs.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// How long each run writes.
    #[arg(long, value_name = "SECONDS", default_value = "1.5", value_parser = parse_seconds)]
    pub seconds: Duration,
    /// Payload of each write; may be given more than once.
    #[arg(long, value_name = "BYTES", default_values_t = [512], value_parser = block_size_parser())]
    pub block_size: Vec<u32>,
    /// Leave fio out even where it is installed.
    #[arg(long)]
    pub no_fio: bool,
    /// Print one JSON array instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Tls(Strategy),
    Plaintext(Strategy),
    Fio,
}

impl Contender {
    fn name(self) -> String {
        match self {
            Self::Tls(strategy) => strategy.to_string(),
            Self::Plaintext(strategy) => format!("{strategy} --plaintext"),
            Self::Fio => "fio".to_owned(),
        }
    }
}

/// What `more` is measured by, and `more` itself.
const OURS: Contender = Contender::Tls(Strategy::More);

/// A contender's figures over all runs of one block size.
#[derive(Debug, Serialize)]
struct Standing {
    contender: String,
    block_size: u32,
    queue_depth: u32,
    requests_per_s: Median,
    bytes_per_s: Median,
    cpu_s_per_gb: Median,
    /// Requests per second of `more` over this contender's.
    more_ratio: Median,
    /// CPU per gigabyte of `more` over this contender's.
    more_cpu_ratio: Median,
    cells: Vec<Cell>,
}

/// Runs the comparison and prints it.
///
/// # Errors
///
/// When nbdkit is missing or fails, or a run fails.
pub fn run(args: &CompareArgs) -> Result<(), Failure> {
    let place = Surroundings::set_up()?;
    let fio = !args.no_fio && rivals::is_installed("fio");
    let groups: Vec<(u32, Vec<Contender>)> =
        args.block_size.iter().map(|&size| (size, contenders(fio && size == FIO_BLOCK_SIZE))).collect();
    let total: usize = groups.iter().map(|(_, group)| group.len()).sum();
    let progress = ProgressBar::new((total * args.runs as usize) as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );

    let mut standings = Vec::new();
    for (block_size, contenders) in groups {
        let mut cells: Vec<Vec<Cell>> = vec![Vec::new(); contenders.len()];
        for _ in 0..args.runs {
            for (contender, cells) in contenders.iter().zip(&mut cells) {
                progress.set_message(format!("{}, {block_size} B", contender.name()));
                cells.push(place.run(*contender, block_size, args.seconds)?);
                progress.inc(1);
            }
        }
        standings.extend(compare(&contenders, cells));
    }
    progress.finish_and_clear();

    let text = if args.json {
        serde_json::to_string_pretty(&standings).map_err(|e| Failure::new("print", "standard output", e))?
    } else {
        table(&standings)
    };
    writeln!(io::stdout(), "{text}").map_err(|e| Failure::new("print", "standard output", e))
}

fn contenders(fio: bool) -> Vec<Contender> {
    let mut all = vec![
        Contender::Tls(Strategy::Immediate),
        Contender::Tls(Strategy::Vectored),
        Contender::Tls(Strategy::FullCork),
        OURS,
        Contender::Plaintext(Strategy::More),
    ];
    if fio {
        all.push(Contender::Fio);
    }
    all
}

/// Servers, certificates, and a home for fio; all of it ends with this.
struct Surroundings {
    with_tls: Nbdkit,
    without_tls: Nbdkit,
    program: PathBuf,
    dir: TempDir,
}

impl Surroundings {
    fn set_up() -> Result<Self, Failure> {
        let dir =
            tempfile::tempdir().map_err(|e| Failure::new("create directory", std::env::temp_dir().display(), e))?;
        tls::make_certificates(dir.path())?;
        let trusted = dir.path().join(".pki/libnbd");
        fs::create_dir_all(&trusted)
            .and_then(|()| fs::copy(dir.path().join(tls::CA_CERT), trusted.join(tls::CA_CERT)))
            .map_err(|e| Failure::new("write certificates", trusted.display(), e))?;
        Ok(Self {
            with_tls: Nbdkit::start(Some(dir.path()), &NBDKIT_PLUGIN)?,
            without_tls: Nbdkit::start(None, &NBDKIT_PLUGIN)?,
            program: children::ourselves()?,
            dir,
        })
    }

    fn home(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, contender: Contender, block_size: u32, time: Duration) -> Result<Cell, Failure> {
        let mut command = Command::new(&self.program);
        command.args(["nbd", "--json"]);
        let strategy = match contender {
            Contender::Fio => {
                let port = self.with_tls.port;
                return rivals::run_fio(self.home(), port, block_size, QUEUE_DEPTH, time);
            }
            Contender::Tls(strategy) => {
                command
                    .args(["--server-name", tls::SERVER_NAMES[0]])
                    .arg(format!("--connect=127.0.0.1:{}", self.with_tls.port))
                    .arg("--ca")
                    .arg(self.home().join(tls::CA_CERT));
                strategy
            }
            Contender::Plaintext(strategy) => {
                command.arg("--plaintext").arg(format!("--connect=127.0.0.1:{}", self.without_tls.port));
                strategy
            }
        };
        command
            .arg(format!("--strategy={strategy}"))
            .arg(format!("--block-size={block_size}"))
            .arg(format!("--queue-depth={QUEUE_DEPTH}"))
            .arg(format!("--seconds={}", time.as_secs_f64()));
        let name = format!("tls-cork-bench nbd --strategy {strategy}");
        let finished = children::run(&mut command, &name, time + Duration::from_secs(60))?;
        serde_json::from_slice(&finished.stdout).map_err(|e| Failure::new("read report", name, e))
    }
}

fn compare(contenders: &[Contender], cells: Vec<Vec<Cell>>) -> Vec<Standing> {
    let ours =
        contenders.iter().position(|&contender| contender == OURS).map_or_else(Vec::new, |index| cells[index].clone());
    contenders.iter().zip(cells).filter_map(|(contender, cells)| standing(*contender, cells, &ours)).collect()
}

fn standing(contender: Contender, cells: Vec<Cell>, ours: &[Cell]) -> Option<Standing> {
    let middle = |figure: fn(&Cell) -> f64| Median::of(cells.iter().map(figure));
    let ratio =
        |figure: fn(&Cell) -> f64| Median::of(ours.iter().zip(&cells).map(|(our, cell)| figure(our) / figure(cell)));
    Some(Standing {
        contender: contender.name(),
        block_size: cells.first()?.block_size,
        queue_depth: cells.first()?.queue_depth,
        requests_per_s: middle(|c| c.requests_per_s)?,
        bytes_per_s: middle(|c| c.bytes_per_s)?,
        cpu_s_per_gb: middle(Cell::cpu_s_per_gb)?,
        more_ratio: ratio(|c| c.requests_per_s)?,
        more_cpu_ratio: ratio(Cell::cpu_s_per_gb)?,
        cells,
    })
}

fn table(standings: &[Standing]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "block",
        "depth",
        "contender",
        "requests/s",
        "MB/s",
        "CPU s/GB",
        "more ÷ this (min–max)",
        "CPU/GB: more ÷ this (min–max)",
    ]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    let spread = |m: &Median| format!("{:.2} ({:.2}–{:.2})", m.median, m.min, m.max);
    for standing in standings {
        table.add_row([
            standing.block_size.to_string(),
            standing.queue_depth.to_string(),
            standing.contender.clone(),
            format!("{:.0}", standing.requests_per_s.median),
            format!("{:.1}", standing.bytes_per_s.median / 1e6),
            format!("{:.3}", standing.cpu_s_per_gb.median),
            spread(&standing.more_ratio),
            spread(&standing.more_cpu_ratio),
        ]);
    }
    table.to_string()
}
