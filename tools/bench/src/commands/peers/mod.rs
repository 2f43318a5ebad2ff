//! `peers`: the same traffic through this library and through others, to one receiver.
//!
//! A machine's speed drifts, so all stacks take turns within each round, each sender in a fresh process, and what is reported is the median
//! over the rounds of the ratio within a round. Delay is measured in a run of its own, at a rate that every stack keeps up with.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::shared::arguments::{max_hold_parser, parse_seconds};
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Attendant};
use tls_cork_programs::tls::{self, TemporaryCertificates};
use tls_cork_report::Chart;
use tls_cork_report::Median;
use tls_cork_report::{self as report, OutArgs};

pub mod delay;
pub mod receiver;
pub mod sender;
pub mod stacks;
mod table;
pub mod traffic;

use receiver::{Job, Received, SUITE};
use sender::Sent;
use stacks::StackName;
use traffic::Pattern;

/// How much longer than its sending a run may take.
const GRACE: Duration = Duration::from_secs(60);

/// With `--quick` no round begins that would end later.
const QUICK_LIMIT: Duration = Duration::from_secs(50);

/// Options of `peers`.
#[derive(Debug, Args)]
#[command(after_long_help = table::help())]
pub struct PeersArgs {
    /// A first look in under a minute: shorter runs, the delay in the first alone, and at most 3 of them, where nothing else is asked for.
    #[arg(long)]
    pub quick: bool,
    /// How often each stack sends each pattern.
    #[arg(long, default_value_t = 7, default_value_if("quick", "true", "3"), value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// How long each run sends; once at full speed, and once more at a modest rate for the delay.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", default_value_if("quick", "true", "0.02"), value_parser = parse_seconds)]
    pub seconds: Duration,
    /// End each run after this many bursts (most patterns: messages), even if time is left.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub bursts: u64,
    /// How long tls-cork holds a piece at most.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10, hide_default_value = true, value_parser = max_hold_parser())]
    pub max_hold_ms: u64,
    /// Traffic to send; may be given more than once [default: all].
    #[arg(long, value_enum)]
    pub pattern: Vec<Pattern>,
    /// Stacks that take part; may be given more than once [default: all that are built in].
    #[arg(long, value_enum)]
    pub stack: Vec<StackName>,
    /// Leave the delay out.
    #[arg(long)]
    pub no_delay: bool,
    /// Print one JSON array with every run instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

const CHART: Chart = Chart {
    title: "Messages per second, each stack to the same receiver over loopback (more is better)",
    panel: "{pattern}",
    series: "stack",
    value: "messages_per_s",
    leave_out: &["aead"],
    highlight: &["ours-mio", "ours-async"],
};

/// One stack's figures for one pattern in one round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Who sent.
    pub stack: StackName,
    /// What.
    pub pattern: Pattern,
    /// In which round, from 0.
    pub round: u32,
    /// How many messages.
    pub messages: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// From before the first write to the last byte decrypted and checked by the receiver.
    pub seconds: f64,
    /// Messages for each of those seconds.
    pub messages_per_s: f64,
    /// TLS records of application data, counted by the receiver.
    pub records: Option<u64>,
    /// System calls that sent, or tried to.
    pub sends: Option<u64>,
    /// Bytes that the transport took.
    pub wire_bytes: u64,
    /// CPU time of the sending process, user and system, in microseconds for each message.
    pub cpu_us_per_message: f64,
    /// Median one-way delay of the paced run, in microseconds.
    pub delay_p50_us: Option<f64>,
    /// Its 99.9th percentile.
    pub delay_p999_us: Option<f64>,
}

/// One stack's figures for one pattern over all rounds.
#[derive(Debug)]
struct Standing {
    stack: StackName,
    pattern: Pattern,
    /// Over this stack's, within each round; messages per second, then CPU per message.
    mio_ratio: Option<Median>,
    async_ratio: Option<Median>,
    mio_cpu_ratio: Option<Median>,
    async_cpu_ratio: Option<Median>,
    cells: Vec<Cell>,
}

