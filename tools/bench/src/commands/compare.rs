//! `compare`: NBD writes to a real server, in alternating slices.
//!
//! [`crate::measure`] decides who writes when. A sitting has one process with all connections, two
//! for each row; the server is the same throughout. A slice ends when all its requests are
//! answered. fio cannot pause: each of its slices is a run of its own, of which it reports the
//! writing alone. CPU time is that of the client's process, and beside it that of the server's, which
//! serves one connection at a time. Counts of records and sends depend on
//! how many answers the server sends together; `peers` has exact ones.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fastrand::Rng;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tls_cork::CorkConfig;

use crate::client::cell::Cell;
use crate::client::link::{Link, Target};
use crate::client::load::{self, Load};
use crate::client::wire::{Security, Strategy};
use crate::measure::column::{figure, ratio, text, verdict};
use crate::measure::{self, Better, Figure, Pair, Plan, Sitting, Verdict, number, place};
use crate::shared::arguments::{block_size_parser, parse_seconds};
use crate::shared::endpoint::Endpoint;
use crate::shared::rivals::{self, Nbdkit};
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Attendant};
use tls_cork_programs::tls::{self, TemporaryCertificates};
use tls_cork_report::Chart;
use tls_cork_report::{self as report, Column, Kind, OutArgs, Report, Value};

const QUEUE_DEPTH: u32 = 16;
/// The block size at which fio takes part: small requests are what the flag is for.
const FIO_BLOCK_SIZE: u32 = 512;
const NBDKIT_PLUGIN: [&str; 2] = ["null", "4g"];
/// One slice, and how much of it is for warming up before.
const SLICE: Duration = Duration::from_millis(50);
const WARM_UP: Duration = Duration::from_millis(6);
/// fio needs longer: it counts its CPU time in percent.
const FIO_SLICE: Duration = Duration::from_millis(300);

/// Options of `compare`.
#[derive(Debug, Args)]
#[command(after_long_help = report::help_columns("compare", &COLUMNS))]
pub struct CompareArgs {
    /// A first look in under a minute.
    #[arg(long)]
    pub quick: bool,
    /// Half an hour instead of four minutes, for intervals within 3 %.
    #[arg(long, conflicts_with = "quick")]
    pub full: bool,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value = "240", default_value_ifs([("quick", "true", "45"), ("full", "true", "1740")]), value_parser = parse_seconds)]
    pub seconds: Duration,
    /// Payload of each write; may be given more than once.
    #[arg(long, value_name = "BYTES", default_values_t = [2 << 20, 64 << 10, 4096, 512], value_parser = block_size_parser())]
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
const COLUMNS: [Column; 15] = [
    Column { csv: "block_size_bytes", title: "block", kind: Kind::Count, about: "Payload of each write." },
    Column { csv: "queue_depth", title: "depth", kind: Kind::Count, about: "Requests kept outstanding." },
    text("contender", "contender", "Who writes, and how it flushes."),
    Column { csv: "pairs", title: "pairs", kind: Kind::Count, about: "Pairs of slices, one of them of `more`." },
    figure("records_per_request", "records", 3, "TLS records for each write."),
    figure("sends_per_request", "sends", 3, "Sending system calls for each write."),
    figure("cpu_us_per_request", "CPU µs", 2, "CPU µs of the client for each write, user and system."),
    ratio("cpu_ratio"),
    verdict("cpu_verdict", "CPU"),
    figure("server_cpu_us_per_request", "server µs", 2, "CPU µs of the server for each write."),
    ratio("server_cpu_ratio"),
    verdict("server_cpu_verdict", "server"),
    figure("requests_per_s", "requests/s", 0, "Writes answered per second."),
    ratio("speed_ratio"),
    verdict("speed_verdict", "speed"),
];

const CHART: Chart = Chart {
    title: "NBD writes to nbdkit: CPU µs of the client for each request (less is better)",
    panel: "{block_size_bytes} writes, depth 16",
    series: "contender",
    value: "cpu_us_per_request",
    leave_out: &["more --plaintext"],
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

/// In [`ClientArgs`], by name.
impl FromStr for Contender {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.strip_suffix(" --plaintext") {
            Some(strategy) => Strategy::from_str(strategy, false).map(Self::Plaintext),
            None => Strategy::from_str(name, false).map(Self::Tls),
        }
    }
}

/// What all others are compared with.
const OURS: Contender = Contender::Tls(Strategy::More);

