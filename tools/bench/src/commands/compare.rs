//! `compare`: repeated alternating runs against a real server.
//!
//! Runs on one machine spread widely, so strategies alternate within each run, each in a fresh
//! process, and what is reported is the median over the runs of the ratio within a run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tls_cork_programs::Failure;
use tls_cork_programs::children;
use tls_cork_programs::tls::{self, TemporaryCertificates};
use tls_cork_report::Chart;
use tls_cork_report::Median;
use tls_cork_report::{self as report, Column, Kind, OutArgs, Report, Value};

use crate::client::cell::Cell;
use crate::client::wire::Strategy;
use crate::shared::arguments::{block_size_parser, parse_seconds};
use crate::shared::rivals::{self, Nbdkit};

const QUEUE_DEPTH: u32 = 16;
/// The block size at which fio takes part: small requests are what the flag is for.
const FIO_BLOCK_SIZE: u32 = 512;
const NBDKIT_PLUGIN: [&str; 2] = ["null", "4g"];

/// Options of `compare`.
#[derive(Debug, Args)]
#[command(after_long_help = report::help_columns("compare", &COLUMNS))]
pub struct CompareArgs {
    /// Fewer and shorter runs, for a first look: 3 of 0.3 s, where nothing else is asked for.
    #[arg(long)]
    pub quick: bool,
    /// How often each strategy runs.
    #[arg(long, default_value_t = 7, default_value_if("quick", "true", "3"), value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// How long each run writes.
    #[arg(long, value_name = "SECONDS", default_value = "1.5", default_value_if("quick", "true", "0.3"), value_parser = parse_seconds)]
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
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

/// The columns of `compare.csv`, and of the table.
const COLUMNS: [Column; 8] = [
    Column { csv: "block_size_bytes", title: "block", kind: Kind::Count, about: "Payload of each write." },
    Column { csv: "queue_depth", title: "depth", kind: Kind::Count, about: "Requests kept outstanding." },
    Column { csv: "contender", title: "contender", kind: Kind::Text, about: "Who writes, and how it flushes." },
    Column { csv: "requests_per_s", title: "requests/s", kind: Kind::Middle(0), about: "Writes answered per second." },
    Column { csv: "mb_per_s", title: "MB/s", kind: Kind::Middle(1), about: "Payload, in 10^6 bytes per second." },
    Column {
        csv: "cpu_s_per_gb",
        title: "CPU s/GB",
        kind: Kind::Middle(3),
        about: "CPU seconds of the client, user and system, for 10^9 bytes of payload.",
    },
    Column {
        csv: "more_ratio",
        title: "more ÷ this (min–max)",
        kind: Kind::Spread(2),
        about: "Requests per second of `more` over this contender's in the same run.",
    },
    Column {
        csv: "more_cpu_ratio",
        title: "CPU/GB: more ÷ this (min–max)",
        kind: Kind::Spread(2),
        about: "CPU for each gigabyte of `more` over this contender's in the same run.",
    },
];

const CHART: Chart = Chart {
    title: "NBD writes to nbdkit: requests per second",
    panel: "{block_size_bytes} writes, depth {queue_depth}",
    series: "contender",
    value: "requests_per_s",
    leave_out: &[],
    highlight: &["more"],
};

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
    args.out.prepare()?;
    let place = Surroundings::set_up()?;
    let fio = !args.no_fio && rivals::is_installed("fio");
    let groups: Vec<(u32, Vec<Contender>)> =
        args.block_size.iter().map(|&size| (size, contenders(fio && size == FIO_BLOCK_SIZE))).collect();
    let total: usize = groups.iter().map(|(_, group)| group.len()).sum();
    let progress = report::progress((total * args.runs as usize) as u64);

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

    let report = report(&standings);
    if args.json {
        report::print_json(&standings)?;
    } else {
        report.print()?;
    }
    report.save(&args.out, &CHART)
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
    dir: TemporaryCertificates,
}

impl Surroundings {
    fn set_up() -> Result<Self, Failure> {
        let dir = rivals::home()?;
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

fn report(standings: &[Standing]) -> Report {
    let mut report = Report::new("compare", &COLUMNS);
    for standing in standings {
        let megabytes = Median {
            median: standing.bytes_per_s.median / 1e6,
            min: standing.bytes_per_s.min / 1e6,
            max: standing.bytes_per_s.max / 1e6,
        };
        report.row(vec![
            Value::Count(standing.block_size.into()),
            Value::Count(standing.queue_depth.into()),
            Value::Text(standing.contender.clone()),
            Value::Spread(standing.requests_per_s),
            Value::Spread(megabytes),
            Value::Spread(standing.cpu_s_per_gb),
            Value::Spread(standing.more_ratio),
            Value::Spread(standing.more_cpu_ratio),
        ]);
    }
    report
}
