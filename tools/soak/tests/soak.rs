//! Each kind of fault a few times, from a fixed seed.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tls_cork_report::OutArgs;
use tls_cork_soak::{Fault, Operation, Pairing, SoakArgs};

#[test]
fn a_few_rounds_meet_every_operation_and_every_fault() {
    // Twenty streams for each pairing, two for each fault, of about a second each.
    let args = SoakArgs {
        seconds: 1,
        quick: false,
        rounds: Some(5),
        streams: 4,
        seed: 1,
        replay: None,
        out: OutArgs::default(),
    };
    let outcome = tls_cork_soak::measure(&args, &ProgressBar::hidden()).expect("every check");
    println!("{}\n{}", outcome.report().table(), outcome.summary());
    assert_eq!(outcome.sum(|t| t.streams), 60);
    for pairing in Pairing::ALL {
        let of_pairing = outcome.totals.iter().filter(|((each, _), _)| *each == pairing).map(|(_, totals)| totals);
        for operation in Operation::ALL {
            assert!(of_pairing.clone().any(|t| t.count(operation) > 0), "{operation:?} with {pairing}");
        }
        let closed = &outcome.totals[&(pairing, None)];
        assert!(closed.received == closed.accepted && closed.received > 100_000, "{pairing}: {closed:?}");
    }
    for fault in Fault::ALL {
        assert!(outcome.totals.keys().any(|(_, each)| *each == Some(fault)), "no stream with: {fault}");
    }
    assert!(outcome.sum(|t| t.flips_tls_error) > 0, "TLS errors by changed bits");
    assert!(outcome.sum(|t| t.key_updates) > 0 && outcome.sum(|t| t.deadlines) > 0);
    assert!(outcome.late.peak > 0);
}

#[test]
fn the_program_soaks_with_one_arena() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tls-cork-soak"));
    command.args(["--seconds=600", "--streams=1"]).env_remove("MALLOC_ARENA_MAX");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let environment = format!("/proc/{}/environ", child.id());
    let end = Instant::now() + Duration::from_secs(20);
    let has_one = || fs::read(&environment).is_ok_and(|all| all.split(|&b| b == 0).any(|v| v == b"MALLOC_ARENA_MAX=1"));
    let mut is_seen = has_one();
    while !is_seen && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
        is_seen = has_one();
    }
    kill(Pid::from_raw(child.id().try_into().expect("a process id")), Signal::SIGTERM).expect("it runs");
    child.wait().expect("a status");
    assert!(is_seen);
}