/// A contender's figures at one block size, beside those of `more`.
#[derive(Debug, Serialize)]
struct Standing {
    contender: String,
    block_size: u32,
    pairs: usize,
    records_per_request: Option<f64>,
    sends_per_request: Option<f64>,
    cpu_us_per_request: Figure,
    server_cpu_us_per_request: Figure,
    requests_per_s: Figure,
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
    let rivals = [
        Contender::Tls(Strategy::Immediate),
        Contender::Tls(Strategy::Vectored),
        Contender::Tls(Strategy::FullCork),
        Contender::Fio,
        OURS,
        Contender::Plaintext(Strategy::More),
    ];
    // Two connections for each row: none is used more often than another.
    let seats: Vec<Contender> = rivals.iter().flat_map(|&rival| [OURS, rival]).collect();
    let mut rows = Vec::new();
    for &block_size in &args.block_size {
        for (row, &rival) in rivals.iter().enumerate() {
            if rival != Contender::Fio || (fio && block_size == FIO_BLOCK_SIZE) {
                rows.push(((2 * row, block_size), (2 * row + 1, block_size)));
            }
        }
    }
    let plan = Plan { budget: args.seconds, rounds: if args.full { 4 } else { 1 } };
    let pairs = measure::run(plan, &rows, &mut Rng::new(), |number| place.open(&seats, number))?;
    let contender = |row: usize| {
        let (_, (seat, _)) = rows[row];
        seats[seat]
    };
    let standings: Vec<Standing> =
        pairs.iter().enumerate().filter_map(|(row, pairs)| standing(contender(row), pairs)).collect();

    let report = report(&standings);
    let words = words(&standings);
    if args.json {
        report::print_json(&standings)?;
    } else {
        report.print()?;
        report::print(&format!("\n{words}"))?;
    }
    args.out.write("compare.md", format!("{}\n\n{words}", report.table()).as_bytes())?;
    report.save_drawing(&args.out, &drawing(&standings), &CHART)
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

    fn open(&self, seats: &[Contender], number: u32) -> Result<Clients<'_>, Failure> {
        let mut command = Command::new(&self.program);
        command.arg("compare-clients").arg("--ca").arg(self.dir.path().join(tls::CA_CERT));
        command.arg(format!("--with-tls={}", self.with_tls.port));
        command.arg(format!("--without-tls={}", self.without_tls.port)).arg(format!("--processor={number}"));
        command.args([&self.with_tls, &self.without_tls].map(|server| format!("--server={}", server.id())));
        let own = seats.iter().filter(|seat| **seat != Contender::Fio);
        command.args(own.map(|seat| format!("--seat={}", seat.name())));
        let mut process = Attendant::start(&mut command, "clients of compare")?;
        process.hear()?;
        Ok(Clients { place: self, process, seats: seats.to_vec() })
    }
}

struct Clients<'a> {
    place: &'a Surroundings,
    process: Attendant,
    seats: Vec<Contender>,
}

/// A slice of one of our own clients.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Job {
    seat: usize,
    block_size: u32,
    place: u64,
}

impl Sitting<(usize, u32)> for Clients<'_> {
    type Slice = Cell;

    fn slice(&mut self, &(seat, block_size): &(usize, u32)) -> Result<Cell, Failure> {
        if self.seats[seat] == Contender::Fio {
            let port = self.place.with_tls.port;
            return rivals::run_fio(self.place.dir.path(), port, block_size, QUEUE_DEPTH, FIO_SLICE);
        }
        // fio has no connection there.
        let seat = self.seats[..seat].iter().filter(|seat| **seat != Contender::Fio).count();
        let job = Job { seat, block_size, place: fastrand::u64(..) };
        self.process.tell(&serde_json::json!(job).to_string())?;
        let line = self.process.hear()?;
        serde_json::from_str(&line).map_err(|e| Failure::new("read report", "clients of compare", e))
    }

    fn end(self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Options of `compare-clients`.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// The contenders, each with a connection of its own.
    #[arg(long)]
    seat: Vec<Contender>,
    /// Where nbdkit listens.
    #[arg(long)]
    with_tls: u16,
    /// Where another nbdkit listens.
    #[arg(long)]
    without_tls: u16,
    /// Process ids of both.
    #[arg(long)]
    server: Vec<u32>,
    /// PEM file with the CA certificate.
    #[arg(long)]
    ca: PathBuf,
    /// Which processor to stay on.
    #[arg(long)]
    processor: u32,
}

