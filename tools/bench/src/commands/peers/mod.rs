//! `peers`: the same traffic through this library and through others, to one receiver.
//!
//! One process has all senders, another all receivers, each connection with a thread of its own at
//! both ends; [`crate::measure`] decides which of them sends when. What is particular here:
//!
//! - A slice has a fixed number of bursts, found once for each stack, so that both ends know where
//!   it ends without reading a clock.
//! - The fixed rate of a pattern is a fifth of what its slowest stack can do, and the same for all:
//!   cost and delay of a message depend on the rate. The sleep between bursts is not counted: it is
//!   not the stack's, and would hide differences.
//! - CPU time is that of the two threads of a connection. What a runtime does in other threads is
//!   left out: async-io's helper also runs while nobody sends.
//! - A rival is compared with the one of ours that its user would change to.
//! - In the rows of the limits the receiver seals what it reads, or as much again, so that it works
//!   as hard as in the other rows: the two processors may share a core.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::measure::{self, Pair, Plan, Sitting, Until};
use crate::shared::arguments::{max_hold_parser, parse_seconds};
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Attendant};
use tls_cork_programs::tls::{self, TemporaryCertificates};
use tls_cork_report::Median;
use tls_cork_report::{self as report, OutArgs};

mod pictures;
pub mod receiver;
pub(crate) mod seat;
pub mod sender;
pub mod stacks;
mod table;
pub mod traffic;

use receiver::{Job, Received, SUITE};
use seat::Sent;
use stacks::StackName;
use traffic::Pattern;

/// How much of its capacity the slowest stack has to do at the fixed rate.
const SHARE: f64 = 0.2;
/// Where bursts are counted and nothing is timed.
const COUNTING_INTERVAL: Duration = Duration::from_millis(5);

/// Options of `peers`.
#[derive(Debug, Args)]
#[command(after_long_help = table::help())]
pub struct PeersArgs {
    /// A first look in under a minute: short slices of three patterns.
    #[arg(long)]
    pub quick: bool,
    /// Half an hour instead of five minutes, for intervals within 3 %.
    #[arg(long, conflicts_with = "quick")]
    pub full: bool,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value = "300", default_value_ifs([("quick", "true", "45"), ("full", "true", "1740")]), value_parser = parse_seconds)]
    pub seconds: Duration,
    /// Only count: each stack sends this many bursts (most patterns: messages) at each load, once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub bursts: Option<u64>,
    /// How long tls-cork holds a piece at most.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10, hide_default_value = true, value_parser = max_hold_parser())]
    pub max_hold_ms: u64,
    /// Traffic to send; may be given more than once [default: all but sheepdog-4k and reply-4k,
    /// which are as nbd-4k].
    #[arg(long, value_enum)]
    pub pattern: Vec<Pattern>,
    /// Stacks to compare with ours; may be given more than once [default: all that are built in].
    #[arg(long, value_enum)]
    pub stack: Vec<StackName>,
    /// Waste at least so much CPU time on each burst of a stack, as in `rustls-vec=5%`; of ours, in
    /// the second connection of the A/A row.
    #[arg(long, value_name = "STACK=N%", hide = true, value_parser = parse_handicap)]
    pub handicap: Option<(StackName, f64)>,
    /// Print one JSON array with every slice instead of the tables; both of a pair follow each
    /// other.
    #[arg(long)]
    pub json: bool,
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

/// Whose CPU time is to be wasted, and which share of it.
fn parse_handicap(text: &str) -> Result<(StackName, f64), String> {
    let parts = text.strip_suffix('%').and_then(|text| text.split_once('='));
    let (stack, percent) = parts.ok_or("expected STACK=N%")?;
    let percent: f64 = percent.parse().map_err(|_| "expected a number of percent")?;
    Ok((StackName::from_str(stack, false)?, percent.clamp(0.0, 1e4) / 100.0))
}

