//! `real`: what programs that no one here wrote send for each write, and what tls-cork sends.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tls_cork_bench::commands::real::strace;
use tls_cork_programs::children::Guarded;

mod common;

use common::{assert_fails, program};

#[test]
#[ignore = "needs nbdkit, qemu-img, qemu-io, nbdcopy, fio, strace"]
fn each_program_sends_what_is_known_of_it() {
    let out = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(program())
        .args(["real", "--quick", "--runs=1", "--json", "--out"])
        .arg(out.path())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let standings: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
    let each = |block_size: u64, queue_depth: u64, program: &str, figure: &str| {
        let standing = standings
            .iter()
            .find(|s| s["block_size"] == block_size && s["queue_depth"] == queue_depth && s["program"] == program);
        let standing = standing.unwrap_or_else(|| panic!("{program} at {block_size} B is missing"));
        assert!(standing["requests_per_s"]["median"].as_f64() > Some(0.0), "{standing}");
        standing["per_request"][figure].as_f64().expect("a number")
    };
    // A call more or less at the end of a connection is no matter of requests.
    let about = |found: f64, expected: f64| (found - expected).abs() < 0.02;

    // One record and one send; 28 bytes of header, 512 of payload, 22 of TLS 1.3.
    let ours = |figure| each(512, 1, "tls-cork (more)", figure);
    assert_eq!((ours("records"), ours("wire_bytes")), (1.0, 562.0));
    assert!(about(ours("sends"), 1.0), "{}", ours("sends"));
    assert!(each(512, 16, "tls-cork (more)", "records") < 1.0);
    // Header and payload apart, whatever the depth; and QEMU's cork on and off.
    for depth in [1, 16] {
        for (program, setsockopt) in [("fio", 0.0), ("qemu-io", 2.0)] {
            let figure = |figure| each(512, depth, program, figure);
            assert_eq!((figure("records"), figure("wire_bytes")), (2.0, 584.0), "{program}");
            assert!(about(figure("sends"), 2.0), "{program}: {}", figure("sends"));
            assert!(about(figure("setsockopt"), setsockopt), "{program}: {}", figure("setsockopt"));
        }
    }
    assert_eq!(each(4096, 16, "nbdcopy", "records"), 2.0);
    for copier in ["qemu-img convert", "nbdcopy"] {
        assert_eq!(each(2 << 20, 16, copier, "records"), 129.0, "{copier}");
    }
    let csv = std::fs::read_to_string(out.path().join("real.csv")).expect("figures");
    assert_eq!(csv.lines().count(), 1 + standings.len());
    assert!(out.path().join("real.svg").exists());
}

#[test]
#[ignore = "needs strace"]
fn a_program_under_strace_ends_with_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    // As no other process has it.
    let time = format!("60.{}", std::process::id());
    let mut command = Command::new("strace");
    command.args(strace::arguments(&dir.path().join("log"))).args(["sleep", &time]);
    let is_running = || {
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let commands = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
        commands.filter(|command| *command == format!("sleep\0{time}\0")).count() > 0
    };
    let traced = Guarded::spawn(&mut command, "strace").expect("strace");
    let wait_until = |wanted: bool| {
        let start = Instant::now();
        while is_running() != wanted {
            assert!(start.elapsed() < Duration::from_secs(20), "running: {}", !wanted);
            thread::sleep(Duration::from_millis(5));
        }
    };
    wait_until(true);
    drop(traced);
    wait_until(false);
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let output = Command::new(program()).arg("real").env("PATH", "/nonexistent").output().expect("the program starts");
    assert_fails(&output, 1, &["start qemu-img", "PATH", "apt-get install qemu-utils"]);
}

#[test]
fn usage_mistakes() {
    for mistake in ["--runs=0", "--runs=many", "--quick=yes"] {
        let output = Command::new(program()).args(["real", mistake]).output().expect("the program starts");
        let name = mistake.split('=').next().expect("a name");
        assert_fails(&output, 2, &["usage", name]);
    }
}
