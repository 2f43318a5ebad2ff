//! Runs this program under callgrind, and sorts what it counted.

use std::collections::HashMap;
use std::error::Error;
use std::io::ErrorKind;
use std::process::Command;
use std::{env, fs};

use clap::ValueEnum;

use crate::path::Path;
use crate::rows::{MESSAGES, Row};

/// Instructions for each message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// All of them.
    pub(crate) all: f64,
    /// Those in functions of tls-cork and of the containers that it uses.
    pub(crate) own: f64,
}

/// Counts the instructions that a message of `row` takes over `path`.
pub(crate) fn count(row: Row, path: Path) -> Result<Count, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let profile = folder.path().join("callgrind");
    let names = [row.to_possible_value(), path.to_possible_value()];
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*::rows::collected*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .arg("run")
        .args(names.iter().flatten().map(|value| value.get_name()))
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => "valgrind is not installed: install the package valgrind".into(),
            _ => format!("cannot start valgrind: {error}"),
        })?;
    if !output.status.success() {
        return Err(format!("valgrind failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    sum(&fs::read_to_string(&profile)?)
}

/// Sums a profile: <https://valgrind.org/docs/manual/cl-format.html>.
fn sum(profile: &str) -> Result<Count, Box<dyn Error>> {
    let mut names = HashMap::new();
    let (mut all, mut own) = (0, 0);
    let mut is_own = false;
    let mut is_call = false;
    let mut resolve = |text: &str| {
        // "(7) name" gives the name, "(7)" repeats it.
        let (id, name) = text.split_once(' ').unwrap_or((text, ""));
        if !name.is_empty() {
            names.insert(id.to_owned(), name.to_owned());
        }
        names.get(id).cloned().unwrap_or_default()
    };
    for line in profile.lines() {
        if let Some(text) = line.strip_prefix("fn=") {
            is_own = is_ours(&resolve(text));
        } else if let Some(text) = line.strip_prefix("cfn=") {
            resolve(text);
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            // The line behind `calls=` has the cost of the callee.
            if !std::mem::take(&mut is_call)
                && let Some(cost) = line.split(' ').nth(1)
            {
                let cost: u64 = cost.parse()?;
                all += cost;
                own += if is_own { cost } else { 0 };
            }
        }
    }
    if all == 0 {
        return Err("callgrind has counted nothing: was the function renamed in which it counts?".into());
    }
    let each = |sum: u64| sum as f64 / MESSAGES as f64;
    Ok(Count { all: each(all), own: each(own) })
}

/// Whether a function counts as ours. This program's few instructions around the calls do too, since
/// the compiler puts code of the libraries into its functions.
fn is_ours(function: &str) -> bool {
    ["tls_cork", "bytes::", "smallvec::"].iter().any(|crate_name| function.contains(crate_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
events: Ir
fn=(1) tls_cork::policy::write
5 400
calls=1 7
6 8000
fn=(2) rustls::seal
7 4000
cob=(2) /lib/libc.so.6
cfn=(3) memcpy
calls=1 0
8 4000
fn=(3)
0 4000
fn=(1)
+1 400
totals: 8800
";

    #[test]
    fn costs_are_counted_once_and_sorted_by_whose_function_it_is() {
        let count = sum(PROFILE).expect("a profile");
        assert_eq!((count.all, count.own), (8800.0 / MESSAGES as f64, 800.0 / MESSAGES as f64));
    }

    #[test]
    fn a_profile_without_a_count_is_an_error() {
        assert!(sum("events: Ir\nsummary: 0\n").is_err());
    }
}
