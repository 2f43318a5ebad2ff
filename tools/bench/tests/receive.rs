//! `receive`: every row is there, the figures are kept, and ours reads less often.
#![cfg(feature = "peers")]

use std::process::{Command, Output};

mod common;

use common::{assert_fails, program};

fn receive(args: &[&str]) -> Output {
    Command::new(program()).arg("receive").args(args).output().expect("the program starts")
}

#[test]
fn every_stack_has_its_row_and_the_figures_are_kept() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = format!("--out={}", dir.path().display());
    let output = receive(&["--quick", "--seconds=1", "--message=4k", "--message=16k", &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let csv = std::fs::read_to_string(dir.path().join("receive.csv")).expect("receive.csv");
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1 + 2 * 6, "{csv}");
    assert_eq!(rows[0][..4], ["message", "stack", "ours", "reads_per_16_kib"], "{csv}");
    assert_eq!(rows[1][..3], ["4 KiB", "rustls", "ours-mio"], "{csv}");
    assert_eq!(rows[2][..3], ["4 KiB", "ours-mio (A/A)", "ours-mio"], "{csv}");
    assert_eq!(rows[7][..3], ["16 KiB", "rustls", "ours-mio"], "{csv}");
    let reads = |row: usize| rows[row][3].parse::<f64>().expect("a number");
    for row in [1, 3, 5] {
        // rustls takes 4 KiB at a time, ours up to 64 KiB.
        assert!(reads(row) > 3.9 && reads(row + 1) < 1.0, "{csv}");
    }
    let text = std::fs::read_to_string(dir.path().join("receive.md")).expect("receive.md");
    // Too few sittings for an interval: no word but this one.
    assert_eq!(text.matches("cannot tell (rustls, futures, tokio).").count(), 2, "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), text.trim_end());
}

#[test]
fn arguments_that_are_wrong() {
    assert_fails(&receive(&["--message=5k"]), 2, &["usage", "5k"]);
    assert_fails(&receive(&["--seconds=0"]), 2, &["usage", "--seconds"]);
    let output = Command::new(program())
        .args(["receive-take", "--stack=s2n", "--connect=127.0.0.1:1", "--ca=ca.pem", "--processor=0"])
        .output()
        .expect("the program starts");
    assert_fails(&output, 2, &["usage", "--stack", "s2n does not receive"]);
}
