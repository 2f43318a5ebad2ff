//! `peers`: every stack sends every pattern, and the receiver notices what is not as it should be.
//!
//! With all stacks: `cargo test -p tls-cork-bench --features peers --test peers`.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Output};

use tls_cork_bench::commands::peers::Cell;
use tls_cork_bench::commands::peers::receiver::{Job, Received};
use tls_cork_bench::commands::peers::stacks::StackName;
use tls_cork_bench::commands::peers::traffic::{Content, Pattern};
use tls_cork_programs::children::Attendant;

mod common;

use common::{Certs, assert_fails, program};

/// Few enough for the socket to take all at once, so that counts do not depend on the receiver's speed.
const BURSTS: u64 = 5;

fn peers(args: &[&str]) -> Output {
    Command::new(program()).arg("peers").args(args).output().expect("the program starts")
}

fn cells(args: &[&str]) -> Vec<Cell> {
    let bursts = BURSTS.to_string();
    // A hold that ends by other means: a busy machine may let more than the usual one pass between two pieces.
    let patient = ["--runs=1", "--seconds=60", "--max-hold-ms=60000", "--json", "--bursts", &bursts];
    let output = peers(&[&patient[..], args].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("a JSON array")
}

fn is_built_in(stack: StackName) -> bool {
    cfg!(feature = "peers") || !stack.needs_feature()
}

#[test]
fn every_stack_sends_every_pattern() {
    let cells = cells(&[]);
    for pattern in Pattern::ALL {
        let shape = pattern.shape();
        for stack in StackName::ALL.into_iter().filter(|&stack| is_built_in(stack)) {
            let mut found = cells.iter().filter(|cell| cell.stack == stack && cell.pattern == pattern);
            let cell = found.next().unwrap_or_else(|| panic!("no {stack}, {pattern}"));
            assert!(found.next().is_none());
            // That all of them arrived, and as they were sent, is what the program itself insists on.
            assert_eq!(cell.messages, BURSTS * shape.burst as u64, "{stack}, {pattern}");
            assert_eq!(cell.bytes, BURSTS * shape.burst_len() as u64, "{stack}, {pattern}");
            assert_eq!(cell.records.is_some(), stack.uses_tls(), "{stack}, {pattern}");
            // RFC 8446: a record costs 22 bytes beside its plaintext.
            if let Some(records) = cell.records {
                assert_eq!(cell.wire_bytes, cell.bytes + 22 * records, "{stack}, {pattern}");
            } else if stack.has_transport() {
                assert_eq!(cell.wire_bytes, cell.bytes, "{stack}, {pattern}");
            }
            assert_eq!(cell.sends.is_some_and(|sends| sends > 0), stack.has_transport(), "{stack}, {pattern}");
            let delay = cell.delay_p50_us.zip(cell.delay_p999_us);
            assert_eq!(delay.is_some_and(|(p50, p999)| 0.0 < p50 && p50 <= p999), stack.has_transport(), "{stack}");
        }
    }
    let expected = StackName::ALL.into_iter().filter(|&stack| is_built_in(stack)).count() * Pattern::ALL.len();
    assert_eq!(cells.len(), expected);
}

#[test]
fn a_small_message_is_one_record_and_one_send_for_ours_for_buffers_and_vectored_writes_and_more_for_the_others() {
    let small = ["nbd-512", "nbd-4k", "sheepdog-4k", "reply-4k", "http2", "burst"];
    let args: Vec<&str> =
        ["--no-delay"].into_iter().chain(small.into_iter().flat_map(|name| ["--pattern", name])).collect();
    for cell in cells(&args) {
        let shape = cell.pattern.shape();
        let pieces = BURSTS * (shape.pieces.len() * shape.burst) as u64;
        let counts = (cell.records, cell.sends);
        // tokio makes a busy task yield; what it writes meanwhile waits, sealed, and leaves in fewer sends.
        let on_tokio = |records| (Some(records), cell.sends.map(|sends| sends.min(records)));
        let expected = match cell.stack {
            StackName::OursMio | StackName::OursAsync => (Some(BURSTS), Some(BURSTS)),
            StackName::RustlsBuf | StackName::FuturesBuf | StackName::OpensslBuf => (Some(BURSTS), Some(BURSTS)),
            StackName::RustlsVec | StackName::FuturesVec => (Some(BURSTS), Some(BURSTS)),
            StackName::TokioBuf | StackName::TokioVec | StackName::S2nBuf => on_tokio(BURSTS),
            StackName::Rustls | StackName::Futures | StackName::Openssl => (Some(pieces), Some(pieces)),
            StackName::Tokio | StackName::S2n => on_tokio(pieces),
            StackName::PlainVectored => (None, Some(BURSTS)),
            StackName::PlainMore => (None, Some(pieces)),
            StackName::Aead => (None, None),
        };
        assert_eq!(counts, expected, "{}, {}", cell.stack, cell.pattern);
    }
}

fn receiver(certs: &Certs) -> (Attendant, u16) {
    let mut receiver =
        Attendant::start(Command::new(program()).arg("peers-receive").arg("--certs").arg(certs.dir()), "receiver")
            .expect("receiver");
    let port = receiver.hear().expect("port").trim().parse().expect("port");
    (receiver, port)
}

/// What the receiver reports of `data`, sent without TLS.
fn report_of(data: &[u8], paced: bool) -> Received {
    let certs = Certs::new();
    let (mut receiver, port) = receiver(&certs);
    let job = Job { pattern: Pattern::Nbd512, tls: false, paced };
    receiver.tell(&serde_json::to_string(&job).expect("JSON")).expect("tell");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.write_all(data).expect("write");
    drop(stream);
    serde_json::from_str(&receiver.hear().expect("report")).expect("JSON")
}

#[test]
fn the_receiver_reports_what_is_not_as_it_was_sent() {
    let content = Content::default();
    let good = content.at(0, 3 * 540).to_vec();
    let report = report_of(&good, true);
    assert_eq!((report.error, report.bytes, report.arrived_ns.len()), (None, 3 * 540, 3));
    assert!(report.last_ns >= report.arrived_ns[2]);

    let mut changed = good.clone();
    changed[1000] ^= 1;
    assert_eq!(report_of(&changed, false).error.as_deref(), Some("byte 1000 is not what was sent"));

    let cut = report_of(&good[..1619], false);
    assert_eq!(cut.error.as_deref(), Some("ended 539 bytes into a message"));

    let mut swapped = good[540..].to_vec();
    swapped.extend_from_slice(&good[..540]);
    assert_eq!(report_of(&swapped, false).error.as_deref(), Some("byte 0 is not what was sent"));
}

#[test]
fn a_receiver_that_speaks_no_tls_is_told_apart() {
    let certs = Certs::new();
    let (mut receiver, port) = receiver(&certs);
    let job = Job { pattern: Pattern::Nbd512, tls: false, paced: false };
    receiver.tell(&serde_json::to_string(&job).expect("JSON")).expect("tell");
    let output = Command::new(program())
        .args(["peers-send", "--stack=ours-mio", "--pattern=nbd-512", "--seconds=1"])
        .arg(format!("--connect=127.0.0.1:{port}"))
        .arg("--ca")
        .arg(certs.ca())
        .output()
        .expect("the program starts");
    assert_fails(&output, 1, &["send with ours-mio", "127.0.0.1"]);
    let report: Received = serde_json::from_str(&receiver.hear().expect("report")).expect("JSON");
    assert_eq!(report.error.as_deref(), Some("byte 0 is not what was sent"));
}

#[test]
fn nobody_listens() {
    let certs = Certs::new();
    for stack in StackName::ALL.into_iter().filter(|&stack| is_built_in(stack) && stack.has_transport()) {
        let output = Command::new(program())
            .args(["peers-send", "--pattern=nbd-512", "--seconds=1", "--connect=127.0.0.1:1"])
            .arg(format!("--stack={stack}"))
            .arg("--ca")
            .arg(certs.ca())
            .output()
            .expect("the program starts");
        assert_fails(&output, 1, &[&format!("send with {stack}"), "127.0.0.1:1", "refused"]);
    }
}

#[test]
fn arguments_that_are_wrong() {
    assert_fails(&peers(&["--pattern=nbd-513"]), 2, &["usage", "nbd-513"]);
    assert_fails(&peers(&["--stack=gnutls"]), 2, &["usage", "gnutls"]);
    assert_fails(&peers(&["--runs=0"]), 2, &["usage", "--runs"]);
    assert_fails(&peers(&["--seconds=0"]), 2, &["usage", "--seconds"]);
    assert_fails(&peers(&["--bursts=0"]), 2, &["usage", "--bursts"]);
    if !cfg!(feature = "peers") {
        assert_fails(&peers(&["--stack=openssl"]), 2, &["usage", "openssl", "--features peers"]);
    }
}

#[test]
fn without_the_feature_one_line_says_how_to_get_all_stacks() {
    let args = ["--runs=1", "--seconds=60", "--bursts=1", "--no-delay", "--pattern=nbd-512"];
    let output = peers(&args);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    let told = said.lines().filter(|line| line.contains("--features peers")).count();
    assert_eq!(told, usize::from(!cfg!(feature = "peers")), "{said}");
}

#[test]
fn the_figures_are_kept() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = format!("--out={}", dir.path().display());
    let args =
        ["--runs=2", "--seconds=60", "--bursts=2", "--pattern=burst", "--stack=rustls", "--stack=ours-mio", &out];
    assert!(peers(&args).status.success());
    let csv = std::fs::read_to_string(dir.path().join("peers.csv")).expect("peers.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 3, "{csv}");
    assert!(lines[0].starts_with("pattern,stack,messages_per_s,"), "{csv}");
    assert!(lines[1].starts_with("burst,ours-mio,") && lines[2].starts_with("burst,rustls,"), "{csv}");
    let picture = std::fs::read_to_string(dir.path().join("peers.svg")).expect("peers.svg");
    assert!(picture.contains("ours-mio"));
}