/// Runs the comparison and prints it.
///
/// # Errors
///
/// When a stack was asked for that is not built in, or a run fails.
pub fn run(args: &PeersArgs) -> Result<(), Failure> {
    let stacks = contenders(&args.stack)?;
    args.out.prepare()?;
    let patterns = if args.pattern.is_empty() { Pattern::ALL.to_vec() } else { args.pattern.clone() };
    let certs = TemporaryCertificates::new()?;
    let mut bench = Bench::start(certs.path(), args)?;

    let cells = patterns.len() * stacks.len();
    let progress = report::progress((cells * args.runs as usize) as u64);
    let begin = Instant::now();
    let mut groups = vec![vec![Vec::new(); stacks.len()]; patterns.len()];
    for round in 0..args.runs {
        // One more round takes as long as those before it did.
        if args.quick && round > 0 && begin.elapsed() * (round + 1) / round > QUICK_LIMIT {
            break;
        }
        for (&pattern, group) in patterns.iter().zip(&mut groups) {
            for turn in 0..stacks.len() {
                // Every other round backwards: nobody always follows the same neighbour.
                let index = if round % 2 == 0 { turn } else { stacks.len() - 1 - turn };
                progress.set_message(format!("{}, {pattern}", stacks[index]));
                group[index].push(bench.cell(stacks[index], pattern, round)?);
                progress.inc(1);
            }
        }
    }
    let standings: Vec<Standing> = groups.iter().flat_map(|group| compare(&stacks, group)).collect();
    progress.finish_and_clear();

    let report = table::report(&standings);
    if args.json {
        let cells: Vec<&Cell> = standings.iter().flat_map(|standing| &standing.cells).collect();
        report::print_json(&cells)?;
    } else {
        report.print()?;
    }
    report.save(&args.out, &CHART)
}

/// Who takes part, and a word about who does not.
fn contenders(asked: &[StackName]) -> Result<Vec<StackName>, Failure> {
    let missing = |stack: &StackName| stack.needs_feature() && !cfg!(feature = "peers");
    if let Some(stack) = asked.iter().find(|stack| missing(stack)) {
        let why = format!("{stack} needs a build with --features peers, libssl-dev and pkg-config");
        return Err(Failure::usage("--stack", why));
    }
    if !asked.is_empty() {
        return Ok(StackName::ALL.into_iter().filter(|stack| asked.contains(stack)).collect());
    }
    if StackName::ALL.iter().any(missing) {
        eprintln!(
            "tls-cork-bench: only rustls and the limits take part; all stacks: cargo run --release -p tls-cork-bench --features peers -- peers"
        );
    }
    Ok(StackName::ALL.into_iter().filter(|stack| !missing(stack)).collect())
}

/// The receiver, and what senders need to reach it.
struct Bench<'a> {
    certs: &'a Path,
    receiver: Attendant,
    port: String,
    args: &'a PeersArgs,
}

impl<'a> Bench<'a> {
    fn start(certs: &'a Path, args: &'a PeersArgs) -> Result<Self, Failure> {
        let mut command = Command::new(children::ourselves()?);
        command.arg("peers-receive").arg("--certs").arg(certs);
        let mut receiver = Attendant::start(&mut command, "receiver")?;
        let port = receiver.hear()?.trim().to_owned();
        Ok(Self { certs, receiver, port, args })
    }

    fn cell(&mut self, stack: StackName, pattern: Pattern, round: u32) -> Result<Cell, Failure> {
        let (sent, received) = self.run(stack, pattern, false)?;
        let end_ns = received.as_ref().map_or(sent.end_ns, |received| received.last_ns);
        let seconds = end_ns.saturating_sub(sent.start_ns) as f64 / 1e9;
        let messages = sent.messages as f64;
        let mut percentiles = None;
        if self.measures_delay(round)
            && let (paced, Some(arrived)) = self.run(stack, pattern, true)?
        {
            percentiles = delay::percentiles(&paced.sent_ns, &arrived.arrived_ns);
        }
        Ok(Cell {
            stack,
            pattern,
            round,
            messages: sent.messages,
            bytes: sent.bytes,
            seconds,
            messages_per_s: messages / seconds,
            records: received.filter(|_| stack.uses_tls()).map(|received| received.records),
            sends: stack.has_transport().then_some(sent.sends),
            wire_bytes: sent.wire_bytes,
            cpu_us_per_message: sent.cpu_s * 1e6 / messages,
            delay_p50_us: percentiles.map(|p| p.0),
            delay_p999_us: percentiles.map(|p| p.1),
        })
    }

