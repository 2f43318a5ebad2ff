//! The figures as tables, as CSV and in words, and the help that explains them.

use super::receiver::SUITE;
use super::stacks::{BUFFER, StackName};
use super::traffic::Pattern;
use super::{Load, Slice};
use crate::measure::{self, Better, Pair, Verdict};
use crate::median::Median;
use crate::report::{self, Column, Kind, Report, Value};

const fn column(csv: &'static str, title: &'static str, kind: Kind, about: &'static str) -> Column {
    Column { csv, title, kind, about }
}

const VERDICT: &str = "The word for the ratio before it.";

/// The columns of `peers.csv`, and of the tables.
const COLUMNS: [Column; 20] = [
    column("pattern", "", Kind::Text, "What is sent."),
    column(
        "load",
        "",
        Kind::Text,
        "fixed: a fifth of what the slowest stack can do, the same for all. full: as fast as it goes.",
    ),
    column("stack", "stack", Kind::Text, "Who sends it."),
    column(
        "ours",
        "ours",
        Kind::Text,
        "Which of ours it is compared with; the A/A rows compare ours with a second connection of ours.",
    ),
    column(
        "records_per_message",
        "records",
        Kind::Number(3),
        "TLS records of application data for each message, counted by the receiver.",
    ),
    column(
        "sends_per_message",
        "sends",
        Kind::Number(3),
        "System calls that sent, or tried to, for each message; on tokio (tokio, s2n, with and without -buf, -vec) without those that found no room.",
    ),
    column("reads_per_message", "reads", Kind::Number(3), "System calls of the receiver that read, for each message."),
    column(
        "sender_cpu_us",
        "sender µs",
        Kind::Number(2),
        "CPU time of the sending thread, user and system, for each message, in microseconds.",
    ),
    column(
        "sender_cpu_ratio",
        "CPU: ours ÷ this",
        Kind::Spread(2),
        "CPU time of our sending thread over this stack's, in pairs of adjacent slices.",
    ),
    column("sender_cpu_verdict", "sender CPU", Kind::Text, VERDICT),
    column(
        "receiver_cpu_us",
        "receiver µs",
        Kind::Number(2),
        "CPU time of the receiving thread for each message, in microseconds.",
    ),
    column(
        "receiver_cpu_ratio",
        "CPU: ours ÷ this",
        Kind::Spread(2),
        "The same with ours over with this stack, in pairs.",
    ),
    column("receiver_cpu_verdict", "receiver CPU", Kind::Text, VERDICT),
    column(
        "delay_p50_us",
        "delay µs",
        Kind::Number(0),
        "Median one-way delay, from before the first write of a burst to its last byte decrypted and checked, in microseconds.",
    ),
    column("delay_ratio", "ours ÷ this", Kind::Spread(2), "The same of ours over this stack's, in pairs."),
    column("delay_verdict", "delay", Kind::Text, VERDICT),
    column(
        "messages_per_s",
        "messages/s",
        Kind::Number(0),
        "Messages per second, from before the first write to the last byte decrypted and checked.",
    ),
    column("speed_ratio", "ours ÷ this", Kind::Spread(2), "The same of ours over this stack's, in pairs."),
    column("speed_verdict", "speed", Kind::Text, VERDICT),
    column("pairs", "", Kind::Count, "Pairs of slices."),
];

/// A figure of ours beside a rival's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) theirs: Option<f64>,
    pub(super) ratio: Option<Median>,
    pub(super) verdict: Verdict,
}

impl Figure {
    fn of(pairs: &[Pair<Slice>], better: Better, figure: fn(&Slice) -> Option<f64>) -> Self {
        let ratio = measure::ratio(pairs, figure);
        Self { theirs: measure::middle(pairs, figure), ratio, verdict: Verdict::of(ratio, better) }
    }

    fn counted(theirs: Option<f64>) -> Self {
        Self { theirs, ratio: None, verdict: Verdict::CannotTell }
    }

    fn values(&self, has_word: bool) -> [Value; 3] {
        let word = (has_word && self.theirs.is_some()).then(|| Value::Text(self.verdict.to_string()));
        [number(self.theirs), Value::spread(self.ratio), word.unwrap_or(Value::Missing)]
    }
}

/// One stack's figures for one pattern and load, beside ours.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) stack: StackName,
    pub(super) pattern: Pattern,
    pub(super) load: Load,
    /// How many pairs; none if it was only counted.
    pairs: u64,
    records: Option<f64>,
    pub(super) sends: Option<f64>,
    reads: Option<f64>,
    pub(super) sender: Figure,
    pub(super) receiver: Figure,
    delay: Figure,
    speed: Figure,
}

impl Standing {
    pub(super) fn of(pairs: &[Pair<Slice>]) -> Option<Self> {
        let first = &pairs.first()?.theirs;
        let each = |figure: fn(&Slice) -> Option<u64>| {
            measure::middle(pairs, |slice| Some(figure(slice)? as f64 / slice.messages as f64))
        };
        Some(Self {
            stack: first.stack,
            pattern: first.pattern,
            load: first.load,
            pairs: pairs.len() as u64,
            records: each(|slice| slice.records),
            sends: each(|slice| slice.sends),
            reads: each(|slice| slice.reads),
            sender: Figure::of(pairs, Better::Less, |slice| Some(slice.sender_cpu_us)),
            receiver: Figure::of(pairs, Better::Less, |slice| slice.receiver_cpu_us),
            delay: Figure::of(pairs, Better::Less, |slice| slice.delay_p50_us),
            speed: Figure::of(pairs, Better::More, |slice| slice.messages_per_s),
        })
    }

