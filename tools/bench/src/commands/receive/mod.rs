//! `receive`: the same records through this library and through others, from one sender.
//!
//! As `peers` ([`crate::commands::peers`]), with the roles exchanged: one process has all receivers,
//! each connection with a thread of its own, and another is the sender. What is particular here:
//!
//! - The sender seals a slice before it sends any of it. A receiver that is awake therefore always
//!   finds data, and its cost does not depend on the speed of the sender.
//! - CPU time is that of the receiving thread, from the first read of a slice to the last.
//! - Every byte is checked in the eighth of a slice that warms up. In the rest the first byte of
//!   each read is checked and, when the clock has stopped, the last read.

use std::process::Command;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;

use crate::commands::peers::stacks::StackName;
use crate::measure::column::{figure, ratio, text, verdict};
use crate::measure::{self, Better, Figure, Pair, Plan, Sitting, Until, Verdict, number};
use crate::shared::arguments::parse_seconds;
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Attendant};
use tls_cork_programs::tls::{self, TemporaryCertificates};
use tls_cork_report::{self as report, Column, Kind, OutArgs, Report, Value, size};

mod message;
pub mod receivers;
pub mod sender;
mod sources;
mod taking;

use message::Job;
pub use message::Message;
use taking::Taken;

/// Each rival behind the one of ours that its user would change to.
const STACKS: [StackName; 6] = [
    StackName::Rustls,
    StackName::OursMio,
    StackName::Futures,
    StackName::OursAsync,
    StackName::Tokio,
    StackName::OursTokio,
];

/// Options of `receive`.
#[derive(Debug, Args)]
#[command(after_long_help = report::help_columns("receive", &COLUMNS))]
pub struct ReceiveArgs {
    /// A first look in under half a minute.
    #[arg(long)]
    pub quick: bool,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value = "120", default_value_if("quick", "true", "20"), value_parser = parse_seconds)]
    pub seconds: Duration,
    /// Messages to receive; may be given more than once [default: all].
    #[arg(long, value_enum)]
    pub message: Vec<Message>,
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

/// The columns of `receive.csv`, and of the table.
const COLUMNS: [Column; 8] = [
    text("message", "message", "Plaintext of each record; 512 B and 4 KiB are read one by one, 16 KiB into 64 KiB."),
    text("stack", "stack", "Who receives."),
    text("ours", "ours", "Which of ours it is compared with; in the A/A rows, a second connection of the same."),
    figure("reads_per_16_kib", "reads/16 KiB", 3, "System calls that read; on tokio without those that found nothing."),
    figure("cpu_us", "CPU µs", 3, "CPU µs of the receiving thread for each message, user and system."),
    ratio("cpu_ratio"),
    verdict("cpu_verdict", "CPU"),
    Column { csv: "pairs", title: "pairs", kind: Kind::Count, about: "Pairs of slices, one of them of ours." },
];

/// What one slice cost.
#[derive(Debug)]
struct Slice {
    reads_per_16_kib: f64,
    cpu_us: f64,
}

/// A connection with a share in the comparison, and what it receives.
#[derive(Debug, Clone, Copy)]
struct Contender {
    seat: usize,
    message: Message,
}

/// Runs the comparison and prints it.
///
/// # Errors
///
/// When a run fails.
pub fn run(args: &ReceiveArgs) -> Result<(), Failure> {
    args.out.prepare()?;
    let messages = if args.message.is_empty() { &Message::ALL[..] } else { &args.message };
    let certs = TemporaryCertificates::new()?;
    // Each row has two connections of its own, as in `peers`.
    let seats: Vec<StackName> = STACKS.iter().flat_map(|stack| [stack.ours(), *stack]).collect();
    let mut rows = Vec::new();
    for &message in messages {
        let contender = |seat| Contender { seat, message };
        rows.extend((0..STACKS.len()).map(|row| (contender(2 * row), contender(2 * row + 1))));
    }
    let mut rng = Rng::new();
    let mut places = rng.fork();
    let plan = Plan { until: Until::Time(args.seconds), rounds: 1 };
    let pairs = measure::run(plan, &rows, &mut rng, |number| Room::open(number, &certs, &seats, &mut places))?;

    let mut report = Report::new("receive", &COLUMNS);
    let mut words = String::new();
    for (&message, pairs) in messages.iter().zip(pairs.chunks(STACKS.len())) {
        let mut judged: Vec<(Verdict, String)> = Vec::new();
        for (stack, pairs) in STACKS.iter().zip(pairs) {
            report.row(row(message, *stack, pairs));
            if *stack != stack.ours() {
                judged.push((cpu(pairs).verdict, stack.to_string()));
            }
        }
        let subject = format!("CPU of the receiver at {}, ours against each", size(message.len() as u64));
        words += &format!("- {}\n", measure::judgement(&subject, &judged));
    }
    let text = format!("{}\n\n{words}", report.table());
    args.out.write("receive.csv", &report.csv()?)?;
    args.out.write("receive.md", text.as_bytes())?;
    report::print(text.trim_end())
}