/// Connects all contenders, prints a line, and writes as each line on standard input has it; prints a
/// cell for each.
///
/// # Errors
///
/// When a connection or a slice fails, or a line is no job.
pub fn serve(args: &ClientArgs) -> Result<(), Failure> {
    place::pin(args.processor);
    let name = tls::SERVER_NAMES[0];
    let server_name = ServerName::try_from(name).map_err(|e| Failure::new("configure TLS", name, e))?;
    let with_tls = Security::Tls { config: tls::client_config(&args.ca, None)?, server_name };
    let mut rng = Rng::new();
    let mut links = Vec::new();
    let mut kept = Vec::new();
    for &seat in &args.seat {
        let (strategy, port, security) = match seat {
            Contender::Plaintext(strategy) => (strategy, args.without_tls, Security::Plaintext),
            Contender::Tls(strategy) => (strategy, args.with_tls, with_tls.clone()),
            Contender::Fio => return Err(Failure::usage("--seat", "fio has a process of its own")),
        };
        kept.push(place::ballast(&mut rng));
        let target = Target { endpoint: Endpoint::local(port), security };
        links.push((seat, Link::open(&target, strategy, CorkConfig::default())?));
    }
    report::print("connected")?;
    for line in io::stdin().lock().lines() {
        let fail = |e: &dyn std::fmt::Display| Failure::new("read job", "standard input", e);
        let job: Job = serde_json::from_str(&line.map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
        let (seat, (link, facts)) = links.get_mut(job.seat).ok_or_else(|| fail(&"no such connection"))?;
        let _ballast = place::ballast(&mut Rng::with_seed(job.place));
        let load = |time| Load {
            block_size: job.block_size,
            queue_depth: QUEUE_DEPTH,
            time,
            max_requests: u64::MAX,
            verify: false,
        };
        load::slice(link, facts, &load(WARM_UP))?;
        let load = load(SLICE);
        let tls = matches!(seat, Contender::Tls(_));
        let server_cpu_ns = || args.server.get(usize::from(!tls)).and_then(|&id| place::process_cpu_ns(id));
        let before = server_cpu_ns();
        let measured = load::slice(link, facts, &load)?;
        let mut cell = Cell::new(&seat.name(), tls, &load, &measured);
        cell.server_cpu_s = server_cpu_ns().zip(before).map(|(after, before)| (after - before) as f64 / 1e9);
        report::print(&serde_json::json!(cell).to_string())?;
    }
    links.into_iter().try_for_each(|(_, (link, _))| load::finish(link))
}

fn cpu_us(cell: &Cell) -> f64 {
    (cell.cpu_user_s + cell.cpu_sys_s) * 1e6 / cell.requests as f64
}

fn server_cpu_us(cell: &Cell) -> Option<f64> {
    cell.server_cpu_s.map(|seconds| seconds * 1e6 / cell.requests as f64)
}

fn standing(contender: Contender, pairs: &[Pair<Cell>]) -> Option<Standing> {
    let middle = |figure: fn(&Cell) -> f64| measure::middle(pairs, |cell| Some(figure(cell)));
    let counts = contender != Contender::Fio;
    let records = matches!(contender, Contender::Tls(_));
    Some(Standing {
        contender: contender.name(),
        block_size: pairs.first()?.theirs.block_size,
        pairs: pairs.len(),
        records_per_request: middle(Cell::records_per_request).filter(|_| records),
        sends_per_request: middle(Cell::sends_per_request).filter(|_| counts),
        cpu_us_per_request: Figure::of(pairs, Better::Less, |cell| Some(cpu_us(cell))),
        server_cpu_us_per_request: Figure::of(pairs, Better::Less, server_cpu_us),
        requests_per_s: Figure::of(pairs, Better::More, |cell| Some(cell.requests_per_s)),
    })
}

fn report(standings: &[Standing]) -> Report {
    let mut report = Report::new("compare", &COLUMNS);
    for standing in standings {
        let mut row = vec![Value::Count(standing.block_size.into()), Value::Count(QUEUE_DEPTH.into())];
        row.extend([Value::Text(standing.contender.clone()), Value::Count(standing.pairs as u64)]);
        row.extend([standing.records_per_request, standing.sends_per_request].map(number));
        row.extend(standing.cpu_us_per_request.values());
        row.extend(standing.server_cpu_us_per_request.values());
        row.extend(standing.requests_per_s.values());
        report.row(row);
    }
    report
}

/// What the picture shows: CPU time, by the ratios within pairs.
fn drawing(standings: &[Standing]) -> Report {
    const DRAWN: [Column; 3] = [
        Column { csv: "block_size_bytes", title: "", kind: Kind::Count, about: "" },
        text("contender", "", ""),
        Column { csv: "cpu_us_per_request", title: "", kind: Kind::Middle(2), about: "" },
    ];
    let mut report = Report::new("compare", &DRAWN);
    for standing in standings {
        let is_ours = |s: &&Standing| s.block_size == standing.block_size && s.contender == OURS.name();
        let ours = standings.iter().find(is_ours).unwrap_or(standing);
        let bar = standing.cpu_us_per_request.beside(&ours.cpu_us_per_request);
        let (size, name) = (standing.block_size.into(), standing.contender.clone());
        report.row(vec![Value::Count(size), Value::Text(name), Value::spread(bar)]);
    }
    report
}

/// For each contender, at which block sizes `more` is ahead, and so on.
fn words(standings: &[Standing]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for standing in standings {
        if !names.contains(&standing.contender.as_str()) {
            names.push(&standing.contender);
        }
    }
    let mut text = String::new();
    for (what, word) in [
        ("CPU for each request", (|s: &Standing| s.cpu_us_per_request.verdict) as fn(&Standing) -> Verdict),
        ("CPU of the server for each request", |s| s.server_cpu_us_per_request.verdict),
        ("Requests per second", |s| s.requests_per_s.verdict),
    ] {
        for &name in &names {
            let rows: Vec<(Verdict, String)> = standings
                .iter()
                .filter(|standing| standing.contender == name)
                .map(|standing| (word(standing), report::size(standing.block_size.into())))
                .collect();
            let against = if name == OURS.name() { "a second connection of its own (A/A)" } else { name };
            text += &format!("- {}\n", measure::judgement(&format!("{what}, `more` against {against}"), &rows));
        }
    }
    text
}
