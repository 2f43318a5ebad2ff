//! `h2load`: one hyper server on tls-cork and on tokio-rustls, under h2load of nghttp2.
//!
//! [`crate::measure`] decides who serves when. Each slice is a run of h2load with connections of
//! its own, on the processor that the server is not on. Handshakes and the first eighth of the
//! requests do not count. Records and sends are counted in slices of their own.

use std::process::Command;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;

use crate::measure::column::{figure, ratio, text, verdict};
use crate::measure::{self, Better, Figure, Pair, Plan, Sitting, Until, number, place};
use crate::shared::arguments::parse_seconds;
use crate::shared::rivals;
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Attendant};
use tls_cork_programs::tls::TemporaryCertificates;
use tls_cork_report::{self as report, Column, Kind, Median, Report, Value};

pub mod server;

use server::{Counts, OURS, OURS_COUNTED, THEIRS, THEIRS_COUNTED};

/// No slice takes longer, on a machine that does other things too.
const SLICE_LIMIT: Duration = Duration::from_secs(60);
/// The counts of records and sends are medians of so many slices.
const COUNTED: usize = 5;

/// Options of `h2load`.
#[derive(Debug, Args)]
#[command(after_long_help = report::help_columns("h2load", &COLUMNS))]
pub struct H2loadArgs {
    /// How long to measure CPU time.
    #[arg(long, value_name = "SECONDS", default_value = "180", value_parser = parse_seconds)]
    seconds: Duration,
}

const COLUMNS: [Column; 9] = [
    Column { csv: "body_bytes", title: "body", kind: Kind::Count, about: "Length of the body of each response." },
    text("http", "HTTP", "The version; `both` has the pairs of both."),
    text("stack", "stack", "What the server is on; A/A: tls-cork once more."),
    figure("records_per_response", "records", 2, "TLS records for each response."),
    figure("sends_per_response", "sends", 2, "Sends for each response, without those that found no room."),
    figure("cpu_us_per_request", "CPU µs", 2, "CPU µs of the server for each request, user and system."),
    ratio("cpu_ratio"),
    verdict("cpu_verdict", "CPU"),
    Column { csv: "pairs", title: "pairs", kind: Kind::Count, about: "Pairs of slices, one of them of tls-cork." },
];

/// What h2load asks for.
#[derive(Debug, Clone, Copy)]
struct Load {
    body: u32,
    requests: u64,
    http2: bool,
}

/// Slices of 50 to 150 ms; by body, both versions.
const LOADS: [[Load; 2]; 3] = [loads(100, 4000), loads(16 << 10, 2400), loads(1 << 20, 240)];

const fn loads(body: u32, requests: u64) -> [Load; 2] {
    [Load { body, requests, http2: false }, Load { body, requests, http2: true }]
}

/// Runs the comparison and prints it.
///
/// # Errors
///
/// When h2load is missing, or a request fails.
pub fn run(args: &H2loadArgs) -> Result<(), Failure> {
    rivals::require("h2load", "nghttp2-client")?;
    let certificates = TemporaryCertificates::new()?;
    let open = |number| Server::start(&certificates, number);
    let rivals = [(THEIRS, THEIRS_COUNTED, "tokio-rustls"), (OURS, OURS_COUNTED, "tls-cork (A/A)")];
    let rows: Vec<_> =
        LOADS.as_flattened().iter().flat_map(|&load| rivals.map(|(rival, ..)| ((load, OURS), (load, rival)))).collect();
    let plan = Plan { until: Until::Time(args.seconds), rounds: 1 };
    let mut pairs = measure::run(plan, &rows, &mut Rng::new(), open)?.into_iter();

    let mut report = Report::new("h2load", &COLUMNS);
    let mut row = |body: u32, http: &str, stack: &str, counts: [Option<f64>; 2], pairs: &[Pair<f64>]| {
        let mut values = vec![Value::Count(body.into()), Value::Text(http.to_owned()), Value::Text(stack.to_owned())];
        values.extend(counts.map(number));
        values.extend(Figure::of(pairs, Better::Less, |&cpu_us| Some(cpu_us)).values());
        values.push(Value::Count(pairs.len() as u64));
        report.row(values);
    };
    let mut counting = open(0)?;
    for loads in LOADS {
        let mut pools = rivals.map(|_| Vec::new());
        for load in loads {
            for (pool, (_, counted, stack)) in pools.iter_mut().zip(rivals) {
                let counts: Result<Vec<Counts>, _> = (0..COUNTED).map(|_| counting.serve(load, counted)).collect();
                let counts = counts?;
                let middle = |i: usize| {
                    Median::of(counts.iter().map(|counts| counts[i] as f64 / load.requests as f64)).map(|m| m.median)
                };
                let pairs = pairs.next().unwrap_or_default();
                row(load.body, if load.http2 { "2" } else { "1.1" }, stack, [middle(1), middle(2)], &pairs);
                pool.extend(pairs);
            }
        }
        for (mut pool, (.., stack)) in pools.into_iter().zip(rivals) {
            // Pairs of one sitting belong together.
            pool.sort_by_key(|pair| pair.sitting);
            row(loads[0].body, "both", stack, [None; 2], &pool);
        }
    }
    report.print()
}

/// A server of one sitting.
struct Server {
    process: Attendant,
    ports: Vec<u16>,
    number: u32,
}

impl Server {
    fn start(certificates: &TemporaryCertificates, number: u32) -> Result<Self, Failure> {
        let mut command = Command::new(children::ourselves()?);
        command.arg("h2load-serve").arg("--certs").arg(certificates.path()).arg(format!("--processor={number}"));
        let mut process = Attendant::start(&mut command, "server of h2load")?;
        let ports = process.hear()?;
        let ports = serde_json::from_str(&ports).map_err(|e| Failure::new("read ports", "server of h2load", e))?;
        Ok(Self { process, ports, number })
    }

    /// What a run of h2load costs.
    fn serve(&mut self, load: Load, port: usize) -> Result<Counts, Failure> {
        self.process.tell(&format!("[{}, {}]", load.requests / 8, load.requests))?;
        self.process.hear()?;
        let mut command = Command::new("h2load");
        command.arg(format!("--requests={}", load.requests));
        command.args(if load.http2 { ["--clients=4", "-m8"] } else { ["--clients=8", "--h1"] });
        command.arg(format!("https://127.0.0.1:{}/{}", self.ports[port], load.body));
        let finished = place::on(self.number + 1, || children::run(&mut command, "h2load", SLICE_LIMIT))?;
        let said = String::from_utf8_lossy(&finished.stdout);
        if !said.contains(&format!(" {} succeeded, 0 failed", load.requests)) {
            return Err(Failure::new("load server", "h2load", said));
        }
        self.process.tell("")?;
        let line = self.process.hear()?;
        serde_json::from_str(&line).map_err(|e| Failure::new("read counts", "server of h2load", e))
    }
}

impl Sitting<(Load, usize)> for Server {
    /// CPU µs for each request.
    type Slice = f64;

    fn slice(&mut self, &(load, port): &(Load, usize)) -> Result<f64, Failure> {
        let counted = load.requests - load.requests / 8;
        Ok(self.serve(load, port)?[0] as f64 / 1e3 / counted as f64)
    }

    fn end(self) -> Result<(), Failure> {
        Ok(())
    }
}
