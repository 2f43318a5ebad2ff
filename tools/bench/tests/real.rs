//! `real`: what programs that no one here wrote send for each write, and what tls-cork sends.

use std::process::Command;

mod common;

use common::{assert_fails, program};

#[test]
#[ignore = "needs nbdkit, qemu-img, qemu-io, nbdcopy, fio, strace"]
fn each_program_sends_what_is_known_of_it() {
    let output = Command::new(program()).arg("real").output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8_lossy(&output.stdout);
    println!("{table}");
    // Records, sends, calls of setsockopt, and bytes for each request.
    let each = |block_size: u32, depth: u32, program: &str| -> [f64; 4] {
        let cells = |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
        let wanted = [block_size.to_string(), depth.to_string(), program.to_owned()];
        let row = table.lines().map(cells).find(|row| row.starts_with(&wanted));
        let row = row.unwrap_or_else(|| panic!("no {wanted:?} in: {table}"));
        [3, 4, 5, 6].map(|column| row[column].parse().expect("a number"))
    };
    // A call more or less at the end of a connection is no matter of requests.
    #[track_caller]
    fn assert_about(found: [f64; 4], expected: [f64; 4]) {
        let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.02);
        assert!(near, "{found:?} instead of {expected:?}");
    }

    // One record and one send; 28 bytes of header, 512 of payload, 22 of TLS 1.3.
    assert_about(each(512, 1, "tls-cork (more)"), [1.0, 1.0, 0.0, 562.0]);
    assert!(each(512, 16, "tls-cork (more)")[0] < 1.0);
    // Header and payload apart, whatever the depth; and QEMU's cork on and off.
    for depth in [1, 16] {
        assert_about(each(512, depth, "fio"), [2.0, 2.0, 0.0, 584.0]);
        assert_about(each(512, depth, "qemu-io"), [2.0, 2.0, 2.0, 584.0]);
    }
    assert_eq!(each(4096, 16, "nbdcopy")[0], 2.0);
    for copier in ["qemu-img convert", "nbdcopy"] {
        assert_eq!(each(2 << 20, 16, copier)[0], 129.0, "{copier}");
    }
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let output = Command::new(program()).arg("real").env("PATH", "/nonexistent").output().expect("the program starts");
    assert_fails(&output, 1, &["start qemu-img", "PATH", "apt-get install qemu-utils"]);
}
