//! `real`: beside programs that no one here wrote, on one nbdkit over TLS, in one run.

use clap::Args;
use serde::Serialize;

use crate::shared::rivals::{self, Nbdkit};
use tls_cork_programs::Failure;
use tls_cork_report::Chart;
use tls_cork_report::Median;
use tls_cork_report::{self as report, Column, Kind, OutArgs, Report, Value};

mod programs;
pub mod relay;
pub mod strace;

use programs::{Clock, Program, Run, Workshop};
use relay::Relay;

/// What qemu-img writes at a time.
const COPY_BLOCK: u32 = 2 << 20;
/// Discards what is written, so that the clients are what is measured.
const NBDKIT_PLUGIN: [&str; 2] = ["null", "4g"];

/// Options of `real`.
#[derive(Debug, Args)]
#[command(after_long_help = report::help_columns("real", &COLUMNS))]
pub struct RealArgs {
    /// An eighth of the requests and 2 runs, for a first look.
    #[arg(long)]
    pub quick: bool,
    /// How often each program runs, in turn with the others.
    #[arg(long, default_value_t = 7, default_value_if("quick", "true", "2"), value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

/// The columns of `real.csv`, and of the table.
const COLUMNS: [Column; 14] = [
    Column { csv: "block_size_bytes", title: "block", kind: Kind::Count, about: "Payload of each write." },
    Column { csv: "queue_depth", title: "depth", kind: Kind::Count, about: "Requests kept outstanding." },
    Column { csv: "requests", title: "", kind: Kind::Count, about: "Writes in each timed run." },
    Column {
        csv: "program",
        title: "program",
        kind: Kind::Text,
        about: "Who writes. qemu-img and nbdcopy, and at 2 MiB ours as well, read what they write from a file that is in the page \
                cache; qemu-io reads a line of text for each write; otherwise the same buffer is written again and again.",
    },
    Column {
        csv: "clock",
        title: "clock",
        kind: Kind::Text,
        about: "own: time and CPU from the first request to the last reply, as the program reports them. \
                process: of the whole process, connecting and TLS handshake included.",
    },
    Column { csv: "requests_per_s", title: "requests/s", kind: Kind::Middle(0), about: "Writes per second." },
    Column { csv: "mb_per_s", title: "MB/s", kind: Kind::Middle(1), about: "Payload, in 10^6 bytes per second." },
    Column {
        csv: "cpu_s_per_gb",
        title: "CPU s/GB",
        kind: Kind::Middle(3),
        about: "CPU seconds of the client, user and system, for 10^9 bytes of payload.",
    },
    Column {
        csv: "records_per_request",
        title: "records/req",
        kind: Kind::Number(3),
        about: "TLS records that the client sent, counted by a relay on the wire, for each request.",
    },
    Column {
        csv: "sends_per_request",
        title: "sends/req",
        kind: Kind::Number(3),
        about: "System calls that sent, counted by strace, for each request.",
    },
    Column {
        csv: "setsockopt_per_request",
        title: "setsockopt/req",
        kind: Kind::Number(3),
        about: "System calls that set an option of a socket, counted by strace, for each request.",
    },
    Column {
        csv: "wire_bytes_per_request",
        title: "wire B/req",
        kind: Kind::Number(0),
        about: "Bytes that the client sent over TLS, counted by the relay, for each request.",
    },
    Column {
        csv: "more_ratio",
        title: "tls-cork ÷ this (min–max)",
        kind: Kind::Spread(2),
        about: "Requests per second of tls-cork (more) over this program's in the same run, by the same clock.",
    },
    Column {
        csv: "more_cpu_ratio",
        title: "CPU: tls-cork ÷ this (min–max)",
        kind: Kind::Spread(2),
        about: "CPU seconds of tls-cork (more) over this program's in the same run, by the same clock.",
    },
];

const CHART: Chart = Chart {
    title: "NBD writes over TLS to nbdkit: requests per second (more is better)",
    panel: "{block_size_bytes} B writes, depth {queue_depth}",
    series: "program",
    value: "requests_per_s",
    leave_out: &[],
    highlight: &[Program::OURS.name()],
};

/// What every program is to do: the same number of sequential writes of the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    block_size: u32,
    queue_depth: u32,
    /// When timed.
    requests: u64,
    /// When counted: the difference of two runs has neither handshake nor farewell in it.
    counted: (u64, u64),
}

impl Job {
    /// The one in which a file is copied, by all that can.
    fn is_copy(&self) -> bool {
        self.block_size == COPY_BLOCK
    }
}

const JOBS: [Job; 5] = [
    Job { block_size: 512, queue_depth: 1, requests: 8_000, counted: (100, 600) },
    Job { block_size: 512, queue_depth: 16, requests: 40_000, counted: (200, 1200) },
    Job { block_size: 4096, queue_depth: 16, requests: 20_000, counted: (200, 1200) },
    Job { block_size: 65_536, queue_depth: 16, requests: 4_096, counted: (50, 250) },
    Job { block_size: COPY_BLOCK, queue_depth: 16, requests: 512, counted: (8, 24) },
];

/// What one request costs on the way to the kernel and on the wire.
#[derive(Debug, Clone, Copy, Serialize)]
struct PerRequest {
    records: f64,
    sends: f64,
    setsockopt: f64,
    wire_bytes: f64,
}

