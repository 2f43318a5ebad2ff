//! The policy over GnuTLS, and the example programs: compiled with a C compiler, run, and checked.
#![cfg(target_os = "linux")]

mod build;
mod nbdkit;

use std::fs;
use std::process::Command;

use build::{CASES, GLIB, Kind, SCRIPT, WRITER, build, compile_alone, output};
use nbdkit::{Nbdkit, Security};

/// Runs a test program of `tests/c` with `args`, in each version of TLS.
fn in_both_versions(command: impl Fn() -> Command, args: &[&str]) {
    for version in ["1.3", "1.2"] {
        output(command().arg(version).args(args));
    }
}

fn valgrind(kind: Kind, program: &build::Program) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite,indirect"]);
    command.arg(build(program, kind));
    command
}

#[test]
#[ignore = "needs libgnutls28-dev, libglib2.0-dev and clang"]
fn sealer_and_examples_compile_with_gcc_and_clang_without_a_warning() {
    for compiler in ["gcc", "clang"] {
        for standard in ["-std=c11", "-std=gnu17"] {
            compile_alone(compiler, standard);
        }
    }
}

#[test]
#[ignore = "needs libgnutls28-dev"]
fn the_snippets_of_the_guide_compile() {
    let guide = build::root().join("../docs/embedding-in-c.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    let snippets: Vec<&str> = guide.split("```c\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(snippets.len() > 3, "{} snippets", snippets.len());
    for snippet in snippets {
        build::check_syntax(snippet);
    }
}

#[test]
#[cfg_attr(miri, ignore = "miri reads no directory")]
fn each_example_is_short_enough_to_be_read() {
    let dir = build::root().join("examples");
    for entry in fs::read_dir(dir).expect("examples").map(|entry| entry.expect("an entry").path()) {
        let lines = fs::read_to_string(&entry).expect("text").lines().count();
        assert!(lines < 300, "{} has {lines} lines", entry.display());
    }
}

#[test]
#[ignore = "needs libgnutls28-dev"]
fn case_by_case_a_policy_over_gnutls_does_what_it_has_to() {
    in_both_versions(|| Command::new(build(&CASES, Kind::Plain)), &[]);
}

#[test]
#[ignore = "needs libgnutls28-dev"]
fn random_calls_keep_content_and_order() {
    in_both_versions(|| Command::new(build(&SCRIPT, Kind::Plain)), &["0", "300"]);
}

#[test]
#[ignore = "needs libgnutls28-dev"]
fn sanitizers_find_nothing() {
    in_both_versions(|| Command::new(build(&CASES, Kind::Sanitized)), &[]);
    in_both_versions(|| Command::new(build(&SCRIPT, Kind::Sanitized)), &["1000", "60"]);
}

#[test]
#[ignore = "needs libgnutls28-dev and valgrind"]
fn valgrind_finds_nothing() {
    in_both_versions(|| valgrind(Kind::Plain, &CASES), &[]);
    in_both_versions(|| valgrind(Kind::Plain, &SCRIPT), &["2000", "5"]);
}

#[test]
#[ignore = "needs nbdkit, libgnutls28-dev, libglib2.0-dev and valgrind"]
fn neither_sanitizers_nor_valgrind_find_anything_in_the_examples() {
    let size = ["--block=40000", "--count=40"];
    for security in Security::ALL {
        let server = Nbdkit::new(security, &["null", "64m"]);
        for mode in MODES {
            server.run(Command::new(build(&WRITER, Kind::Sanitized)).arg(format!("--mode={mode}")).args(size));
        }
        server.run(Command::new(build(&GLIB, Kind::Sanitized)).args(size));
    }
    let server = Nbdkit::new(Security::Psk, &["null", "64m"]);
    server.run(valgrind(Kind::Plain, &WRITER).args(size));
    server.run(valgrind(Kind::Plain, &GLIB).args(size));
}

const MODES: [&str; 4] = ["immediate", "tcp-cork", "record-cork", "policy"];

/// A field of the line that `nbd_writer` prints.
fn field(line: &str, name: &str) -> u64 {
    let (_, rest) = line.split_once(&format!("\"{name}\": ")).unwrap_or_else(|| panic!("no {name} in {line}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{name} is no number in {line}"))
}

/// Checks that the file has the blocks that the examples write; `number` is the first of a block's bytes.
fn check(file: &[u8], block: usize, count: usize, number: impl Fn(usize) -> usize, rest: impl Fn(usize) -> u8) {
    for n in 0..count {
        let data = &file[n * block..(n + 1) * block];
        assert_eq!(data[..8], (number(n) as u64).to_ne_bytes(), "block {n}");
        assert!(data[8..].iter().zip(8..).all(|(byte, at)| *byte == rest(at)), "content of block {n}");
    }
}

#[test]
#[ignore = "needs nbdkit and libgnutls28-dev"]
fn what_the_writer_sends_arrives_in_every_mode() {
    for security in Security::ALL {
        for mode in MODES {
            for unit in ["request", "turn", "run"] {
                for (block, depth, count) in [(512, 16, 300), (40_001, 16, 100), (2 << 20, 16, 16)] {
                    // Under one cork, no answer comes before the end.
                    let depth = if unit == "run" { count } else { depth };
                    let server = Nbdkit::file(security, block * count);
                    server.run(Command::new(build(&WRITER, Kind::Plain)).args([
                        format!("--mode={mode}"),
                        format!("--unit={unit}"),
                        format!("--block={block}"),
                        format!("--depth={depth}"),
                        format!("--count={count}"),
                    ]));
                    check(&server.content(), block, count, |n| n * block, |at| (at * 7 + at / 256) as u8);
                }
            }
        }
    }
}

#[test]
#[ignore = "needs nbdkit and libgnutls28-dev"]
fn records_and_sends_of_each_mode_are_exact() {
    let server = Nbdkit::new(Security::Psk, &["null", "64m"]);
    let counts = |mode: &str, unit: &str, depth: u64| {
        let line = server.run(Command::new(build(&WRITER, Kind::Plain)).args([
            format!("--mode={mode}"),
            format!("--unit={unit}"),
            format!("--depth={depth}"),
            format!("--count={depth}"),
        ]));
        (field(&line, "records"), field(&line, "sends"))
    };
    // One request of 512 bytes: header and payload.
    assert_eq!(MODES.map(|mode| counts(mode, "request", 1)), [(2, 2), (2, 2), (1, 1), (1, 1)]);
    // A turn of sixteen.
    assert_eq!(MODES.map(|mode| counts(mode, "turn", 16)), [(32, 32), (32, 32), (1, 1), (1, 1)]);
    // 64 of them are 34,560 bytes, which is three records. The policy seals the first one when it is full.
    assert_eq!(counts("record-cork", "turn", 64), (3, 3));
    assert_eq!(counts("policy", "turn", 64), (3, 2));
}

#[test]
#[ignore = "needs nbdkit, libgnutls28-dev and libglib2.0-dev"]
fn what_the_channel_of_glib_sends_arrives() {
    for security in Security::ALL {
        for (block, depth, count) in [(512, 16, 300), (40_001, 16, 100), (2 << 20, 16, 16)] {
            let server = Nbdkit::file(security, block * count);
            server.run(Command::new(build(&GLIB, Kind::Plain)).args([
                format!("--block={block}"),
                format!("--depth={depth}"),
                format!("--count={count}"),
            ]));
            check(&server.content(), block, count, |n| n, |_| 0);
        }
    }
}

#[test]
#[ignore = "needs nbdkit, libgnutls28-dev and libglib2.0-dev"]
fn a_request_through_the_channel_of_glib_is_one_record_and_one_send() {
    let server = Nbdkit::new(Security::Psk, &["null", "64m"]);
    let line = server.run(Command::new(build(&GLIB, Kind::Plain)).args(["--depth=1", "--count=200"]));
    assert_eq!(line.trim(), "requests 200 records 200 sends 200");
}

/// The calls that matter, from the log of strace: `None` for a send that the socket refused, `Some` for a poll, with whether it
/// waits for room.
fn calls(log: &str) -> Vec<Option<bool>> {
    log.lines()
        .filter_map(|line| {
            if line.contains("sendmsg(") && line.contains("EAGAIN") {
                Some(None)
            } else if line.contains("poll(") {
                Some(Some(line.contains("POLLOUT")))
            } else {
                None
            }
        })
        .collect()
}

#[test]
#[ignore = "needs nbdkit, libgnutls28-dev, libglib2.0-dev and strace"]
fn a_full_socket_is_waited_for_in_poll_and_nowhere_else() {
    // A server that takes its time for one request after the other: what is under way is more than sockets hold, so
    // that the socket fills up in the middle of a request, and of an uncork.
    let server = Nbdkit::new(Security::Psk, &["--threads=1", "--filter=delay", "null", "1g", "wdelay=20ms"]);
    let dir = tempfile::tempdir().expect("a directory");
    for (program, args) in
        [(&WRITER, &["--mode=policy"][..]), (&WRITER, &["--mode=policy", "--unit=request"]), (&GLIB, &[])]
    {
        let log = dir.path().join("log");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=sendmsg,poll,ppoll", "-o"]).arg(&log).arg(build(program, Kind::Plain));
        server.run(command.args(["--block=262144", "--depth=128", "--count=160"]).args(args));
        let calls = calls(&fs::read_to_string(&log).expect("a log"));
        let refused = calls.iter().filter(|call| call.is_none()).count();
        assert!(refused > 0, "the socket was never full");
        for pair in calls.windows(2) {
            assert!(pair[0].is_some() || pair[1] == Some(true), "no poll for room behind a send that was refused");
        }
    }
}

#[test]
#[ignore = "needs nbdkit and libgnutls28-dev"]
fn a_gibibyte_under_one_cork_costs_the_policy_no_memory() {
    let server = Nbdkit::new(Security::Psk, &["null", "4g"]);
    let peak = |mode: &str| {
        let line = server.run(Command::new(build(&WRITER, Kind::Plain)).arg(format!("--mode={mode}")).args([
            "--unit=run",
            "--block=2097152",
            "--depth=512",
            "--count=512",
        ]));
        field(&line, "peak_kib")
    };
    let (policy, record_cork) = (peak("policy"), peak("record-cork"));
    println!("peak memory with 1 GiB written under one cork: policy {policy} KiB, record-cork {record_cork} KiB");
    assert!(policy < 32 << 10, "policy: {policy} KiB");
    assert!(record_cork > 1 << 20, "record-cork: {record_cork} KiB");
}

#[test]
#[ignore = "needs nbdkit and libgnutls28-dev"]
fn a_server_that_refuses_is_an_error() {
    let server = Nbdkit::new(Security::Psk, &["null", "64m"]);
    let mut command = Command::new(build(&WRITER, Kind::Plain));
    let wrong = server.dir().join("wrong.psk");
    fs::write(&wrong, "alice:00112233445566778899aabbccddeeff\n").expect("a file");
    let output = server.command(command.arg(format!("--tls-psk={}", wrong.display()))).output().expect("nbdkit runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("TLS handshake: "), "{said}");
}
