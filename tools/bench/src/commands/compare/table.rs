//! The table of `compare`, and its words.

use serde::Serialize;

use crate::client::cell::Cell;
use crate::measure::column::{figure, ratio, text, verdict};
use crate::measure::{self, Better, Figure, Pair, Verdict, number};
use tls_cork_report::{self as report, Column, Kind, Report, Value};

pub(super) const QUEUE_DEPTH: u32 = 16;

/// The columns of `compare.csv`, and of the table.
pub(super) const COLUMNS: [Column; 15] = [
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

/// A contender's figures at one block size, beside ours.
#[derive(Debug, Serialize)]
pub(super) struct Standing {
    pub(super) contender: String,
    pub(super) block_size: u32,
    /// A second connection of ours.
    #[serde(skip)]
    pub(super) is_ours: bool,
    pairs: usize,
    records_per_request: Option<f64>,
    sends_per_request: Option<f64>,
    pub(super) cpu_us_per_request: Figure,
    server_cpu_us_per_request: Figure,
    requests_per_s: Figure,
}

fn cpu_us(cell: &Cell) -> f64 {
    (cell.cpu_user_s + cell.cpu_sys_s) * 1e6 / cell.requests as f64
}

fn server_cpu_us(cell: &Cell) -> Option<f64> {
    cell.server_cpu_s.map(|seconds| seconds * 1e6 / cell.requests as f64)
}

impl Standing {
    /// Of all pairs of a row. Records and sends are left out where nobody counts them.
    pub(super) fn new(contender: String, is_ours: bool, counts: [bool; 2], pairs: &[Pair<Cell>]) -> Option<Self> {
        let middle = |figure: fn(&Cell) -> f64| measure::middle(pairs, |cell| Some(figure(cell)));
        let [records, sends] = counts;
        Some(Self {
            contender,
            is_ours,
            block_size: pairs.first()?.theirs.block_size,
            pairs: pairs.len(),
            records_per_request: middle(Cell::records_per_request).filter(|_| records),
            sends_per_request: middle(Cell::sends_per_request).filter(|_| sends),
            cpu_us_per_request: Figure::of(pairs, Better::Less, |cell| Some(cpu_us(cell))),
            server_cpu_us_per_request: Figure::of(pairs, Better::Less, server_cpu_us),
            requests_per_s: Figure::of(pairs, Better::More, |cell| Some(cell.requests_per_s)),
        })
    }
}

pub(super) fn report(command: &'static str, standings: &[Standing]) -> Report {
    let mut report = Report::new(command, &COLUMNS);
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

/// For each contender, at which block sizes `ours` is ahead, and so on.
pub(super) fn words(ours: &str, standings: &[Standing]) -> String {
    let mut names: Vec<(&str, bool)> = Vec::new();
    for standing in standings {
        let name = (standing.contender.as_str(), standing.is_ours);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut text = String::new();
    for (what, word) in [
        ("CPU for each request", (|s: &Standing| s.cpu_us_per_request.verdict) as fn(&Standing) -> Verdict),
        ("CPU of the server for each request", |s| s.server_cpu_us_per_request.verdict),
        ("Requests per second", |s| s.requests_per_s.verdict),
    ] {
        for &(name, is_ours) in &names {
            let rows: Vec<(Verdict, String)> = standings
                .iter()
                .filter(|standing| standing.contender == name)
                .map(|standing| (word(standing), report::size(standing.block_size.into())))
                .collect();
            let aa = format!("a second connection of its own (A/A, {name})");
            let against = if is_ours { &aa } else { name };
            text += &format!("- {}\n", measure::judgement(&format!("{what}, `{ours}` against {against}"), &rows));
        }
    }
    text
}
