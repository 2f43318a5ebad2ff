//! The figures as tables, as CSV and in words, and the help that explains them.

use super::receiver::SUITE;
use super::stacks::{BUFFER, StackName};
use super::traffic::Pattern;
use super::{Load, Slice};
use crate::measure::column::{figure, ratio, text, verdict};
use crate::measure::{self, Better, Figure, Pair, Verdict, number};
use tls_cork_report::{self as report, Column, Kind, Report, Value};

/// The columns of `peers.csv`, and of the tables.
const COLUMNS: [Column; 20] = [
    text("pattern", "", "What is sent."),
    text("load", "", "fixed: a fifth of what the slowest stack can do. full: as fast as it goes."),
    text("stack", "stack", "Who sends it."),
    text("ours", "ours", "Which of ours it is compared with; in the A/A rows, a second connection of the same."),
    figure("records_per_message", "records", 3, "TLS records for each message, counted by the receiver."),
    figure(
        "sends_per_message",
        "sends",
        3,
        "System calls that sent, or tried to; on tokio (tokio, s2n, with and without -buf, -vec) without those that found no room.",
    ),
    figure("reads_per_message", "reads", 3, "System calls of the receiver that read."),
    figure("sender_cpu_us", "sender µs", 2, "CPU µs of the sending thread for each message, user and system."),
    ratio("sender_cpu_ratio"),
    verdict("sender_cpu_verdict", "sender CPU"),
    figure("receiver_cpu_us", "receiver µs", 2, "CPU µs of the receiving thread for each message."),
    ratio("receiver_cpu_ratio"),
    verdict("receiver_cpu_verdict", "receiver CPU"),
    figure("delay_p50_us", "delay µs", 0, "Median one-way delay of a burst, to its last byte decrypted and checked."),
    ratio("delay_ratio"),
    verdict("delay_verdict", "delay"),
    figure("messages_per_s", "messages/s", 0, "From before the first write to the last byte decrypted and checked."),
    ratio("speed_ratio"),
    verdict("speed_verdict", "speed"),
    Column { csv: "pairs", title: "", kind: Kind::Count, about: "Pairs of slices." },
];

/// One stack's figures for one pattern and load, beside ours.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) stack: StackName,
    pub(super) pattern: Pattern,
    pub(super) load: Load,
    pairs: usize,
    records: Option<f64>,
    pub(super) sends: Option<f64>,
    reads: Option<f64>,
    pub(super) sender: Figure,
    pub(super) receiver: Figure,
    delay: Figure,
    speed: Figure,
}

/// One of a standing's figures.
type Choice = fn(&Standing) -> &Figure;

impl Standing {
    pub(super) fn of(pairs: &[Pair<Slice>]) -> Option<Self> {
        let first = &pairs.first()?.theirs;
        let each = |count: fn(&Slice) -> Option<u64>| {
            measure::middle(pairs, |slice| Some(count(slice)? as f64 / slice.messages as f64))
        };
        Some(Self {
            stack: first.stack,
            pattern: first.pattern,
            load: first.load,
            pairs: pairs.len(),
            records: each(|slice| slice.records),
            sends: each(|slice| slice.sends),
            reads: each(|slice| slice.reads),
            sender: Figure::of(pairs, Better::Less, |slice| Some(slice.sender_cpu_us)),
            receiver: Figure::of(pairs, Better::Less, |slice| slice.receiver_cpu_us),
            delay: Figure::of(pairs, Better::Less, |slice| slice.delay_p50_us),
            speed: Figure::of(pairs, Better::More, |slice| slice.messages_per_s),
        })
    }

    fn is_ours(&self) -> bool {
        self.stack == self.stack.ours()
    }

    /// Neither ours nor a limit.
    fn is_rival(&self) -> bool {
        self.stack.uses_tls() && !self.is_ours()
    }

    fn name(&self) -> String {
        format!("{}{}", self.stack, if self.is_ours() { " (A/A)" } else { "" })
    }

    fn load(&self) -> &'static str {
        match self.load {
            Load::Fixed => "fixed",
            Load::Full => "full",
        }
    }

    fn row(&self) -> Vec<Value> {
        let names = [self.pattern.to_string(), self.load().to_owned(), self.name(), self.stack.ours().to_string()];
        let mut row: Vec<Value> = names.map(Value::Text).to_vec();
        row.extend([self.records, self.sends, self.reads].map(number));
        for figure in [&self.sender, &self.receiver, &self.delay, &self.speed] {
            let [theirs, ratio, word] = figure.values();
            // A limit is no rival.
            row.extend([theirs, ratio, if self.stack.uses_tls() { word } else { Value::Missing }]);
        }
        row.push(Value::Count(self.pairs as u64));
        row
    }
}

/// What `--help` says behind the options.
pub(super) fn help() -> String {
    format!(
        "All senders are threads of one process, with TCP_NODELAY, and agree with the receiver (rustls) on {:?}.\n\
         Unless its name says otherwise, a stack gets one write for each piece of a message.\n\
         -buf: a BufWriter of {} B, which is one full record, flushed where ours sends without MORE. The default of 8 KiB would cut\n\
         http2 and burst in two.\n\
         -vec: one vectored write of all pieces up to where ours sends without MORE. The Rust interfaces of OpenSSL and s2n-tls\n\
         have none.\n\
         All but -buf flush only at the end and, at the fixed rate, before a pause: tokio may gather what waits till then.\n\
         What is sent depends on its position in the stream alone, and the receiver checks every byte.\n\
         \n\
         Ratios are ours over the other's: of a cost, below 1 is better. _min and _max are the ends of the 95 % interval. In words:\n\
         ahead, behind: the whole interval is on one side of 1. level: it is within 3 % of 1. cannot tell: neither, or fewer than\n\
         6 sittings.\n\
         \n\
         Without the cargo feature `peers` only rustls, ours-mio and the limits take part.\n\
         To build it: apt-get install libssl-dev pkg-config, and a C compiler;\n\
         then cargo run --release -p tls-cork-bench --features peers -- peers\n\
         \n{}",
        SUITE.suite(),
        BUFFER,
        report::help_columns("peers", &COLUMNS)
    )
}

