//! `nbd-servers`: both servers take and give what qemu-img and nbdcopy copy, and the figures are kept.
#![cfg(feature = "peers")]

use std::process::{Command, Output, Stdio};

mod common;

use common::{assert_fails, program};

fn nbd_servers(args: &[&str]) -> Output {
    Command::new(program()).arg("nbd-servers").args(args).output().expect("the program starts")
}

#[test]
#[ignore = "needs qemu-img, nbdcopy, strace"]
fn every_copy_has_its_rows_and_the_figures_are_kept() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = format!("--out={}", dir.path().display());
    let output = nbd_servers(&["--runs=1", "--mib=16", &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let csv = std::fs::read_to_string(dir.path().join("nbd-servers.csv")).expect("nbd-servers.csv");
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 1 + 2 * 4, "{csv}");
    assert_eq!(rows[0][..4], ["client", "command", "server", "reads_per_mib"], "{csv}");
    assert_eq!(rows[1][..3], ["qemu-img convert", "WRITE", "futures-rustls"], "{csv}");
    assert_eq!(rows[8][..3], ["nbdcopy", "READ", "tls-cork (A/A)"], "{csv}");
    for row in &rows[1..] {
        assert!((3..6).all(|at| row[at].parse::<f64>().is_ok_and(|figure| figure > 0.0)), "{csv}");
    }
    let text = std::fs::read_to_string(dir.path().join("nbd-servers.md")).expect("nbd-servers.md");
    // Too few sittings for an interval: no word but this one.
    assert!(text.contains("cannot tell (qemu-img convert WRITE, qemu-img convert READ,"), "{text}");
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let mut command = Command::new(program());
    let output = command.arg("nbd-servers").env("PATH", "/nonexistent").output().expect("the program starts");
    assert_fails(&output, 1, &["start qemu-img", "PATH", "apt-get install qemu-utils"]);
}

#[test]
fn arguments_that_are_wrong() {
    assert_fails(&nbd_servers(&["--runs=0"]), 2, &["usage", "--runs"]);
    let mut server = Command::new(program())
        .args(["nbd-servers-serve", "--stack=futures", "--processor=0", "--", "--listen=127.0.0.1:0"])
        .args(["--memory=4096", "--cert=/nonexistent/cert.pem", "--key=/nonexistent/key.pem"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Its end would end the server.
    let stdin = server.stdin.take();
    let output = server.wait_with_output().expect("the program ends");
    drop(stdin);
    assert_fails(&output, 1, &["serve", "nbd_server", "/nonexistent/cert.pem"]);
}