fn cpu(pairs: &[Pair<Slice>]) -> Figure {
    Figure::of(pairs, Better::Less, |slice| Some(slice.cpu_us))
}

fn row(message: Message, stack: StackName, pairs: &[Pair<Slice>]) -> Vec<Value> {
    let name = format!("{stack}{}", if stack == stack.ours() { " (A/A)" } else { "" });
    let mut row =
        vec![Value::Text(size(message.len() as u64)), Value::Text(name), Value::Text(stack.ours().to_string())];
    row.push(number(measure::middle(pairs, |slice| Some(slice.reads_per_16_kib))));
    row.extend(cpu(pairs).values());
    row.push(Value::Count(pairs.len() as u64));
    row
}

/// The processes of a sitting.
struct Room {
    sender: Attendant,
    receivers: Attendant,
    /// Which seat each connection belongs to.
    order: Vec<usize>,
    rng: Rng,
}

impl Room {
    /// New processes and connections, whose socket buffers have grown to what they will be.
    fn open(number: u32, certs: &TemporaryCertificates, seats: &[StackName], rng: &mut Rng) -> Result<Self, Failure> {
        let mut order: Vec<usize> = (0..seats.len()).collect();
        rng.shuffle(&mut order);
        let processor = |which: u32| format!("--processor={}", which % 2);
        let mut command = Command::new(children::ourselves()?);
        command.arg("receive-send").arg("--certs").arg(certs.path()).arg(processor(number));
        let mut sender = Attendant::start(command.arg(format!("--connections={}", seats.len())), "sender")?;
        let port = sender.hear()?;
        let mut command = Command::new(children::ourselves()?);
        command.arg("receive-take").arg(format!("--connect=127.0.0.1:{}", port.trim())).arg("--ca");
        command.arg(certs.path().join(tls::CA_CERT)).arg(processor(number + 1));
        command.args(order.iter().map(|&seat| format!("--stack={}", seats[seat])));
        let mut receivers = Attendant::start(&mut command, "receivers")?;
        receivers.hear()?;
        let mut room = Self { sender, receivers, order, rng: rng.fork() };
        for seat in 0..seats.len() {
            room.exchange(Contender { seat, message: Message::Bulk }, 512, true)?;
        }
        Ok(room)
    }

    /// One job at both ends.
    fn exchange(&mut self, contender: Contender, messages: u64, checked: bool) -> Result<Taken, Failure> {
        let Contender { seat, message } = contender;
        let seat = self.order.iter().position(|&other| other == seat).unwrap_or(0);
        let job = Job { seat, message, messages, checked, place: self.rng.u64(..) };
        let line = serde_json::json!(job).to_string();
        self.receivers.tell(&line)?;
        self.sender.tell(&line)?;
        let fail = |what: &str, why: &dyn std::fmt::Display| Failure::new("measure", what, why);
        // If either fails, it ends the connection, and so the other.
        let taken = self.receivers.hear();
        let sent: Option<String> = serde_json::from_str(&self.sender.hear()?).map_err(|e| fail("sender", &e))?;
        match (taken, sent) {
            (Ok(taken), None) => serde_json::from_str(&taken).map_err(|e| fail("receivers", &e)),
            (Ok(_), Some(why)) => Err(fail("sender", &why)),
            (Err(failure), None) => Err(failure),
            (Err(failure), Some(why)) => Err(fail("sender", &format!("{why}; {failure}"))),
        }
    }
}

impl Sitting<Contender> for Room {
    type Slice = Slice;

    fn slice(&mut self, &contender: &Contender) -> Result<Slice, Failure> {
        let messages = contender.message.slice();
        self.exchange(contender, messages / 8, true)?;
        let taken = self.exchange(contender, messages, false)?;
        let units = (messages * contender.message.len() as u64) as f64 / 16_384.0;
        Ok(Slice { reads_per_16_kib: taken.reads as f64 / units, cpu_us: taken.cpu_ns as f64 / 1e3 / messages as f64 })
    }

    fn end(mut self) -> Result<(), Failure> {
        for seat in 0..self.order.len() {
            self.exchange(Contender { seat, message: Message::Page }, 0, true)?;
        }
        Ok(())
    }
}
