//! `simulate` as a person runs it.

use std::fs;
use std::process::Command;

mod common;

#[test]
fn dynamic_records_bring_a_page_after_a_third_of_the_time() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(common::program()).args(["simulate", "--out"]).arg(dir.path()).output();
    assert!(output.expect("the program starts").status.success());
    let csv = fs::read_to_string(dir.path().join("simulate.csv")).expect("figures");
    assert_eq!(csv.lines().count(), 1 + 8 * 25 * 6, "a row for each pattern, network and policy");
    let first_usable = |policy: &str| {
        let row = csv.lines().find(|row| row.starts_with(&format!("page-static,{policy},100,10,")));
        row.and_then(|row| row.split(',').nth(4)).expect("a figure").to_owned()
    };
    assert_eq!([first_usable("more"), first_usable("more dynamic")], ["154.9216", "51.2304"]);
    assert!(dir.path().join("simulate.svg").exists());
}
