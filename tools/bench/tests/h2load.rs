//! `h2load`: every row is there, and tls-cork makes no more records and sends.
#![cfg(feature = "peers")]

use std::process::Command;

mod common;

use common::program;

#[test]
#[ignore = "needs h2load"]
fn every_body_and_version_has_its_rows() {
    let output = Command::new(program()).args(["h2load", "--seconds=1"]).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Vec<&str>> =
        text.lines().skip(2).map(|line| line.split('|').map(str::trim).collect::<Vec<_>>()).collect();
    assert_eq!(rows.len(), 18, "{text}");
    for pair in rows.chunks(2) {
        let [theirs, ours] = pair else { unreachable!("an even number") };
        assert_eq!(
            (theirs[1..3].to_vec(), theirs[3], ours[3]),
            (ours[1..3].to_vec(), "tokio-rustls", "tls-cork (A/A)")
        );
        // A response that fits in one record is one send. More sends depend on the speed of h2load.
        if theirs[1..3] == ["100", "1.1"] {
            assert_eq!((ours[4], ours[5]), ("1.00", "1.00"), "{text}");
        }
    }
}
