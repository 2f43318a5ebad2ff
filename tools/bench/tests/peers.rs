//! `peers`: every stack sends every pattern, and the receiver notices what is not as it should be.
//!
//! With all stacks: `cargo test -p tls-cork-bench --features peers --test peers`.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Output};

use tls_cork_bench::commands::peers::receiver::{Job, Received};
use tls_cork_bench::commands::peers::stacks::StackName;
use tls_cork_bench::commands::peers::traffic::{Content, Pattern};
use tls_cork_bench::commands::peers::{Load, Slice};
use tls_cork_programs::children::Attendant;

mod common;

use common::{Certs, assert_fails, program};

/// Few enough for the socket to take all at once, so that counts do not depend on the receiver's
/// speed.
const BURSTS: u64 = 5;

fn peers(args: &[&str]) -> Output {
    Command::new(program()).arg("peers").args(args).output().expect("the program starts")
}

/// Each stack, pattern and load once.
fn slices(args: &[&str]) -> Vec<Slice> {
    let bursts = BURSTS.to_string();
    // A hold that ends by other means: a busy machine may let more than the usual one pass between
    // two pieces.
    let patient = ["--max-hold-ms=60000", "--json", "--bursts", &bursts];
    slices_of(&[&patient[..], args].concat())
}

fn slices_of(args: &[&str]) -> Vec<Slice> {
    let output = peers(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).expect("a JSON array")
}

fn is_built_in(stack: StackName) -> bool {
    cfg!(feature = "peers") || !stack.needs_feature()
}

#[test]
fn every_stack_sends_every_pattern() {
    let slices = slices(&[]);
    for (pattern, load) in Pattern::ALL.into_iter().flat_map(|pattern| Load::ALL.map(|load| (pattern, load))) {
        let shape = pattern.shape();
        for stack in StackName::ALL.into_iter().filter(|&stack| is_built_in(stack)) {
            let is_wanted = |slice: &&Slice| (slice.stack, slice.pattern, slice.load) == (stack, pattern, load);
            let mut found = slices.iter().filter(is_wanted);
            let slice = found.next().unwrap_or_else(|| panic!("no {stack}, {pattern}, {load:?}"));
            assert!(found.next().is_none());
            // That all of them arrived, and as they were sent, is what the program itself insists
            // on.
            assert_eq!(slice.messages, BURSTS * shape.burst as u64, "{stack}, {pattern}");
            assert_eq!(slice.bytes, BURSTS * shape.burst_len() as u64, "{stack}, {pattern}");
            assert_eq!(slice.records.is_some(), stack.uses_tls(), "{stack}, {pattern}");
            // RFC 8446: a record costs 22 bytes beside its plaintext.
            if let Some(records) = slice.records {
                assert_eq!(slice.wire_bytes, slice.bytes + 22 * records, "{stack}, {pattern}");
            } else if stack == StackName::AeadPlain {
                let records = BURSTS * (shape.burst_len() as u64).div_ceil(16_384);
                assert_eq!(slice.wire_bytes, slice.bytes + 22 * records, "{stack}, {pattern}");
            } else if stack.has_transport() {
                assert_eq!(slice.wire_bytes, slice.bytes, "{stack}, {pattern}");
            }
            for count in [slice.sends, slice.reads] {
                assert_eq!(count.is_some_and(|count| count > 0), stack.has_transport(), "{stack}, {pattern}");
            }
            assert!(slice.sender_cpu_us > 0.0, "{stack}, {pattern}");
            assert_eq!(slice.receiver_cpu_us.is_some_and(|cpu| cpu > 0.0), stack.has_transport(), "{stack}, {pattern}");
            let has_delay = slice.delay_p50_us.is_some_and(|p50| 0.0 < p50);
            assert_eq!(has_delay, stack.has_transport() && load == Load::Fixed, "{stack}, {pattern}");
            assert_eq!(slice.messages_per_s.is_some_and(|speed| speed > 0.0), load == Load::Full, "{stack}, {pattern}");
        }
    }
    let expected = StackName::ALL.into_iter().filter(|&stack| is_built_in(stack)).count() * Pattern::ALL.len();
    assert_eq!(slices.len(), expected * Load::ALL.len());
}