/// One program's figures in one job.
#[derive(Debug, Serialize)]
struct Standing {
    block_size: u32,
    queue_depth: u32,
    requests: u64,
    program: &'static str,
    clock: &'static str,
    requests_per_s: Option<Median>,
    mb_per_s: Option<Median>,
    cpu_s_per_gb: Option<Median>,
    per_request: PerRequest,
    more_ratio: Option<Median>,
    more_cpu_ratio: Option<Median>,
}

/// Runs every program in every job that it can do, and prints how they did.
///
/// # Errors
///
/// When a program is missing or fails.
pub fn run(args: &RealArgs) -> Result<(), Failure> {
    args.out.prepare()?;
    Program::require_all()?;
    let home = rivals::home()?;
    let server = Nbdkit::start(Some(home.path()), &NBDKIT_PLUGIN)?;
    let workshop = Workshop::new(home.path())?;
    let jobs = JOBS.map(|job| Job { requests: if args.quick { job.requests / 8 } else { job.requests }, ..job });
    let in_job = |job: &Job| Program::ALL.into_iter().filter(|p| p.can_do(job)).count() as u64;
    let progress = report::progress(jobs.iter().map(|job| in_job(job) * u64::from(args.runs + 2)).sum());

    let mut standings = Vec::new();
    for job in &jobs {
        let programs: Vec<Program> = Program::ALL.into_iter().filter(|p| p.can_do(job)).collect();
        let name = |program: &Program| format!("{}, {} B", program.name(), job.block_size);
        let mut counts = Vec::new();
        for program in &programs {
            progress.set_message(format!("counting: {}", name(program)));
            counts.push(per_request(&workshop, *program, job, server.port)?);
            workshop.prepare(*program, job, job.requests)?;
            progress.inc(2);
        }
        let mut runs: Vec<Vec<Run>> = vec![Vec::new(); programs.len()];
        for _ in 0..args.runs {
            for (program, runs) in programs.iter().zip(&mut runs) {
                progress.set_message(name(program));
                runs.push(workshop.time(*program, job, server.port)?);
                progress.inc(1);
            }
        }
        standings.extend(stand(job, &programs, &counts, &runs));
    }
    progress.finish_and_clear();

    let report = tabulate(&standings);
    if args.json {
        report::print_json(&standings)?;
    } else {
        report.print()?;
    }
    report.save(&args.out, &CHART)
}

/// Two runs, one with more requests than the other: the difference is what the requests took.
fn per_request(workshop: &Workshop<'_>, program: Program, job: &Job, port: u16) -> Result<PerRequest, Failure> {
    let count = |requests| {
        let fail = |e| Failure::new("relay", program.name(), e);
        workshop.prepare(program, job, requests)?;
        let relay = Relay::start(port).map_err(fail)?;
        let calls = workshop.count(program, job, requests, relay.port)?;
        Ok((calls, relay.finish().map_err(fail)?))
    };
    let (few, many) = (count(job.counted.0)?, count(job.counted.1)?);
    let requests = (job.counted.1 - job.counted.0) as f64;
    let each = |few: u64, many: u64| (many as f64 - few as f64) / requests;
    Ok(PerRequest {
        records: each(few.1.records, many.1.records),
        sends: each(few.0.sends, many.0.sends),
        setsockopt: each(few.0.options, many.0.options),
        wire_bytes: each(few.1.bytes, many.1.bytes),
    })
}

fn stand(job: &Job, programs: &[Program], counts: &[PerRequest], runs: &[Vec<Run>]) -> Vec<Standing> {
    let ours = programs.iter().position(|&program| program == Program::OURS).map_or(&[][..], |index| &runs[index]);
    let requests = job.requests as f64;
    let gigabytes = requests * f64::from(job.block_size) / 1e9;
    let standing = |((program, per_request), runs): ((&Program, &PerRequest), &Vec<Run>)| {
        let clock = program.clock();
        let took = || runs.iter().map(|run| run.took(clock));
        let pairs = || ours.iter().map(|run| run.took(clock)).zip(took());
        Standing {
            block_size: job.block_size,
            queue_depth: job.queue_depth,
            requests: job.requests,
            program: program.name(),
            clock: match clock {
                Clock::Own => "own",
                Clock::Process => "process",
            },
            requests_per_s: Median::of(took().map(|t| requests / t.seconds)),
            mb_per_s: Median::of(took().map(|t| gigabytes * 1e3 / t.seconds)),
            cpu_s_per_gb: Median::of(took().map(|t| t.cpu_s / gigabytes)),
            per_request: *per_request,
            more_ratio: Median::of(pairs().map(|(our, their)| their.seconds / our.seconds)),
            more_cpu_ratio: Median::of(pairs().map(|(our, their)| our.cpu_s / their.cpu_s)),
        }
    };
    programs.iter().zip(counts).zip(runs).map(standing).collect()
}

fn tabulate(standings: &[Standing]) -> Report {
    let mut report = Report::new("real", &COLUMNS);
    for standing in standings {
        report.row(vec![
            Value::Count(standing.block_size.into()),
            Value::Count(standing.queue_depth.into()),
            Value::Count(standing.requests),
            Value::Text(standing.program.to_owned()),
            Value::Text(standing.clock.to_owned()),
            Value::spread(standing.requests_per_s),
            Value::spread(standing.mb_per_s),
            Value::spread(standing.cpu_s_per_gb),
            Value::Number(standing.per_request.records),
            Value::Number(standing.per_request.sends),
            Value::Number(standing.per_request.setsockopt),
            Value::Number(standing.per_request.wire_bytes),
            Value::spread(standing.more_ratio),
            Value::spread(standing.more_cpu_ratio),
        ]);
    }
    report
}
