//! All drivers against other implementations of TLS, as client and as server. One table says with whom, what and how it went:
//!
//! ```sh
//! cargo test --release -p tls-cork-async-std --test interop -- --ignored --nocapture
//! ```
//!
//! `INTEROP=gnutls` runs the rows that have this word in their program's name.
#![cfg(target_os = "linux")]

mod cases;
mod curl;
mod nbd;
mod on_tokio;
mod ours;
mod peers;
mod pki;
mod programs;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use cases::Case;
use pki::{Pki, SUITES};
use table::{Feature, Program, Row, Version, not_possible, render};

/// Programs start slowly and wait for each other: more at a time than there are processors.
const WORKERS: usize = 4;

#[test]
#[ignore = "needs openssl, gnutls-bin, curl, nbdkit and qemu-utils"]
fn other_implementations_understand_us_and_we_them() {
    let wanted = std::env::var("INTEROP").unwrap_or_default();
    let cases: Vec<Case> = cases().into_iter().filter(|case| case.program.name().contains(&wanted)).collect();
    for case in &cases {
        let (program, package) = case.program.executable();
        assert!(is_installed(program), "no {program} on PATH; install it with: apt-get install {package}");
    }
    let pki = Pki::new();
    let begun = Instant::now();
    let (total, queue) = (cases.len(), Mutex::new(cases.into_iter().enumerate()));
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((n, case)) = queue.lock().expect("no panic while it is locked").next() else { return };
                    let outcome = catch_unwind(AssertUnwindSafe(|| case.run(&pki)))
                        .unwrap_or_else(|panic| Err(format!("panicked: {}", message(&*panic))));
                    let Case { program, suite, feature, driver } = case;
                    let row = Row { program, suite, feature, driver, outcome };
                    rows.lock().expect("no panic while it is locked").push((n, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("no panic while it was locked");
    rows.sort_by_key(|(n, _)| *n);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    let failed = rows.iter().filter(|row| row.outcome.is_err()).count();
    println!("\n{}", render(&rows));
    println!("{} of {total} rows ok in {:.1} s", total - failed, begun.elapsed().as_secs_f64());
    assert!(rows.len() == total && total > 0, "{} of {total} rows", rows.len());
    assert!(failed == 0, "{failed} of {total} rows failed");
}

/// Everything that is possible.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for program in Program::ALL {
        for version in Version::ALL {
            for feature in Feature::ALL {
                if not_possible(program, version, feature).is_some() {
                    continue;
                }
                let suites = SUITES.iter().filter(|suite| suite.version == version);
                let how_many = if feature == Feature::Transfer { SUITES.len() } else { 1 };
                for suite in suites.take(how_many) {
                    for &driver in program.drivers() {
                        cases.push(Case { program, suite, feature, driver });
                    }
                }
            }
        }
    }
    cases
}

/// Whether there is such a program in one of PATH's directories.
fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
}