/// How fast bursts follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// A fifth of what the slowest stack can do.
    Fixed,
    /// As fast as the stack goes.
    Full,
}

impl Load {
    /// Both, in the order of the tables.
    pub const ALL: [Self; 2] = [Self::Fixed, Self::Full];
}

/// What one slice cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slice {
    /// Who sent.
    pub stack: StackName,
    /// What.
    pub pattern: Pattern,
    /// How fast.
    pub load: Load,
    /// How many messages.
    pub messages: u64,
    /// Their plaintext bytes.
    pub bytes: u64,
    /// TLS records of application data, counted by the receiver.
    pub records: Option<u64>,
    /// System calls that sent, or tried to.
    pub sends: Option<u64>,
    /// System calls of the receiver that read.
    pub reads: Option<u64>,
    /// Bytes that the transport took.
    pub wire_bytes: u64,
    /// CPU time of the sending thread, in microseconds for each message.
    pub sender_cpu_us: f64,
    /// CPU time of the receiving thread, in microseconds for each message.
    pub receiver_cpu_us: Option<f64>,
    /// Median one-way delay of a burst, in microseconds; at the fixed rate.
    pub delay_p50_us: Option<f64>,
    /// At full speed, from before the first write to the last byte decrypted and checked.
    pub messages_per_s: Option<f64>,
}

/// A connection with a share in the comparison, and what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Contender {
    seat: usize,
    pattern: Pattern,
    load: Load,
}

/// Runs the comparison and prints it.
///
/// # Errors
///
/// When a stack was asked for that is not built in, or a run fails.
pub fn run(args: &PeersArgs) -> Result<(), Failure> {
    let stacks = contenders(&args.stack)?;
    args.out.prepare()?;
    let patterns: Vec<Pattern> = match &args.pattern[..] {
        [] if args.bursts.is_some() => Pattern::ALL.to_vec(),
        [] if args.quick => vec![Pattern::Nbd512, Pattern::Nbd64k, Pattern::Burst],
        [] => Pattern::ALL.into_iter().filter(|p| !matches!(p, Pattern::Sheepdog4k | Pattern::Reply4k)).collect(),
        asked => asked.to_vec(),
    };
    let certs = TemporaryCertificates::new()?;
    let mut bench = Bench { args, certs: certs.path(), amounts: HashMap::new(), rng: Rng::new() };
    if let Some(bursts) = args.bursts {
        return count(&mut bench, &stacks, &patterns, bursts);
    }
    bench.calibrate(&stacks, &patterns)?;
    // Each row has two connections of its own: one that is used more often than another finds
    // larger socket buffers and warmer caches, and would seem up to twice as fast.
    let seats: Vec<StackName> = stacks.iter().flat_map(|stack| [stack.ours(), *stack]).collect();
    let mut rows = Vec::new();
    for &pattern in &patterns {
        for load in Load::ALL {
            let contender = |seat| Contender { seat, pattern, load };
            rows.extend((0..stacks.len()).map(|row| (contender(2 * row), contender(2 * row + 1))));
        }
    }
    let plan = Plan { until: Until::Time(args.seconds), rounds: if args.full { 2 } else { 1 } };
    let mut rng = bench.rng.fork();
    let pairs = measure::run(plan, &rows, &mut rng, |number| bench.open(number, &seats))?;
    if args.json {
        let slices: Vec<&Slice> = pairs.iter().flatten().flat_map(|pair| [&pair.ours, &pair.theirs]).collect();
        report::print_json(&slices)?;
    }
    publish(&pairs, args)
}

/// Prints and keeps the figures.
fn publish(pairs: &[Vec<Pair<Slice>>], args: &PeersArgs) -> Result<(), Failure> {
    let standings: Vec<table::Standing> = pairs.iter().filter_map(|pairs| table::Standing::of(pairs)).collect();
    let text = table::markdown(&standings);
    if !args.json {
        report::print(&text)?;
    }
    args.out.write("peers.csv", &table::report(&standings).csv()?)?;
    args.out.write("peers.md", text.as_bytes())?;
    pictures::save(&standings, &args.out)
}

