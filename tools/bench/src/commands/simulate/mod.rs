//! `simulate`: policies over networks that we do not have, in virtual time.
//!
//! The same seed gives the same figures, to the byte, on every machine: nothing here looks at a
//! clock. What the network does is described in [`tcp`], what the policies do in [`policies`].

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use tls_cork_programs::Failure;
use tls_cork_report::Chart;
use tls_cork_report::Median;
use tls_cork_report::{self as report, Column, Kind as As, OutArgs, Report, Value};

use memory::Starts;
use policies::Kind;
use run::Outcome;
use tcp::Path;
use trace::Trace;

pub mod memory;
pub mod policies;
pub mod run;
pub mod tcp;
pub mod trace;

/// Options of `simulate`.
#[derive(Debug, Args)]
#[command(after_long_help = help())]
pub struct SimulateArgs {
    /// Two round trip times and two bandwidths, and fewer runs where segments get lost.
    #[arg(long)]
    pub quick: bool,
    /// Decides which segments are lost and when connections start.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Writes to simulate instead of the built-in patterns: a CSV file with the header
    /// time_us,length_bytes,more and a line for each write, more being 0 or 1.
    #[arg(long, value_name = "FILE", conflicts_with = "pattern")]
    pub trace: Option<PathBuf>,
    /// A built-in pattern; may be given more than once. All of them by default.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(trace::BUILT_IN))]
    pub pattern: Vec<String>,
    /// A round trip time; may be given more than once. 1, 10, 50, 100 and 200 by default.
    #[arg(long, value_name = "MS", value_parser = |text: &str| number(text, 0.001, 10_000.0))]
    pub rtt_ms: Vec<f64>,
    /// A bandwidth; may be given more than once. 1, 10, 100, 1,000 and 10,000 by default.
    #[arg(long, value_name = "MBIT/S", value_parser = |text: &str| number(text, 0.01, 1_000_000.0))]
    pub mbit_per_s: Vec<f64>,
    /// How many segments get lost; may be given more than once. None and 1 by default.
    #[arg(long, value_name = "PERCENT", value_parser = |text: &str| number(text, 0.0, 20.0))]
    pub loss_percent: Vec<f64>,
    /// Runs with seeds of their own, where segments get lost.
    #[arg(
        long, default_value_t = 11, default_value_if("quick", "true", "5"),
        value_parser = clap::value_parser!(u64).range(1..=10_000)
    )]
    pub runs: u64,
    /// How many connections' memory to add up.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub connections: u64,
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

/// Within which the connections whose memory is added up start.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// Where the printed tables and the picture look, if it is in the grid.
const SHOWN_RTT_MS: f64 = 100.0;
const SHOWN_MBIT_PER_S: f64 = 10.0;
/// So many of the patterns have a panel in the picture.
const DRAWN_PATTERNS: usize = 4;

/// The columns of `simulate.csv`, and of the first table.
const COLUMNS: [Column; 18] = [
    Column { csv: "pattern", title: "pattern", kind: As::Text, about: "Built-in pattern, or the name of the trace." },
    Column { csv: "policy", title: "policy", kind: As::Text, about: "How writes become records: see above." },
    Column { csv: "rtt_ms", title: "", kind: As::Number(0), about: "Round trip time." },
    Column { csv: "bandwidth_mbit_per_s", title: "", kind: As::Number(0), about: "Bandwidth, 10^6 bits per second." },
    Column { csv: "loss_percent", title: "", kind: As::Number(1), about: "How many segments are lost." },
    Column { csv: "runs", title: "", kind: As::Count, about: "Runs with seeds of their own." },
    Column {
        csv: "first_usable_ms",
        title: "first usable ms",
        kind: As::Middle(2),
        about: "From the first write until the receiver has a whole record.",
    },
    Column {
        csv: "completion_ms",
        title: "completion ms",
        kind: As::Middle(2),
        about: "From the first write until the receiver can read the last byte; empty if it never can.",
    },
    Column {
        csv: "delay_p50_ms",
        title: "delay p50 ms",
        kind: As::Middle(2),
        about: "From a write until the receiver can read its last byte: half of them take no longer.",
    },
    Column {
        csv: "delay_p99_ms",
        title: "p99 ms",
        kind: As::Middle(2),
        about: "The same: 99 % of them take no longer.",
    },
    Column {
        csv: "hold_max_ms",
        title: "longest hold ms",
        kind: As::Middle(2),
        about: "The longest time for which the policy, or the kernel for it, held something back.",
    },
    Column { csv: "records", title: "records", kind: As::Middle(0), about: "TLS records." },
    Column { csv: "wire_bytes", title: "wire bytes", kind: As::Middle(0), about: "Bytes of those records." },
    Column {
        csv: "packets",
        title: "packets",
        kind: As::Middle(0),
        about: "TCP segments with data, those sent again included.",
    },
    Column { csv: "resent_packets", title: "", kind: As::Middle(0), about: "Segments sent again." },
    Column {
        csv: "waiting_peak_bytes",
        title: "waiting peak B",
        kind: As::Middle(0),
        about: "The most that waited in the process, as plaintext and ciphertext, on one connection.",
    },
    Column {
        csv: "together_gib",
        title: "× connections GiB",
        kind: As::Number(2),
        about: "That for all --connections (100,000) at once, in 2^30 bytes.",
    },
    Column {
        csv: "staggered_gib",
        title: "staggered GiB",
        kind: As::Number(2),
        about: "The most that waits at one time, in 2^30 bytes, if the connections start at random within 10 s.",
    },
];

