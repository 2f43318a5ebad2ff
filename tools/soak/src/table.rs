//! The soak's figures as a table, a CSV file and a picture.

use std::collections::BTreeMap;

use super::ledger::{Fate, Operation};
use super::plan::{Fault, Pairing};
use super::totals::Totals;
use tls_cork_report::Chart;
use tls_cork_report::{Column, Kind, Report, Value};

const fn text(csv: &'static str, title: &'static str, about: &'static str) -> Column {
    Column { csv, title, kind: Kind::Text, about }
}

const fn count(csv: &'static str, title: &'static str, about: &'static str) -> Column {
    Column { csv, title, kind: Kind::Count, about }
}

const fn number(csv: &'static str, title: &'static str, about: &'static str) -> Column {
    Column { csv, title, kind: Kind::Number(1), about }
}

/// The columns of `soak.csv`, and of the table.
pub const COLUMNS: [Column; 34] = [
    text("drivers", "drivers", "The drivers of a stream's two ends."),
    text("ended_by", "ended by", "What ended the streams: close at both ends, or a fault."),
    count("streams", "streams", "Streams that are over."),
    count("tls12_streams", "", "Of these, with TLS 1.2; the others with 1.3."),
    count("wire_streams", "", "Of these, over a wire that delivers in pieces and late."),
    count("operations", "operations", "Calls: all of the following but retries, pauses and stalls."),
    count("send_calls", "", "send, with MORE or without."),
    count("send_vectored_calls", "", "send_vectored."),
    count("send_bytes_calls", "", "send_bytes."),
    count("write_calls", "", "The traits' write and write_vectored."),
    count("cork_calls", "", "cork and uncork."),
    count("flush_calls", "", "flush."),
    count("close_calls", "", "close."),
    count("read_calls", "", "read."),
    count("pauses", "", "Pauses in sending, in which deadlines come."),
    count("waits_for_peer", "", "Waits, without a flush, until the other end had all that was sent."),
    count("blocked_calls", "had to wait", "Calls that could not go on at once; with async-std the future was dropped."),
    count("stalls", "stalls", "Pauses in reading."),
    number("accepted_mb", "", "Content that was accepted, in 10^6 bytes, both directions."),
    number("received_mb", "MB checked", "Of this, received and found right, in 10^6 bytes."),
    count("records", "records", "Application records."),
    count("sends", "sends", "Sends that the sockets took."),
    count("key_updates", "", "KeyUpdates of TLS 1.3, at least."),
    count("deadlines", "deadlines", "Tails that left because their deadline came."),
    number(
        "longest_hold_ms",
        "",
        "The longest time for which a tail was held, in milliseconds; nobody attends some streams.",
    ),
    count("ends_through", "through", "Ends that had everything and said so."),
    count("ends_left", "left", "Ends that caused the fault themselves."),
    count("ends_connection_reset", "ConnectionReset", "Ends that were told ConnectionReset."),
    count("ends_broken_pipe", "BrokenPipe", "Ends that were told BrokenPipe."),
    count("ends_unexpected_eof", "UnexpectedEof", "Ends that were told UnexpectedEof: a stream without its end."),
    count("ends_tls_error", "TLS error", "Ends that were told InvalidData, with an error of rustls."),
    count("flips_tls_error", "", "Streams with a changed bit whose receiver was told InvalidData."),
    count(
        "flips_other_error",
        "",
        "Streams with a changed bit in the handshake whose receiver was told another error.",
    ),
    count("flips_unread", "", "Streams with a changed bit behind the end, which nobody read."),
];

pub(super) const CHART: Chart = Chart {
    title: "Soak: streams by what ended them, every byte checked",
    panel: "{drivers}",
    series: "ended_by",
    value: "streams",
    leave_out: &[],
    highlight: &[CLOSED],
};

const CLOSED: &str = "close";

pub(super) fn report(totals: &BTreeMap<(Pairing, Option<Fault>), Totals>) -> Report {
    let mut report = Report::new("soak", &COLUMNS);
    for ((pairing, fault), totals) in totals {
        report.row(row(*pairing, *fault, totals));
    }
    report
}

fn row(pairing: Pairing, fault: Option<Fault>, totals: &Totals) -> Vec<Value> {
    let ended_by = fault.map_or_else(|| CLOSED.to_owned(), |fault| fault.to_string());
    let counts = |figures: &[u64]| figures.iter().copied().map(Value::Count).collect::<Vec<_>>();
    let mb = |bytes: u64| Value::Number(bytes as f64 / 1e6);
    let mut row = vec![Value::Text(pairing.to_string()), Value::Text(ended_by)];
    row.extend(counts(&[totals.streams, totals.tls12, totals.wires, totals.calls()]));
    // In the order of the columns.
    row.extend(counts(&Operation::ALL.map(|operation| totals.count(operation))));
    row.extend([mb(totals.accepted), mb(totals.received)]);
    row.extend(counts(&[totals.records, totals.sends, totals.key_updates, totals.deadlines]));
    row.push(Value::Number(totals.longest_hold.as_secs_f64() * 1e3));
    row.extend(counts(&Fate::TOLD.map(|fate| totals.ends(fate))));
    row.extend(counts(&[totals.flips_tls_error, totals.flips_other_error, totals.flips_unread]));
    row
}