    pub(super) fn counted(slice: &Slice) -> Self {
        let each = |count: Option<u64>| Some(count? as f64 / slice.messages as f64);
        Self {
            stack: slice.stack,
            pattern: slice.pattern,
            load: slice.load,
            pairs: 0,
            records: each(slice.records),
            sends: each(slice.sends),
            reads: each(slice.reads),
            sender: Figure::counted(Some(slice.sender_cpu_us)),
            receiver: Figure::counted(slice.receiver_cpu_us),
            delay: Figure::counted(slice.delay_p50_us),
            speed: Figure::counted(slice.messages_per_s),
        }
    }

    fn is_ours(&self) -> bool {
        self.stack == self.stack.ours()
    }

    /// Neither ours nor a limit.
    fn is_rival(&self) -> bool {
        self.stack.uses_tls() && !self.is_ours()
    }

    fn name(&self) -> String {
        format!("{}{}", self.stack, if self.pairs > 0 && self.is_ours() { " (A/A)" } else { "" })
    }

    fn load(&self) -> &'static str {
        match self.load {
            Load::Fixed => "fixed",
            Load::Full => "full",
        }
    }

    fn row(&self) -> Vec<Value> {
        let has_word = self.pairs > 0 && self.stack.uses_tls();
        let text = |text: String| Value::Text(text);
        let ours = if self.pairs > 0 { text(self.stack.ours().to_string()) } else { Value::Missing };
        let mut row = vec![text(self.pattern.to_string()), text(self.load().to_owned()), text(self.name()), ours];
        row.extend([self.records, self.sends, self.reads].map(number));
        for figure in [&self.sender, &self.receiver, &self.delay, &self.speed] {
            row.extend(figure.values(has_word));
        }
        row.push(Value::Count(self.pairs));
        row
    }
}

fn number(figure: Option<f64>) -> Value {
    figure.map_or(Value::Missing, Value::Number)
}

/// One of a standing's figures.
type Choice = fn(&Standing) -> &Figure;

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
         ahead, behind: the whole interval is on one side of 1. level: it is within 3 % of 1. cannot tell: neither, or fewer than 6 sittings.\n\
         \n\
         Without the cargo feature `peers` only rustls, ours-mio and the limits (plain-*, aead) take part.\n\
         To build it: apt-get install libssl-dev pkg-config, and a C compiler;\n\
         then cargo run --release -p tls-cork-bench --features peers -- peers\n\
         \n{}",
        SUITE.suite(),
        BUFFER,
        report::help_columns("peers", &COLUMNS)
    )
}

/// One row for each pattern, load and stack.
pub(super) fn report<'a>(standings: impl IntoIterator<Item = &'a Standing>) -> Report {
    let mut report = Report::new("peers", &COLUMNS);
    standings.into_iter().for_each(|standing| report.row(standing.row()));
    report
}

/// A table for each pattern and load, and the verdict in words, as Markdown.
pub(super) fn text(standings: &[Standing]) -> String {
    let mut text = String::new();
    for group in standings.chunk_by(|a, b| (a.pattern, a.load) == (b.pattern, b.load)) {
        let Some(first) = group.first() else { continue };
        let load = match first.load {
            Load::Fixed => "a fixed rate",
            Load::Full => "full speed",
        };
        text += &format!("### {} at {load}, {} pairs\n\n{}\n\n", first.pattern, first.pairs, report(group).table());
        if first.pairs == 0 {
            continue;
        }
        let figures: [(&str, Choice); 4] = [
            ("Sender CPU", |s| &s.sender),
            ("Receiver CPU", |s| &s.receiver),
            ("Delay", |s| &s.delay),
            ("Speed", |s| &s.speed),
        ];
        for (subject, figure) in figures {
            let rows: Vec<(Verdict, String)> = group
                .iter()
                .filter(|standing| standing.is_rival() && figure(standing).theirs.is_some())
                .map(|standing| (figure(standing).verdict, standing.name()))
                .collect();
            if !rows.is_empty() {
                text += &measure::judgement(&format!("{subject}, ours against each"), &rows);
                text.push('\n');
            }
        }
        text.push('\n');
    }
    text + &resolution(standings)
}

/// For which rows the A/A interval is within 3 %, and for which it is not.
fn resolution(standings: &[Standing]) -> String {
    let (mut within, mut beyond) = (0, Vec::new());
    for standing in standings.iter().filter(|s| s.pairs > 0 && s.is_ours()) {
        for (what, figure) in [("sender", &standing.sender), ("receiver", &standing.receiver)] {
            if figure.verdict == Verdict::Level {
                within += 1;
            } else {
                beyond.push(format!("{} {} {what} of {}", standing.pattern, standing.load(), standing.stack));
            }
        }
    }
    match (within, beyond.len()) {
        (0, 0) => String::new(),
        (_, 0) => "A/A: every interval of CPU time is within 3 % of 1.".to_owned(),
        _ => format!("A/A: {within} intervals of CPU time are within 3 % of 1; these are not: {}.", beyond.join(", ")),
    }
}
