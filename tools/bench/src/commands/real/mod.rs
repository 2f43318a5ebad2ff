//! `real`: what programs that no one here wrote send for each write, to one nbdkit over TLS.
//!
//! All figures are counts, and repeat on any machine. They are the difference of two runs, of which
//! one makes more writes than the other, so that neither handshake nor farewell is in them.

use std::path::Path;

use tls_cork_programs::Failure;
use tls_cork_report::{self as report, Column, Kind, Report, Value};

use crate::shared::rivals::{self, Nbdkit};

mod programs;
mod relay;

use programs::{Job, Program};
use relay::Relay;

/// Discards what is written.
const NBDKIT_PLUGIN: [&str; 2] = ["null", "4g"];

const COLUMNS: [Column; 7] = [
    Column { csv: "block_size_bytes", title: "block", kind: Kind::Count, about: "Payload of each write." },
    Column { csv: "queue_depth", title: "depth", kind: Kind::Count, about: "Requests kept outstanding." },
    Column { csv: "program", title: "program", kind: Kind::Text, about: "Who writes." },
    Column { csv: "records", title: "records/req", kind: Kind::Number(3), about: "TLS records sent." },
    Column { csv: "sends", title: "sends/req", kind: Kind::Number(3), about: "System calls that sent." },
    Column { csv: "setsockopt", title: "setsockopt/req", kind: Kind::Number(3), about: "Calls of setsockopt(2)." },
    Column { csv: "wire_bytes", title: "wire B/req", kind: Kind::Number(0), about: "Bytes sent over TLS." },
];

const JOBS: [Job; 5] = [
    Job { block_size: 512, queue_depth: 1, few: 100, many: 600 },
    Job { block_size: 512, queue_depth: 16, few: 200, many: 1200 },
    Job { block_size: 4096, queue_depth: 16, few: 200, many: 1200 },
    Job { block_size: 65_536, queue_depth: 16, few: 50, many: 250 },
    Job { block_size: 2 << 20, queue_depth: 16, few: 8, many: 24 },
];

/// Runs every program in every job that it can do, and prints what it sent.
///
/// # Errors
///
/// When a program is missing or fails.
pub fn run() -> Result<(), Failure> {
    programs::require_all()?;
    let home = rivals::home()?;
    let server = Nbdkit::start(Some(home.path()), &NBDKIT_PLUGIN)?;
    let pairs = || JOBS.iter().flat_map(|job| Program::ALL.map(|program| (job, program)));
    let pairs = pairs().filter(|(job, program)| program.can_do(job));
    let progress = report::progress(pairs.clone().count() as u64);
    let mut report = Report::new("real", &COLUMNS);
    for (job, program) in pairs {
        progress.set_message(format!("{}, {} B", program.name(), job.block_size));
        let few = count(program, job, job.few, home.path(), server.port)?;
        let many = count(program, job, job.many, home.path(), server.port)?;
        let mut row = vec![
            Value::Count(job.block_size.into()),
            Value::Count(job.queue_depth.into()),
            Value::Text(program.name().to_owned()),
        ];
        let requests = (job.many - job.few) as f64;
        row.extend(many.iter().zip(few).map(|(&many, few)| Value::Number((many as f64 - few as f64) / requests)));
        report.row(row);
        progress.inc(1);
    }
    progress.finish_and_clear();
    report.print()
}

/// Records, sends, calls of setsockopt, and bytes of one run.
fn count(program: Program, job: &Job, requests: u64, home: &Path, port: u16) -> Result<[u64; 4], Failure> {
    let fail = |e| Failure::new("relay", program.name(), e);
    let relay = Relay::start(port).map_err(fail)?;
    let calls = programs::run(program, job, requests, home, relay.port)?;
    let traffic = relay.finish().map_err(fail)?;
    Ok([traffic.records, calls.sends, calls.options, traffic.bytes])
}