/// Each stack, pattern and load once.
fn count(bench: &mut Bench<'_>, stacks: &[StackName], patterns: &[Pattern], bursts: u64) -> Result<(), Failure> {
    let mut slices = Vec::new();
    let mut room = bench.connect(0, stacks)?;
    for &pattern in patterns {
        for load in Load::ALL {
            for seat in 0..stacks.len() {
                let interval = (load == Load::Fixed).then_some(COUNTING_INTERVAL);
                let contender = Contender { seat, pattern, load };
                slices.push(room.job(contender, Amount { interval, ..Amount::of(bursts) })?);
            }
        }
    }
    room.end()?;
    if bench.args.json {
        report::print_json(&slices)?;
    }
    let alone = |slice: Slice| vec![Pair { sitting: 0, ours: slice.clone(), theirs: slice }];
    publish(&slices.into_iter().map(alone).collect::<Vec<_>>(), bench.args)
}

/// The stacks that take part, with ours for each. Prints a line if some are not built in.
fn contenders(asked: &[StackName]) -> Result<Vec<StackName>, Failure> {
    let missing = |stack: &StackName| stack.needs_feature() && !cfg!(feature = "peers");
    if let Some(stack) = asked.iter().find(|stack| missing(stack)) {
        let why = format!("{stack} needs a build with --features peers, libssl-dev and pkg-config");
        return Err(Failure::usage("--stack", why));
    }
    if asked.is_empty() && StackName::ALL.iter().any(missing) {
        eprintln!(
            "tls-cork-bench: only rustls and the limits take part; all stacks: cargo run --release -p tls-cork-bench --features peers -- peers"
        );
    }
    let takes_part = |stack: &StackName| {
        let is_asked_for = |asked: &StackName| asked == stack || asked.ours() == *stack;
        !missing(stack) && (asked.is_empty() || asked.iter().any(is_asked_for))
    };
    Ok(StackName::ALL.into_iter().filter(takes_part).collect())
}

/// How much a slice of a contender is.
#[derive(Debug, Clone, Copy)]
struct Amount {
    bursts: u64,
    interval: Option<Duration>,
    spin_ns: f64,
}

impl Amount {
    /// At full speed.
    fn of(bursts: u64) -> Self {
        Self { bursts, interval: None, spin_ns: 0.0 }
    }
}

/// What sittings have in common.
struct Bench<'a> {
    args: &'a PeersArgs,
    certs: &'a Path,
    amounts: HashMap<(StackName, Pattern, Load), Amount>,
    rng: Rng,
}