/// The columns of the second table.
const DYNAMIC_COLUMNS: [Column; 11] = [
    Column { csv: "pattern", title: "pattern", kind: As::Text, about: "" },
    Column { csv: "rtt_ms", title: "RTT ms", kind: As::Number(0), about: "" },
    Column { csv: "bandwidth_mbit_per_s", title: "Mbit/s", kind: As::Number(0), about: "" },
    Column { csv: "first_usable_ms", title: "first usable ms: 16 KiB", kind: As::Middle(2), about: "" },
    Column { csv: "dynamic_first_usable_ms", title: "dynamic", kind: As::Middle(2), about: "" },
    Column { csv: "first_usable_ratio", title: "÷", kind: As::Middle(3), about: "" },
    Column { csv: "delay_p50_ratio", title: "delay p50 ÷", kind: As::Middle(3), about: "" },
    Column { csv: "completion_ratio", title: "completion ÷", kind: As::Middle(3), about: "" },
    Column { csv: "wire_bytes_ratio", title: "wire bytes ÷", kind: As::Middle(3), about: "" },
    Column { csv: "records_ratio", title: "records ÷", kind: As::Middle(2), about: "" },
    Column { csv: "small_records_ratio", title: "1369: records ÷", kind: As::Middle(2), about: "" },
];

const CHART: Chart = Chart {
    title: "Time from the first write until a whole record has arrived, ms: less is better",
    panel: "{pattern}: round trip {rtt_ms} ms, {bandwidth_mbit_per_s} Mbit/s, {loss_percent} % loss",
    series: "policy",
    value: "first_usable_ms",
    leave_out: &[],
    highlight: &["more dynamic"],
};

fn help() -> String {
    let words = "\
Policies:
  immediate     a flush for each piece
  tcp-cork      the same within TCP_CORK: the kernel fills segments
  full-cork     nothing before the final piece, without a limit
  more          tls-cork with records of up to 16 KiB
  more dynamic  tls-cork with small records at the start and after a pause
  more 1369     tls-cork with records of 1,369 bytes throughout

Patterns:
  page-static     200 KiB in one write
  page-generated  300 B, then 25 times 8 KiB, 2 ms apart; MORE but the last
  http2           16 responses 1 ms apart, each 9 + 31 + 9 + 8,192 B; MORE within it
  late-final      300 B with MORE, and half a second later 8 KiB
  burst-100x120   10 bursts 100 ms apart, each 100 times 120 B; MORE within it
  nbd-512         100 turns 2 ms apart, each 16 times 28 + 512 B; MORE within it
  nbd-64k         8 turns 20 ms apart, each 16 times 28 + 65,536 B; MORE within it
  bulk-4m         64 times 64 KiB at once; MORE but the last

The network: segments of 1,448 bytes, an initial window of 10, slow start, congestion avoidance,
selective acknowledgements, RTO, delayed acknowledgements of 40 ms, TCP_NODELAY, and a queue that
never overflows. Time counts from when the connection is established and both sides have keys.

";
    format!("{words}{}", report::help_columns("simulate", &COLUMNS))
}

fn number(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|n| (low..=high).contains(n));
    number.ok_or_else(|| format!("not a number from {low} to {high}"))
}

/// One network of the grid, as asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Network {
    rtt_ms: f64,
    mbit_per_s: f64,
    loss_percent: f64,
}