#[test]
fn a_small_message_is_one_record_and_one_send_for_ours_for_buffers_and_vectored_writes_and_more_for_the_others() {
    let small = ["nbd-512", "nbd-4k", "sheepdog-4k", "reply-4k", "http2", "burst"];
    let args: Vec<&str> = small.into_iter().flat_map(|name| ["--pattern", name]).collect();
    for slice in slices(&args) {
        let shape = slice.pattern.shape();
        let pieces = BURSTS * (shape.pieces.len() * shape.burst) as u64;
        let counts = (slice.records, slice.sends);
        // tokio makes a busy task yield; what it writes meanwhile waits, sealed, and leaves in
        // fewer sends.
        let on_tokio = |records| (Some(records), slice.sends.map(|sends| sends.min(records)));
        let expected = match slice.stack {
            StackName::OursMio | StackName::OursAsync => (Some(BURSTS), Some(BURSTS)),
            StackName::OursTokio | StackName::OursTokioSink => (Some(BURSTS), Some(BURSTS)),
            StackName::RustlsBuf | StackName::FuturesBuf | StackName::OpensslBuf => (Some(BURSTS), Some(BURSTS)),
            StackName::RustlsVec | StackName::FuturesVec => (Some(BURSTS), Some(BURSTS)),
            StackName::TokioBuf | StackName::TokioVec | StackName::TokioFramed | StackName::S2nBuf => on_tokio(BURSTS),
            StackName::Rustls | StackName::Futures | StackName::Openssl => (Some(pieces), Some(pieces)),
            StackName::Tokio | StackName::S2n => on_tokio(pieces),
            StackName::PlainVectored | StackName::Plain | StackName::AeadPlain => (None, Some(BURSTS)),
            StackName::PlainMore => (None, Some(pieces)),
            StackName::Aead => (None, None),
        };
        assert_eq!(counts, expected, "{}, {}, {:?}", slice.stack, slice.pattern, slice.load);
    }
}

#[test]
fn both_slices_of_a_pair_follow_each_other_and_waste_is_found() {
    let args = ["--seconds=4", "--quick", "--pattern=nbd-4k", "--stack=ours-mio", "--json"];
    // Fifty times its CPU time: enough to be seen on any machine.
    let slices = slices_of(&[&args[..], &["--handicap=ours-mio=5000%"]].concat());
    assert!(slices.len() >= 4 && slices.len().is_multiple_of(4), "{}", slices.len());
    for pair in slices.chunks(2) {
        assert_eq!((pair[0].stack, pair[0].load), (pair[1].stack, pair[1].load));
        assert!(pair[0].sender_cpu_us < pair[1].sender_cpu_us, "{pair:?}");
    }
}

/// A receiver that expects one connection, without TLS.
fn receiver(certs: &Certs) -> (Attendant, u16) {
    let mut command = Command::new(program());
    command.args(["peers-receive", "--stack=plain-more", "--certs"]).arg(certs.dir());
    let mut receiver = Attendant::start(&mut command, "receiver").expect("receiver");
    let port = receiver.hear().expect("port").trim().parse().expect("port");
    (receiver, port)
}

fn job(interval_ns: Option<u64>) -> Job {
    Job { seat: 0, pattern: Pattern::Nbd512, bursts: 3, interval_ns, place: 0, spin_ns: 0.0 }
}

/// What the receiver reports of `data`, sent without TLS.
fn report_of(data: &[u8], paced: bool) -> Received {
    let certs = Certs::new();
    let (mut receiver, port) = receiver(&certs);
    let job = job(paced.then_some(1));
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
    receiver.tell(&serde_json::to_string(&job(None)).expect("JSON")).expect("tell");
    let output = Command::new(program())
        .args(["peers-send", "--stack=ours-mio"])
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
            .args(["peers-send", "--connect=127.0.0.1:1"])
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
    assert_fails(&peers(&["--quick", "--full"]), 2, &["usage", "--full"]);
    assert_fails(&peers(&["--handicap=rustls"]), 2, &["usage", "STACK=N%"]);
    assert_fails(&peers(&["--seconds=0"]), 2, &["usage", "--seconds"]);
    assert_fails(&peers(&["--bursts=0"]), 2, &["usage", "--bursts"]);
    if !cfg!(feature = "peers") {
        assert_fails(&peers(&["--stack=openssl"]), 2, &["usage", "openssl", "--features peers"]);
    }
}

#[test]
fn without_the_feature_one_line_says_how_to_get_all_stacks() {
    let args = ["--bursts=1", "--pattern=nbd-512"];
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
    let stacks = ["--stack=rustls", "--stack=rustls-vec", "--stack=rustls-buf"];
    let args = ["--seconds=1", "--quick", "--pattern=nbd-512", "--pattern=burst", &out];
    let output = peers(&[&args[..], &stacks].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let csv = std::fs::read_to_string(dir.path().join("peers.csv")).expect("peers.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 1 + 2 * 2 * 4, "{csv}");
    assert!(lines[0].starts_with("pattern,load,stack,ours,records_per_message,"), "{csv}");
    assert!(lines[1].starts_with("nbd-512,fixed,rustls,ours-mio,2,"), "{csv}");
    assert!(lines[4].starts_with("nbd-512,fixed,ours-mio (A/A),ours-mio,1,"), "{csv}");
    let text = std::fs::read_to_string(dir.path().join("peers.md")).expect("peers.md");
    assert_eq!(text.lines().filter(|line| line.starts_with("### ")).count(), 4, "{text}");
    let verdicts: Vec<&str> = text.lines().filter(|line| line.starts_with("- Sender CPU")).collect();
    // Too few sittings for an interval: no word but this one.
    for verdict in verdicts {
        assert!(verdict.ends_with("cannot tell (rustls, rustls-vec, rustls-buf)."), "{verdict}");
    }
    let picture = std::fs::read_to_string(dir.path().join("readme.svg")).expect("readme.svg");
    assert!(picture.contains("each piece written apart") && picture.contains("MORE"));
}