impl Bench<'_> {
    /// New processes and connections, whose socket buffers have grown to what they will be.
    fn open(&mut self, number: u32, seats: &[StackName]) -> Result<Room, Failure> {
        let mut room = self.connect(number, seats)?;
        room.amounts.clone_from(&self.amounts);
        for seat in 0..seats.len() {
            room.exchange(Contender { seat, pattern: Pattern::Nbd2m, load: Load::Full }, Amount::of(4))?;
        }
        Ok(room)
    }

    /// Connects in random order: what comes of being first or last is nobody's for long.
    fn connect(&mut self, number: u32, seats: &[StackName]) -> Result<Room, Failure> {
        let mut order: Vec<usize> = (0..seats.len()).collect();
        self.rng.shuffle(&mut order);
        let stacks = order.iter().map(|&seat| format!("--stack={}", seats[seat]));
        let mut command = Command::new(children::ourselves()?);
        command.arg("peers-receive").arg("--certs").arg(self.certs).args(stacks.clone());
        let processor = |which: u32| format!("--processor={}", which % 2);
        let mut receiver = Attendant::start(command.arg(processor(number)), "receiver")?;
        let port = receiver.hear()?;
        let mut command = Command::new(children::ourselves()?);
        command.arg("peers-send").arg(format!("--connect=127.0.0.1:{}", port.trim())).arg("--ca");
        command.arg(self.certs.join(tls::CA_CERT)).arg(format!("--max-hold-ms={}", self.args.max_hold_ms));
        let mut sender = Attendant::start(command.args(stacks).arg(processor(number + 1)), "sender")?;
        sender.hear()?;
        let (seats, rng) = (seats.to_vec(), self.rng.fork());
        Ok(Room { receiver, sender, seats, order, rng, amounts: HashMap::new() })
    }

    /// Finds the size of everyone's slices, and the rate that is the same for all.
    fn calibrate(&mut self, stacks: &[StackName], patterns: &[Pattern]) -> Result<(), Failure> {
        let (full, paced) = if self.args.quick { (0.008, 0.015) } else { (0.02, 0.04) };
        let mut room = self.open(0, stacks)?;
        for &pattern in patterns {
            let mut slowest = f64::INFINITY;
            for (seat, &stack) in stacks.iter().enumerate() {
                let contender = Contender { seat, pattern, load: Load::Full };
                let mut bursts = 1;
                let rate = loop {
                    // The fastest of three: whatever else runs may interrupt any of them for longer
                    // than a slice.
                    let mut seconds = f64::INFINITY;
                    for _ in 0..3 {
                        let (sent, received) = room.exchange(contender, Amount::of(bursts))?;
                        let end_ns = sent.end_ns.max(received.last_ns);
                        seconds = seconds.min(end_ns.saturating_sub(sent.start_ns).max(1) as f64 / 1e9);
                    }
                    if seconds > full / 2.0 {
                        let rate = bursts as f64 / seconds;
                        let amount = Amount::of((rate * full).ceil() as u64);
                        self.amounts.insert((stack, pattern, Load::Full), amount);
                        break rate;
                    }
                    bursts *= (full / seconds).clamp(2.0, 8.0) as u64;
                };
                slowest = slowest.min(rate);
            }
            let interval = Duration::from_secs_f64(1.0 / (slowest * SHARE));
            let bursts = (paced / interval.as_secs_f64()).ceil().max(4.0) as u64;
            for &stack in stacks {
                let amount = Amount { interval: Some(interval), ..Amount::of(bursts) };
                self.amounts.insert((stack, pattern, Load::Fixed), amount);
            }
        }
        room.amounts.clone_from(&self.amounts);
        for ((stack, pattern, load), amount) in &mut self.amounts {
            let Some((_, share)) = self.args.handicap.filter(|handicap| handicap.0 == *stack) else { continue };
            let seat = stacks.iter().position(|other| other == stack).unwrap_or(0);
            let mut cpu_us = Vec::new();
            for _ in 0..5 {
                let slice = room.slice(&Contender { seat, pattern: *pattern, load: *load })?;
                cpu_us.push(slice.sender_cpu_us * pattern.shape().burst as f64);
            }
            amount.spin_ns = share * Median::of(cpu_us).map_or(0.0, |cpu_us| cpu_us.median) * 1e3;
        }
        room.end()
    }
}

/// The processes of a sitting.
struct Room {
    receiver: Attendant,
    sender: Attendant,
    seats: Vec<StackName>,
    /// Which seat each connection belongs to.
    order: Vec<usize>,
    amounts: HashMap<(StackName, Pattern, Load), Amount>,
    rng: Rng,
}

impl Sitting<Contender> for Room {
    type Slice = Slice;

    fn slice(&mut self, &contender: &Contender) -> Result<Slice, Failure> {
        let Contender { seat, pattern, load } = contender;
        let stack = self.seats[seat];
        let Some(&(mut amount)) = self.amounts.get(&(stack, pattern, load)) else {
            return Err(Failure::new("measure", stack, "it was not calibrated"));
        };
        // In each row the second connection is the rival's.
        amount.spin_ns *= (seat % 2) as f64;
        self.exchange(contender, Amount { bursts: amount.bursts.div_ceil(8), ..amount })?;
        self.job(contender, amount)
    }

