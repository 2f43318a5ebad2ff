//! `compare`: NBD writes to a real server, in alternating slices.
//!
//! [`crate::measure`] decides who writes when. A sitting has one process with all connections, two
//! for each row; the server is the same throughout. A slice ends when all its requests are
//! answered. fio cannot pause: each of its slices is a run of its own, of which it reports the
//! writing alone. CPU time is that of the client's process, and beside it that of the server's, which
//! serves one connection at a time. Counts of records and sends depend on how many answers
//! the server sends together; `peers` has exact ones. `--gnutls` has other clients: the C program over
//! GnuTLS, and qemu-img.

mod gnutls;
mod table;

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

use self::table::{COLUMNS, QUEUE_DEPTH, Standing};
use crate::client::cell::Cell;
use crate::client::link::{Link, Target};
use crate::client::load::{self, Load};
use crate::client::wire::{Security, Strategy};
use crate::measure::column::text;
use crate::measure::{self, Plan, Sitting, Until, place};
use crate::shared::arguments::{block_size_parser, parse_seconds};
use crate::shared::endpoint::Endpoint;
use crate::shared::rivals::{self, Nbdkit};
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Attendant};
use tls_cork_programs::tls::{self, TemporaryCertificates};
use tls_cork_report::Chart;
use tls_cork_report::{self as report, Column, Kind, OutArgs, Report, Value};

/// The block size at which fio takes part: small requests are what the flag is for.
const FIO_BLOCK_SIZE: u32 = 512;
const NBDKIT_PLUGIN: [&str; 2] = ["null", "4g"];
/// One slice, and how much of it is for warming up before.
const SLICE: Duration = Duration::from_millis(50);
const WARM_UP: Duration = Duration::from_millis(6);

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
    /// Compare the four modes of this program instead: driver-c/examples/nbd_writer, compiled.
    #[arg(long, value_name = "PROGRAM")]
    pub gnutls: Option<PathBuf>,
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

/// Runs the comparison and prints it.
///
/// # Errors
///
/// When nbdkit is missing or fails, or a run fails.
pub fn run(args: &CompareArgs) -> Result<(), Failure> {
    args.out.prepare()?;
    let fio = !args.no_fio && rivals::is_installed("fio");
    let plan = Plan { until: Until::Time(args.seconds), rounds: if args.full { 4 } else { 1 } };
    let (command, ours, standings) = match &args.gnutls {
        Some(writer) => ("compare-gnutls", gnutls::OURS, gnutls::measure(plan, &args.block_size, writer, fio)?),
        None => ("compare", "more", over_rustls(plan, &args.block_size, fio)?),
    };
    let report = table::report(command, &standings);
    let words = table::words(ours, &standings);
    if args.json {
        report::print_json(&standings)?;
    } else {
        report.print()?;
        report::print(&format!("\n{words}"))?;
    }
    args.out.write(&format!("{command}.md"), format!("{}\n\n{words}", report.table()).as_bytes())?;
    if args.gnutls.is_some() {
        return args.out.write("compare-gnutls.csv", &report.csv()?);
    }
    report.save_drawing(&args.out, &drawing(&standings), &CHART)
}

/// Our own clients, and fio.
fn over_rustls(plan: Plan, block_sizes: &[u32], fio: bool) -> Result<Vec<Standing>, Failure> {
    let place = Surroundings::set_up()?;
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
    for &block_size in block_sizes {
        for (row, &rival) in rivals.iter().enumerate() {
            if rival != Contender::Fio || (fio && block_size == FIO_BLOCK_SIZE) {
                rows.push(((2 * row, block_size), (2 * row + 1, block_size)));
            }
        }
    }
    let pairs = measure::run(plan, &rows, &mut Rng::new(), |number| place.open(&seats, number))?;
    let contender = |row: usize| {
        let (_, (seat, _)) = rows[row];
        seats[seat]
    };
    let standing = |(row, pairs): (usize, &Vec<_>)| {
        let contender = contender(row);
        let counts = [matches!(contender, Contender::Tls(_)), contender != Contender::Fio];
        Standing::new(contender.name(), contender == OURS, counts, pairs)
    };
    Ok(pairs.iter().enumerate().filter_map(standing).collect())
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
            return rivals::run_fio(self.place.dir.path(), &rivals::uri(port), block_size, QUEUE_DEPTH);
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

/// What the picture shows: CPU time, by the ratios within pairs.
fn drawing(standings: &[Standing]) -> Report {
    const DRAWN: [Column; 3] = [
        Column { csv: "block_size_bytes", title: "", kind: Kind::Count, about: "" },
        text("contender", "", ""),
        Column { csv: "cpu_us_per_request", title: "", kind: Kind::Middle(2), about: "" },
    ];
    let mut report = Report::new("compare", &DRAWN);
    for standing in standings {
        let is_ours = |s: &&Standing| s.block_size == standing.block_size && s.is_ours;
        let ours = standings.iter().find(is_ours).unwrap_or(standing);
        let bar = standing.cpu_us_per_request.beside(&ours.cpu_us_per_request);
        let (size, name) = (standing.block_size.into(), standing.contender.clone());
        report.row(vec![Value::Count(size), Value::Text(name), Value::spread(bar)]);
    }
    report
}
