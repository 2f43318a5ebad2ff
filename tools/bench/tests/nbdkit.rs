//! Against nbdkit, and beside fio. Ignored by default: they are not part of this project.

use std::process::Command;

use tls_cork_bench::shared::rivals::Nbdkit;

mod common;

use common::{Certs, Run, STRATEGIES, program};

#[test]
#[ignore = "needs nbdkit"]
fn every_strategy_reads_back_what_it_wrote_to_nbdkit_memory_over_tls() {
    let certs = Certs::new();
    for (block_size, queue_depth) in [(512, 16), (4096, 1), (40_001, 16), (2 << 20, 16)] {
        for strategy in STRATEGIES {
            let server = Nbdkit::start(Some(certs.dir()), &["memory", "64m"]).expect("nbdkit");
            let cell = Run::new(server.port, Some(certs.ca()), strategy)
                .sizes(block_size, queue_depth, 300)
                .arg("--verify")
                .cell();
            assert!(cell.verified && cell.tls, "{strategy} at {block_size} B");
            assert_eq!(cell.requests, 300);
        }
    }
}

#[test]
#[ignore = "needs nbdkit"]
fn more_reads_back_what_it_wrote_to_nbdkit_memory_without_tls() {
    let server = Nbdkit::start(None, &["memory", "64m"]).expect("nbdkit");
    let cell = Run::new(server.port, None, "more").sizes(40_001, 16, 300).arg("--verify").cell();
    assert!(cell.verified && !cell.tls);
}

#[test]
#[ignore = "needs nbdkit"]
fn one_request_is_one_record_and_one_send_to_nbdkit_too() {
    let certs = Certs::new();
    let server = Nbdkit::start(Some(certs.dir()), &["null", "4g"]).expect("nbdkit");
    for block_size in [512, 4096, 16 * 1024 - 28] {
        let cell = Run::new(server.port, Some(certs.ca()), "more").sizes(block_size, 1, 200).cell();
        assert_eq!((cell.records, cell.sends), (200, 200), "{block_size} B");
    }
}

#[test]
#[ignore = "needs nbdkit"]
fn nbdkit_that_does_not_start_says_why() {
    let failure = Nbdkit::start(None, &["no-such-plugin"]).expect_err("no such plugin");
    let message = failure.to_string();
    assert!(message.contains("no-such-plugin"), "{message}");
}

#[test]
#[ignore = "needs nbdkit"]
fn a_comparison_has_every_contender() {
    assert_eq!(contenders(&["--no-fio"]), ["immediate", "vectored", "full-cork", "more", "more --plaintext"]);
}

#[test]
#[ignore = "needs nbdkit and fio"]
fn a_comparison_has_fio_where_it_is_installed() {
    assert!(contenders(&[]).iter().any(|contender| contender == "fio"));
}

fn contenders(args: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(program())
        .args(["compare", "--seconds=2", "--block-size=512", "--json", "--out"])
        .arg(dir.path())
        .args(args)
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let standings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
    let file = std::fs::read_to_string(dir.path().join("compare.csv")).expect("a CSV file");
    assert_eq!(file.lines().count(), 1 + standings.len(), "a header, and a row for each contender: {file}");
    standings
        .iter()
        .map(|standing| {
            assert!(standing["pairs"].as_u64() > Some(0), "{standing}");
            assert!(standing["cpu_us_per_request"]["theirs"].as_f64() > Some(0.0), "{standing}");
            assert!(standing["requests_per_s"]["theirs"].as_f64() > Some(0.0), "{standing}");
            standing["contender"].as_str().expect("a name").to_owned()
        })
        .collect()
}