    fn measures_delay(&self, round: u32) -> bool {
        !self.args.no_delay && (round == 0 || !self.args.quick)
    }

    fn run(&mut self, stack: StackName, pattern: Pattern, paced: bool) -> Result<(Sent, Option<Received>), Failure> {
        if !stack.has_transport() {
            return Ok((self.send(stack, pattern, false)?, None));
        }
        let job = Job { pattern, tls: stack.uses_tls(), paced };
        self.receiver.tell(&serde_json::json!(job).to_string())?;
        let sent = self.send(stack, pattern, paced);
        let name = format!("receiver of {stack}");
        let fail = |why: &dyn std::fmt::Display| Failure::new("read report", &name, why);
        let sent = sent?;
        let received: Received = serde_json::from_str(&self.receiver.hear()?).map_err(|e| fail(&e))?;
        check(stack, &sent, &received).map_err(|why| fail(&why))?;
        Ok((sent, Some(received)))
    }

    fn send(&self, stack: StackName, pattern: Pattern, paced: bool) -> Result<Sent, Failure> {
        let mut command = Command::new(children::ourselves()?);
        command
            .arg("peers-send")
            .args([format!("--stack={stack}"), format!("--pattern={pattern}")])
            .arg(format!("--connect=127.0.0.1:{}", self.port))
            .arg("--ca")
            .arg(self.certs.join(tls::CA_CERT))
            .arg(format!("--seconds={}", self.args.seconds.as_secs_f64()))
            .arg(format!("--bursts={}", self.args.bursts))
            .arg(format!("--max-hold-ms={}", self.args.max_hold_ms));
        if paced {
            command.arg("--paced");
        }
        let name = format!("sender {stack}");
        let finished = children::run(&mut command, &name, self.args.seconds + GRACE)?;
        serde_json::from_slice(&finished.stdout).map_err(|e| Failure::new("read report", name, e))
    }
}

/// Everything arrived as it was sent, and in the same suite for all.
fn check(stack: StackName, sent: &Sent, received: &Received) -> Result<(), String> {
    if let Some(error) = &received.error {
        return Err(error.clone());
    }
    if received.bytes != sent.bytes {
        return Err(format!("{} bytes came of {}", received.bytes, sent.bytes));
    }
    let expected = stack.uses_tls().then(|| format!("{:?}", SUITE.suite()));
    if received.suite != expected {
        return Err(format!("cipher suite {:?} instead of {expected:?}", received.suite));
    }
    Ok(())
}

/// Ratios of ours over each, within rounds.
fn compare(stacks: &[StackName], cells: &[Vec<Cell>]) -> Vec<Standing> {
    let of = |stack| stacks.iter().position(|&s| s == stack).map(|index| cells[index].clone());
    let (mio, driver_async) = (of(StackName::OursMio), of(StackName::OursAsync));
    let ratio = |ours: &Option<Vec<Cell>>, theirs: &[Cell], figure: fn(&Cell) -> f64| {
        Median::of(ours.as_ref()?.iter().zip(theirs).map(|(our, their)| figure(our) / figure(their)))
    };
    let rate = |cell: &Cell| cell.messages_per_s;
    let cpu = |cell: &Cell| cell.cpu_us_per_message;
    let standing = |cells: &Vec<Cell>| {
        let first = cells.first()?;
        Some(Standing {
            stack: first.stack,
            pattern: first.pattern,
            mio_ratio: ratio(&mio, cells, rate),
            async_ratio: ratio(&driver_async, cells, rate),
            mio_cpu_ratio: ratio(&mio, cells, cpu),
            async_cpu_ratio: ratio(&driver_async, cells, cpu),
            cells: cells.clone(),
        })
    };
    cells.iter().filter_map(standing).collect()
}
