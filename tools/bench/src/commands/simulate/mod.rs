//! `simulate`: when does a whole record arrive? Policies over simulated networks, in virtual time.
//!
//! The figures are the same, to the byte, on every machine: nothing here looks at a clock. What the
//! network does is described in `tcp`, what the policies do in `policies`.

use std::time::Duration;

use clap::Args;
use policies::Kind;
use run::Outcome;
use tcp::Path;
use tls_cork_programs::Failure;
use tls_cork_report::Chart;
use tls_cork_report::{self as report, Column, Kind as As, OutArgs, Report, Value};

mod policies;
mod run;
mod tcp;
mod trace;

/// Options of `simulate`.
#[derive(Debug, Args)]
#[command(after_long_help = help())]
pub struct SimulateArgs {
    /// Where to keep the figures.
    #[command(flatten)]
    out: OutArgs,
}

/// The networks whose figures are in the file.
const RTTS_MS: [u64; 5] = [1, 10, 50, 100, 200];
const MBITS_PER_S: [u64; 5] = [1, 10, 100, 1_000, 10_000];
/// The network of the printed table and of the picture.
const SHOWN: (u64, u64) = (100, 10);
/// So many of the patterns have a panel in the picture.
const DRAWN_PATTERNS: usize = 4;

/// The columns of `simulate.csv`, and of the table.
const COLUMNS: [Column; 13] = [
    Column { csv: "pattern", title: "pattern", kind: As::Text, about: "What is written, see above." },
    Column { csv: "policy", title: "policy", kind: As::Text, about: "How writes become records, see above." },
    Column { csv: "rtt_ms", title: "", kind: As::Count, about: "Round trip time." },
    Column { csv: "bandwidth_mbit_per_s", title: "", kind: As::Count, about: "Bandwidth, 10^6 bits per second." },
    Column {
        csv: "first_usable_ms",
        title: "first usable ms",
        kind: As::Number(2),
        about: "From the first write until the receiver has a whole record.",
    },
    Column {
        csv: "completion_ms",
        title: "completion ms",
        kind: As::Number(2),
        about: "From the first write until the receiver can read the last byte; empty if it never can.",
    },
    Column {
        csv: "delay_p50_ms",
        title: "delay p50 ms",
        kind: As::Number(2),
        about: "From a write until the receiver can read its last byte: half of them take no longer.",
    },
    Column { csv: "delay_p99_ms", title: "p99 ms", kind: As::Number(2), about: "The same: 99 % take no longer." },
    Column {
        csv: "hold_max_ms",
        title: "longest hold ms",
        kind: As::Number(2),
        about: "The longest time for which the policy, or the kernel for it, held something back.",
    },
    Column { csv: "records", title: "records", kind: As::Count, about: "TLS records." },
    Column { csv: "wire_bytes", title: "wire bytes", kind: As::Count, about: "Bytes of those records." },
    Column { csv: "packets", title: "packets", kind: As::Count, about: "TCP segments with data." },
    Column {
        csv: "waiting_peak_bytes",
        title: "waiting peak B",
        kind: As::Count,
        about: "The most that waited in the process, as plaintext and ciphertext.",
    },
];

const CHART: Chart = Chart {
    title: "Time from the first write until a whole record has arrived, ms: less is better",
    panel: "{pattern}: round trip {rtt_ms} ms, {bandwidth_mbit_per_s} Mbit/s",
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

The network: segments of 1,448 bytes, an initial window of 10, slow start, delayed acknowledgements
of 40 ms, TCP_NODELAY, no loss. Time counts from when the connection is established and both sides
have keys.

";
    format!("{words}{}", report::help_columns("simulate", &COLUMNS))
}

/// Runs the simulation and prints it.
///
/// # Errors
///
/// When the figures cannot be written, or tls-cork fails: that would be a fault.
pub fn run(args: &SimulateArgs) -> Result<(), Failure> {
    args.out.prepare()?;
    let mut whole = Report::new("simulate", &COLUMNS);
    let mut shown = Report::new("simulate", &COLUMNS);
    let mut drawn = Report::new("simulate", &COLUMNS);
    for (index, trace) in trace::built_in().iter().enumerate() {
        for (rtt_ms, mbit_per_s) in RTTS_MS.iter().flat_map(|&rtt| MBITS_PER_S.map(|mbit| (rtt, mbit))) {
            let path = Path { rtt: Duration::from_millis(rtt_ms), bits_per_s: mbit_per_s * 1_000_000 };
            for kind in Kind::ALL {
                let mut row = vec![Value::Text(trace.name.to_owned()), Value::Text(kind.to_string())];
                row.extend([Value::Count(rtt_ms), Value::Count(mbit_per_s)]);
                row.extend(figures(&run::run(trace, kind, path)?));
                if (rtt_ms, mbit_per_s) == SHOWN {
                    shown.row(row.clone());
                    if index < DRAWN_PATTERNS {
                        drawn.row(row.clone());
                    }
                }
                whole.row(row);
            }
        }
    }
    let (rtt_ms, mbit_per_s) = SHOWN;
    report::print(&format!("Round trip {rtt_ms} ms, {mbit_per_s} Mbit/s:\n\n{}", shown.table()))?;
    whole.save_drawing(&args.out, &drawn, &CHART)
}

fn figures(outcome: &Outcome) -> [Value; 9] {
    let time = |time: Option<Duration>| time.map_or(Value::Missing, |t| Value::Number(t.as_nanos() as f64 / 1e6));
    [
        time(outcome.first_usable),
        time(outcome.completion),
        time(percentile(&outcome.delays, 50)),
        time(percentile(&outcome.delays, 99)),
        time(Some(outcome.longest_hold)),
        Value::Count(outcome.records),
        Value::Count(outcome.wire_bytes),
        Value::Count(outcome.packets),
        Value::Count(outcome.peak_waiting as u64),
    ]
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
        assert_eq!(percentile(&[], 50), None);
    }
}