    fn end(mut self) -> Result<(), Failure> {
        for seat in 0..self.seats.len() {
            let contender = Contender { seat, pattern: Pattern::Nbd512, load: Load::Full };
            self.exchange(contender, Amount::of(0))?;
        }
        Ok(())
    }
}

impl Room {
    fn job(&mut self, contender: Contender, amount: Amount) -> Result<Slice, Failure> {
        let (sent, received) = self.exchange(contender, amount)?;
        let Contender { seat, pattern, load } = contender;
        let stack = self.seats[seat];
        let messages = amount.bursts * pattern.shape().burst as u64;
        let end_ns = if stack.has_transport() { received.last_ns } else { sent.end_ns };
        let seconds = end_ns.saturating_sub(sent.start_ns) as f64 / 1e9;
        let each = |ns: u64| ns as f64 / 1e3 / messages as f64;
        let delays = sent.sent_ns.iter().zip(&received.arrived_ns);
        let delay = Median::of(delays.map(|(sent, arrived)| arrived.saturating_sub(*sent) as f64 / 1e3));
        Ok(Slice {
            stack,
            pattern,
            load,
            messages,
            bytes: sent.bytes,
            records: stack.uses_tls().then_some(received.records),
            sends: stack.has_transport().then_some(sent.sends),
            reads: stack.has_transport().then_some(received.reads),
            wire_bytes: sent.wire_bytes,
            sender_cpu_us: each(sent.cpu_ns),
            receiver_cpu_us: stack.has_transport().then_some(each(received.cpu_ns)),
            delay_p50_us: delay.filter(|_| load == Load::Fixed).map(|delay| delay.median),
            messages_per_s: (load == Load::Full).then_some(messages as f64 / seconds),
        })
    }

    /// One job at both ends.
    fn exchange(&mut self, contender: Contender, amount: Amount) -> Result<(Sent, Received), Failure> {
        let Amount { bursts, interval, spin_ns } = amount;
        let pattern = contender.pattern;
        let seat = self.order.iter().position(|&seat| seat == contender.seat).unwrap_or(0);
        let interval_ns = interval.map(|interval| interval.as_nanos() as u64);
        let job = Job { seat, pattern, bursts, interval_ns, place: self.rng.u64(..), spin_ns };
        let line = serde_json::json!(job).to_string();
        self.receiver.tell(&line)?;
        self.sender.tell(&line)?;
        let stack = self.seats[contender.seat];
        let fail = |end: &str, why: &dyn std::fmt::Display| Failure::new("read report", format!("{end} {stack}"), why);
        // The sender first: without it the receiver might wait for ever.
        let sent: Sent = serde_json::from_str(&self.sender.hear()?).map_err(|e| fail("sender", &e))?;
        let received: Received = serde_json::from_str(&self.receiver.hear()?).map_err(|e| fail("receiver of", &e))?;
        check(stack, &sent, &received).map_err(|why| fail("receiver of", &why))?;
        Ok((sent, received))
    }
}

/// Everything arrived as it was sent, and in the same suite for all.
fn check(stack: StackName, sent: &Sent, received: &Received) -> Result<(), String> {
    if let Some(error) = &received.error {
        return Err(error.clone());
    }
    let bytes = if stack == StackName::AeadPlain { sent.wire_bytes } else { sent.bytes };
    if stack.has_transport() && received.bytes != bytes {
        return Err(format!("{} bytes came of {bytes}", received.bytes));
    }
    let expected = stack.uses_tls().then(|| format!("{:?}", SUITE.suite()));
    if received.suite != expected {
        return Err(format!("cipher suite {:?} instead of {expected:?}", received.suite));
    }
    Ok(())
}