/// One row for each pattern, load and stack.
pub(super) fn report(standings: &[Standing]) -> Report {
    let mut report = Report::new("peers", &COLUMNS);
    standings.iter().for_each(|standing| report.row(standing.row()));
    report
}

/// As Markdown: for each figure what all rows of it say, then a table for each pattern and load,
/// with the verdict in words.
pub(super) fn markdown(standings: &[Standing]) -> String {
    let counts = |s: &Standing| {
        let [records, sends, reads] = [s.records, s.sends, s.reads].map(|count| number(count).show(Kind::Number(2)));
        format!("{records} / {sends} / {reads}")
    };
    let beside = |choice: Choice| {
        move |s: &Standing| {
            // A limit is no rival.
            let word = if s.stack.uses_tls() { choice(s).verdict.to_string() } else { String::new() };
            choice(s).ratio.map_or_else(String::new, |ratio| match s.is_ours() {
                // What no other row of the column can show.
                true => format!("{:.2} ({:.2}–{:.2}) {word}", ratio.median, ratio.min, ratio.max),
                false => format!("{:.2} {word}", ratio.median),
            })
        }
    };
    let mut text = overview(standings, Load::Fixed, "records / sends / reads for each message", counts);
    text += &overview(standings, Load::Fixed, "sender CPU at a fixed rate, ours ÷ this", beside(|s| &s.sender));
    text += &overview(standings, Load::Fixed, "receiver CPU at a fixed rate, ours ÷ this", beside(|s| &s.receiver));
    text += &overview(standings, Load::Fixed, "delay at a fixed rate, ours ÷ this", beside(|s| &s.delay));
    text += &overview(standings, Load::Full, "sender CPU at full speed, ours ÷ this", beside(|s| &s.sender));
    text += &overview(standings, Load::Full, "receiver CPU at full speed, ours ÷ this", beside(|s| &s.receiver));
    text += &overview(standings, Load::Full, "messages/s at full speed, ours ÷ this", beside(|s| &s.speed));
    for group in standings.chunk_by(|a, b| (a.pattern, a.load) == (b.pattern, b.load)) {
        let Some(first) = group.first() else { continue };
        let load = if first.load == Load::Fixed { "a fixed rate" } else { "full speed" };
        text += &format!("### {} at {load}, {} pairs\n\n{}\n\n", first.pattern, first.pairs, report(group).table());
        let figures: [(&str, Choice); 4] = [
            ("Sender CPU", |s| &s.sender),
            ("Receiver CPU", |s| &s.receiver),
            ("Delay", |s| &s.delay),
            ("Speed", |s| &s.speed),
        ];
        for (subject, figure) in figures {
            let is_wanted = |s: &&Standing| s.is_rival() && figure(s).theirs.is_some();
            let rows = group.iter().filter(is_wanted).map(|s| (figure(s).verdict, s.name()));
            let rows: Vec<(Verdict, String)> = rows.collect();
            if !rows.is_empty() {
                text += &format!("- {}\n", measure::judgement(&format!("{subject}, ours against each"), &rows));
            }
        }
        text.push('\n');
    }
    text + &resolution(standings)
}

/// One cell for each stack (a row) and pattern (a column).
fn overview(standings: &[Standing], load: Load, title: &str, cell: impl Fn(&Standing) -> String) -> String {
    let standings: Vec<&Standing> = standings.iter().filter(|s| s.load == load).collect();
    let patterns: Vec<Pattern> =
        standings.chunk_by(|a, b| a.pattern == b.pattern).map(|group| group[0].pattern).collect();
    let header: String = patterns.iter().map(|pattern| format!(" {pattern} |")).collect();
    let mut text = format!("| {title} |{header}\n| --- |{}\n", " --- |".repeat(patterns.len()));
    for first in standings.iter().filter(|s| Some(&s.pattern) == patterns.first()) {
        let cells = standings.iter().filter(|s| s.stack == first.stack).map(|s| format!(" {} |", cell(s)));
        text += &format!("| {} |{}\n", first.name(), cells.collect::<String>());
    }
    text + "\n"
}

/// For which rows the A/A interval is within 3 %, and for which it is not.
fn resolution(standings: &[Standing]) -> String {
    let (mut within, mut beyond) = (0, Vec::new());
    for standing in standings.iter().filter(|s| s.is_ours()) {
        for (end, figure) in [("sender", &standing.sender), ("receiver", &standing.receiver)] {
            if figure.verdict == Verdict::Level {
                within += 1;
            } else {
                beyond.push(format!("{} {} {end} of {}", standing.pattern, standing.load(), standing.stack));
            }
        }
    }
    let beyond = if beyond.is_empty() { "none".to_owned() } else { beyond.join(", ") };
    format!("A/A: {within} intervals of CPU time are within 3 % of 1; these are not: {beyond}.\n")
}
