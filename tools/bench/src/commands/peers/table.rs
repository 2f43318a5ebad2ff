//! The figures as a table and as CSV, and the help that explains them.

use super::receiver::SUITE;
use super::stacks::BUFFER;
use super::{Cell, Standing};
use tls_cork_report::Median;
use tls_cork_report::{self as report, Column, Kind, Report, Value};

/// The columns of `peers.csv`, and of the table.
const COLUMNS: [Column; 14] = [
    Column { csv: "pattern", title: "pattern", kind: Kind::Text, about: "What is sent." },
    Column { csv: "stack", title: "stack", kind: Kind::Text, about: "Who sends it." },
    Column {
        csv: "messages_per_s",
        title: "messages/s",
        kind: Kind::Middle(0),
        about: "Messages per second, from before the first write to the last byte decrypted and checked by the receiver.",
    },
    Column {
        csv: "mb_per_s",
        title: "MB/s",
        kind: Kind::Middle(1),
        about: "The same in 10^6 plaintext bytes per second.",
    },
    Column {
        csv: "records_per_message",
        title: "records/msg",
        kind: Kind::Middle(3),
        about: "TLS records of application data for each message, counted by the receiver.",
    },
    Column {
        csv: "sends_per_message",
        title: "sends/msg",
        kind: Kind::Middle(3),
        about: "System calls that sent, or tried to, for each message; on tokio (tokio, s2n, with and without -buf, -vec) without those that found no room.",
    },
    Column {
        csv: "wire_bytes_per_byte",
        title: "wire/byte",
        kind: Kind::Middle(4),
        about: "Bytes that the socket took for each plaintext byte.",
    },
    Column {
        csv: "cpu_us_per_message",
        title: "CPU µs/msg",
        kind: Kind::Middle(3),
        about: "CPU time of the sending process, user and system, for each message, in microseconds.",
    },
    Column {
        csv: "delay_p50_us",
        title: "delay µs",
        kind: Kind::Middle(0),
        about: "Median one-way delay of a message at a modest rate, from before its first write to its last byte decrypted and checked, in microseconds.",
    },
    Column {
        csv: "delay_p999_us",
        title: "p99.9",
        kind: Kind::Middle(0),
        about: "99.9th percentile of the same, taken in each run.",
    },
    Column {
        csv: "mio_ratio",
        title: "mio ÷ this (min–max)",
        kind: Kind::Spread(2),
        about: "Messages per second of ours-mio over this stack's in the same round.",
    },
    Column {
        csv: "async_ratio",
        title: "async ÷ this (min–max)",
        kind: Kind::Spread(2),
        about: "Messages per second of ours-async over this stack's in the same round.",
    },
    Column {
        csv: "mio_cpu_ratio",
        title: "CPU: mio ÷ this (min–max)",
        kind: Kind::Spread(2),
        about: "CPU per message of ours-mio over this stack's in the same round.",
    },
    Column {
        csv: "async_cpu_ratio",
        title: "CPU: async ÷ this (min–max)",
        kind: Kind::Spread(2),
        about: "CPU per message of ours-async over this stack's in the same round.",
    },
];

/// What `--help` says behind the options.
pub(super) fn help() -> String {
    format!(
        "Every sender is a process of its own, with TCP_NODELAY, and agrees with the receiver (rustls) on {:?}.\n\
         Unless its name says otherwise, a stack gets one write for each piece of a message.\n\
         -buf: a BufWriter of {} B, which is one full record, flushed where ours sends without MORE. The default of 8 KiB would cut\n\
         http2 and burst in two.\n\
         -vec: one vectored write of all pieces up to where ours sends without MORE. The Rust interfaces of OpenSSL and s2n-tls\n\
         have none.\n\
         All but -buf flush only at the end and, where the delay is measured, before a pause: tokio may gather what waits till then.\n\
         What is sent depends on its position in the stream alone, and the receiver checks every byte.\n\
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

/// One row for each pattern and stack.
pub(super) fn report(standings: &[Standing]) -> Report {
    let mut report = Report::new("peers", &COLUMNS);
    for standing in standings {
        let middle = |figure: &dyn Fn(&Cell) -> Option<f64>| {
            // The delay may be of some rounds only.
            Value::spread(Median::of(standing.cells.iter().filter_map(figure)))
        };
        report.row(vec![
            Value::Text(standing.pattern.to_string()),
            Value::Text(standing.stack.to_string()),
            middle(&|c| Some(c.messages_per_s)),
            middle(&|c| Some(c.bytes as f64 / c.seconds / 1e6)),
            middle(&|c| Some(c.records? as f64 / c.messages as f64)),
            middle(&|c| Some(c.sends? as f64 / c.messages as f64)),
            middle(&|c| Some(c.wire_bytes as f64 / c.bytes as f64)),
            middle(&|c| Some(c.cpu_us_per_message)),
            middle(&|c| c.delay_p50_us),
            middle(&|c| c.delay_p999_us),
            Value::spread(standing.mio_ratio),
            Value::spread(standing.async_ratio),
            Value::spread(standing.mio_cpu_ratio),
            Value::spread(standing.async_cpu_ratio),
        ]);
    }
    report
}