impl Network {
    fn path(self) -> Path {
        Path {
            rtt: Duration::from_nanos((self.rtt_ms * 1e6) as u64),
            bits_per_s: (self.mbit_per_s * 1e6) as u64,
            loss: self.loss_percent / 100.0,
        }
    }
}

/// The runs of one policy with one pattern on one network.
struct Cell<'t> {
    trace: &'t Trace,
    kind: Kind,
    network: Network,
    outcomes: Vec<Outcome>,
}

/// Runs the simulation and prints it.
///
/// # Errors
///
/// When the trace cannot be read, the figures not be written, or tls-cork fails: that would be a fault.
pub fn run(args: &SimulateArgs) -> Result<(), Failure> {
    args.out.prepare()?;
    let traces = traces(args)?;
    let networks = networks(args);
    let starts = Starts::new(args.connections, STARTS_WITHIN, args.seed);
    let progress = report::progress((traces.len() * networks.len()) as u64);
    let mut whole = Report::new("simulate", &COLUMNS);
    let mut shown = Report::new("simulate", &COLUMNS);
    let mut drawn = Report::new("simulate", &COLUMNS);
    let mut dynamic = Report::new("simulate", &DYNAMIC_COLUMNS);
    let place = shown_place(&networks);
    for (index, trace) in traces.iter().enumerate() {
        for &network in &networks {
            progress.set_message(format!("{}, {} ms, {} Mbit/s", trace.name, network.rtt_ms, network.mbit_per_s));
            let cells = cells(trace, network, args)?;
            for cell in &cells {
                let row = row(cell, &starts, args.connections);
                if network == place {
                    shown.row(row.clone());
                    if index < DRAWN_PATTERNS {
                        drawn.row(row.clone());
                    }
                }
                whole.row(row);
            }
            if network == place || (index == 0 && network.loss_percent == place.loss_percent) {
                dynamic.row(dynamic_row(trace, network, &cells));
            }
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    let Network { rtt_ms, mbit_per_s, loss_percent } = place;
    report::print(&format!("RTT {rtt_ms} ms, {mbit_per_s} Mbit/s, {loss_percent} % loss:\n\n{}\n", shown.table()))?;
    report::print(&format!(
        "Small records at the start against 16 KiB throughout, {loss_percent} % loss; ÷ is dynamic over 16 KiB:\n\n{}",
        dynamic.table()
    ))?;
    whole.save_drawing(&args.out, &drawn, &CHART)
}

fn traces(args: &SimulateArgs) -> Result<Vec<Trace>, Failure> {
    if let Some(path) = &args.trace {
        return Ok(vec![Trace::read(path)?]);
    }
    let names: Vec<&str> = if args.pattern.is_empty() {
        trace::BUILT_IN.to_vec()
    } else {
        args.pattern.iter().map(String::as_str).collect()
    };
    let found = |name: &str| Trace::built_in(name).ok_or_else(|| Failure::usage("--pattern", format!("no {name}")));
    names.into_iter().map(found).collect()
}

fn networks(args: &SimulateArgs) -> Vec<Network> {
    let chosen = |asked: &[f64], quick: &[f64], full: &[f64]| match (asked, args.quick) {
        ([], true) => quick.to_vec(),
        ([], false) => full.to_vec(),
        _ => asked.to_vec(),
    };
    let rtts = chosen(&args.rtt_ms, &[1.0, 100.0], &[1.0, 10.0, 50.0, 100.0, 200.0]);
    let bandwidths = chosen(&args.mbit_per_s, &[10.0, 1_000.0], &[1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
    let losses = chosen(&args.loss_percent, &[0.0, 1.0], &[0.0, 1.0]);
    let mut networks = Vec::new();
    for &loss_percent in &losses {
        for &rtt_ms in &rtts {
            networks.extend(bandwidths.iter().map(|&mbit_per_s| Network { rtt_ms, mbit_per_s, loss_percent }));
        }
    }
    networks
}

fn shown_place(networks: &[Network]) -> Network {
    let wanted = |n: &&Network| n.rtt_ms == SHOWN_RTT_MS && n.mbit_per_s == SHOWN_MBIT_PER_S;
    networks.iter().find(wanted).copied().unwrap_or(networks[0])
}

/// All policies with one pattern on one network, losing the same segments in the same run.
fn cells<'t>(trace: &'t Trace, network: Network, args: &SimulateArgs) -> Result<Vec<Cell<'t>>, Failure> {
    let runs = if network.loss_percent > 0.0 { args.runs } else { 1 };
    let cell = |kind| {
        let seeds = (0..runs).map(|run| args.seed.wrapping_add(run));
        let outcomes = seeds.map(|seed| run::run(trace, kind, network.path(), seed)).collect::<Result<_, _>>()?;
        Ok(Cell { trace, kind, network, outcomes })
    };
    Kind::ALL.into_iter().map(cell).collect()
}

fn row(cell: &Cell<'_>, starts: &Starts, connections: u64) -> Vec<Value> {
    let Network { rtt_ms, mbit_per_s, loss_percent } = cell.network;
    let figures = |figure: &dyn Fn(&Outcome) -> f64| Value::spread(Median::of(cell.outcomes.iter().map(figure)));
    let times = |time: &dyn Fn(&Outcome) -> Option<Duration>| {
        let times: Option<Vec<f64>> = cell.outcomes.iter().map(|o| time(o).map(ms)).collect();
        Value::spread(times.and_then(Median::of))
    };
    let middle =
        |figure: &dyn Fn(&Outcome) -> f64| Median::of(cell.outcomes.iter().map(figure)).map_or(0.0, |m| m.median);
    vec![
        Value::Text(cell.trace.name.clone()),
        Value::Text(cell.kind.to_string()),
        Value::Number(rtt_ms),
        Value::Number(mbit_per_s),
        Value::Number(loss_percent),
        Value::Count(cell.outcomes.len() as u64),
        times(&|o| o.first_usable),
        times(&|o| o.completion),
        times(&|o| percentile(&o.delays, 50)),
        times(&|o| percentile(&o.delays, 99)),
        times(&|o| Some(o.longest_hold)),
        figures(&|o| o.records as f64),
        figures(&|o| o.wire_bytes as f64),
        figures(&|o| o.packets as f64),
        figures(&|o| o.resent as f64),
        figures(&|o| o.peak_waiting() as f64),
        Value::Number(middle(&|o| gib(o.peak_waiting() as u64 * connections))),
        Value::Number(middle(&|o| gib(starts.peak(&o.waiting)))),
    ]
}

fn dynamic_row(trace: &Trace, network: Network, cells: &[Cell<'_>]) -> Vec<Value> {
    let of = |kind: Kind| cells.iter().filter(move |c| c.kind == kind).flat_map(|c| &c.outcomes);
    let first = |o: &Outcome| o.first_usable.map_or(f64::NAN, ms);
    let figure = |kind, figure: &dyn Fn(&Outcome) -> f64| Value::spread(Median::of(of(kind).map(figure)));
    let ratio = |kind, figure: &dyn Fn(&Outcome) -> f64| {
        Value::spread(Median::of(of(kind).zip(of(Kind::Cork)).map(|(o, base)| figure(o) / figure(base))))
    };
    vec![
        Value::Text(trace.name.clone()),
        Value::Number(network.rtt_ms),
        Value::Number(network.mbit_per_s),
        figure(Kind::Cork, &first),
        figure(Kind::CorkDynamic, &first),
        ratio(Kind::CorkDynamic, &first),
        ratio(Kind::CorkDynamic, &|o| percentile(&o.delays, 50).map_or(f64::NAN, ms)),
        ratio(Kind::CorkDynamic, &|o| o.completion.map_or(f64::NAN, ms)),
        ratio(Kind::CorkDynamic, &|o| o.wire_bytes as f64),
        ratio(Kind::CorkDynamic, &|o| o.records as f64),
        ratio(Kind::CorkSmall, &|o| o.records as f64),
    ]
}

fn ms(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

/// The smallest time that is no less than `percent` of them.
fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&times, 99), Some(Duration::from_millis(198)));
        assert_eq!(percentile(&times[..1], 50), Some(Duration::from_millis(200)));
        assert_eq!(percentile(&times[..1], 99), Some(Duration::from_millis(200)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_quick_grid_is_a_part_of_the_whole() {
        let args = |quick| SimulateArgs {
            quick,
            seed: 1,
            trace: None,
            pattern: Vec::new(),
            rtt_ms: Vec::new(),
            mbit_per_s: Vec::new(),
            loss_percent: Vec::new(),
            runs: 1,
            connections: 1,
            out: OutArgs::default(),
        };
        let (quick, whole) = (networks(&args(true)), networks(&args(false)));
        assert_eq!((quick.len(), whole.len()), (8, 50));
        assert!(quick.iter().all(|network| whole.contains(network)));
        assert_eq!(shown_place(&quick), shown_place(&whole));
        assert_eq!(networks(&SimulateArgs { rtt_ms: vec![7.0], ..args(true) }).len(), 4);
    }
}
