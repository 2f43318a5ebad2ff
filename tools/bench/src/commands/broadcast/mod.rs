//! `broadcast`: one message to many receivers that do not read, and what that takes in memory.

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Guarded};
use tls_cork_programs::tls::{self, TemporaryCertificates};
use tls_cork_report::Chart;
use tls_cork_report::{self as report, Column, Kind, OutArgs, Report, Value};

mod memory;
pub mod receivers;
pub mod sender;
mod stacks;
#[cfg(feature = "peers")]
mod tasks;

pub use memory::Memory;
pub use sender::{Held, Stack};

/// A stack that copies the message for each receiver gets so many of them that the copies take no more than this.
const COPIES_MAX: u64 = 320 << 20;

/// Options of `broadcast`.
#[derive(Debug, Args)]
#[command(after_long_help = report::help_columns("broadcast", &COLUMNS))]
pub struct BroadcastArgs {
    /// Fewer receivers, for a first look: 200, where nothing else is asked for.
    #[arg(long)]
    pub quick: bool,
    /// Receivers that connect and never read.
    #[arg(long, value_name = "N", default_value_t = 1000, default_value_if("quick", "true", "200"), value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub receivers: u32,
    /// Length of the message.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub message_mib: u64,
    /// What the sender asks of its sockets with `SO_SNDBUF`: from half of this for the first receiver to one and a half for
    /// the last, so that they stall at every point of a batch. The same for every stack.
    #[arg(long, value_name = "KIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..=2048))]
    pub send_buffer_kib: u32,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

/// The columns of `broadcast.csv`, and of the table.
const COLUMNS: [Column; 9] = [
    Column { csv: "stack", title: "stack", kind: Kind::Text, about: "Who sends, and how it queues." },
    Column {
        csv: "receivers",
        title: "receivers",
        kind: Kind::Count,
        about: "How many; fewer where each of them costs a copy of the message.",
    },
    Column { csv: "message_mib", title: "message MiB", kind: Kind::Count, about: "Length of the message." },
    Column {
        csv: "resident_before_mib",
        title: "before MiB",
        kind: Kind::Number(1),
        about: "Resident memory of the sender with the message in memory and no receiver.",
    },
    Column {
        csv: "resident_idle_mib",
        title: "idle MiB",
        kind: Kind::Number(1),
        about: "The same with all receivers connected, and nothing queued.",
    },
    Column {
        csv: "resident_stalled_mib",
        title: "stalled MiB",
        kind: Kind::Number(1),
        about: "The same with the message queued to all, and no receiver taking any more.",
    },
    Column {
        csv: "session_kib",
        title: "KiB/session",
        kind: Kind::Number(1),
        about: "(idle - before) / receivers: the TLS session.",
    },
    Column {
        csv: "stalled_kib",
        title: "KiB/stalled receiver",
        kind: Kind::Number(1),
        about: "(stalled - idle) / receivers: what a stalled receiver takes beyond its session.",
    },
    Column {
        csv: "kernel_mib",
        title: "kernel MiB",
        kind: Kind::Number(1),
        about: "What stalling added to the TCP buffers of the kernel, on both sides; not part of resident memory.",
    },
];

const CHART: Chart = Chart {
    title: "Memory for each stalled receiver, beyond its session: KiB (less is better)",
    panel: "{receivers} receivers, {message_mib} MiB",
    series: "stack",
    value: "stalled_kib",
    leave_out: &[],
    highlight: &[
        Stack::OursMio.name(),
        #[cfg(feature = "peers")]
        Stack::OursAsync.name(),
    ],
};

/// One stack's figures.
#[derive(Debug, Clone, Copy, Serialize)]
struct Outcome {
    stack: &'static str,
    receivers: u32,
    message_mib: u64,
    #[serde(flatten)]
    held: Held,
}

/// Runs every stack and prints what each took.
///
/// # Errors
///
/// When a sender or its receivers fail.
pub fn run(args: &BroadcastArgs) -> Result<(), Failure> {
    args.out.prepare()?;
    let certs = TemporaryCertificates::new()?;
    let progress = report::progress(Stack::ALL.len() as u64);
    let mut outcomes = Vec::new();
    for &stack in Stack::ALL {
        progress.set_message(stack.name());
        progress.tick();
        let receivers = receivers_of(args, stack);
        let held = measure(args, stack, receivers, certs.path())?;
        outcomes.push(Outcome { stack: stack.name(), receivers, message_mib: args.message_mib, held });
        progress.inc(1);
    }
    progress.finish_and_clear();

    let report = tabulate(&outcomes);
    if args.json {
        report::print_json(&outcomes)?;
    } else {
        report.print()?;
    }
    report.save(&args.out, &CHART)
}

fn tabulate(outcomes: &[Outcome]) -> Report {
    let mut report = Report::new("broadcast", &COLUMNS);
    for outcome in outcomes {
        let Held { before, idle, stalled } = outcome.held;
        let mib = |bytes: u64| Value::Number(bytes as f64 / f64::from(1 << 20));
        let each = |later: u64, earlier: u64| {
            Value::Number((later as f64 - earlier as f64) / f64::from(outcome.receivers) / 1024.0)
        };
        report.row(vec![
            Value::Text(outcome.stack.to_owned()),
            Value::Count(outcome.receivers.into()),
            Value::Count(outcome.message_mib),
            mib(before.resident),
            mib(idle.resident),
            mib(stalled.resident),
            each(idle.resident, before.resident),
            each(stalled.resident, idle.resident),
            mib(stalled.kernel.saturating_sub(idle.kernel)),
        ]);
    }
    report
}

fn receivers_of(args: &BroadcastArgs, stack: Stack) -> u32 {
    let affordable = (COPIES_MAX / (args.message_mib << 20)).max(1);
    if stack.copies() { args.receivers.min(u32::try_from(affordable).unwrap_or(u32::MAX)) } else { args.receivers }
}

fn measure(args: &BroadcastArgs, stack: Stack, receivers: u32, certs: &Path) -> Result<Held, Failure> {
    let program = children::ourselves()?;
    let spawn = |command: &mut Command, name: &str| {
        Guarded::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()), name)
    };
    let stack_name = clap::ValueEnum::to_possible_value(&stack).map(|v| v.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(&program);
    command
        .arg("broadcast-sender")
        .arg(format!("--stack={stack_name}"))
        .arg(format!("--receivers={receivers}"))
        .arg(format!("--message-bytes={}", args.message_mib << 20))
        .arg(format!("--send-buffer={}", u64::from(args.send_buffer_kib) << 10))
        .arg("--certs")
        .arg(certs);
    let mut sender = spawn(&mut command, &format!("sender {stack_name}"))?;
    let port = sender.line()?;
    let mut command = Command::new(&program);
    command.args(["broadcast-receivers", "--port", &port]).arg(format!("--receivers={receivers}"));
    if stack.is_tls() {
        command.arg("--ca").arg(certs.join(tls::CA_CERT));
    }
    let mut deaf = spawn(&mut command, "receivers")?;
    deaf.line()?;
    let held = sender.line()?;
    serde_json::from_str(&held).map_err(|e| Failure::new("read report", format!("sender {stack_name}"), e))
}

/// Room for as many sockets.
fn raise_file_limit(sockets: u32) -> Result<(), Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::new("raise limit", "open files", e);
    let needed = u64::from(sockets) + 64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| fail(&e))?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(fail(&format!("{needed} are needed, the hard limit is {hard} (ulimit -Hn)")));
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).map_err(|e| fail(&e))
}
