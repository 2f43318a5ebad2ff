//! `simulate` as a person runs it: the same figures each time, and clear words about bad traces.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

mod common;

use common::{assert_fails, program};

fn simulate(args: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(program());
    command.arg("simulate").args(args);
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    command.output().expect("the program starts")
}

/// The CSV file of a small simulation in which segments get lost.
fn figures(seed: &str) -> (String, String) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let network = ["--rtt-ms=50", "--mbit-per-s=10", "--loss-percent=2", "--runs=3"];
    let patterns = ["--pattern=http2", "--pattern=page-static"];
    let output = simulate(&[&network[..], &patterns, &["--seed", seed]].concat(), &[("--out", dir.path())]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = |name: &str| fs::read_to_string(dir.path().join(name)).expect(name);
    (file("simulate.csv"), file("simulate.svg"))
}

#[test]
fn the_same_seed_gives_the_same_files_to_the_byte() {
    let (csv, svg) = figures("5");
    assert_eq!((csv.clone(), svg), figures("5"));
    assert_ne!(csv, figures("6").0, "other segments are lost");
    assert_eq!(csv.lines().count(), 1 + 2 * 6, "a header, and a row for each pattern and policy");
    let columns = csv.lines().next().expect("a header").split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns), "{csv}");
}

#[test]
fn a_trace_takes_the_place_of_the_patterns() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("mine.csv");
    fs::write(&file, "time_us,length_bytes,more\n0,28,1\n0,512,0\n").expect("written");
    let output = simulate(&["--rtt-ms=100", "--mbit-per-s=10", "--loss-percent=0"], &[("--trace", &file)]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let row = |policy: &str| {
        let cells = |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
        let mut rows = text.lines().map(cells);
        rows.find(|cells| cells.len() > 1 && cells[0] == "mine" && cells[1] == policy).expect("a row")
    };
    // 540 + 22 bytes in one segment: (562 + 90) × 8 bits / 10 Mbit/s = 0.5216 ms, and 50 ms.
    assert_eq!(row("more")[2], "50.52");
    // The header alone: (50 + 90) × 8 / 10 Mbit/s = 0.112 ms, and 50 ms.
    assert_eq!(row("immediate")[2], "50.11");
}

#[test]
fn bad_traces_and_options_are_explained_in_one_line() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("bad.csv");
    let cases: [(&[u8], &str); 5] = [
        (b"", "line 1: no writes"),
        (b"time,length\n", "line 1: the first line must be time_us,length_bytes,more"),
        (b"time_us,length_bytes,more\n0,28,1\n0,x,0\n", "line 3: length_bytes is \"x\""),
        (b"time_us,length_bytes,more\n9,28,1\n8,1,0\n", "line 3: time_us goes back"),
        (b"\xff\xfe\n", "UTF-8"),
    ];
    for (contents, part) in cases {
        fs::write(&file, contents).expect("written");
        assert_fails(&simulate(&[], &[("--trace", &file)]), 1, &["read trace", "bad.csv", part]);
    }
    let missing = dir.path().join("missing.csv");
    assert_fails(&simulate(&[], &[("--trace", &missing)]), 1, &["read trace", "missing.csv", "No such file"]);
    for option in ["--rtt-ms=0", "--rtt-ms=NaN", "--mbit-per-s=-1", "--loss-percent=21", "--pattern=x", "--runs=0"] {
        let name = option.split('=').next().expect("a name");
        assert_fails(&simulate(&[option], &[]), 2, &["usage", name]);
    }
}
