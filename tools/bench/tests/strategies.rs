//! Every strategy, end to end against the embedded server: content, and what is on the wire.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tls_cork_bench::server::ExportKind;

mod common;

use common::{Certs, Run, STRATEGIES, plaintext_server, program, tls_server};

const MIB: u64 = 1 << 20;

/// Block sizes on both sides of a record, and requests enough to begin again at the export's
/// start with the smallest of them.
const SIZES: [(u32, u32, u64); 5] =
    [(512, 16, 5000), (1, 16, 100), (16 * 1024, 3, 100), (40_001, 16, 60), (2 * 1024 * 1024, 16, 20)];

#[test]
fn what_is_written_over_tls_can_be_read_back() {
    let certs = Certs::new();
    for (block_size, queue_depth, requests) in SIZES {
        for strategy in STRATEGIES {
            // A server of its own: nothing that an earlier run has left can be taken for this one's.
            let server = tls_server(&certs, ExportKind::Memory, 2 * MIB);
            let cell = Run::new(server.port, Some(certs.ca()), strategy)
                .sizes(block_size, queue_depth, requests)
                .arg("--verify")
                .cell();
            assert!(cell.verified && cell.tls);
            assert_eq!(cell.requests, requests, "{strategy} at {block_size} B");
            assert!(cell.records > 0);
        }
    }
}

#[test]
fn what_is_written_without_tls_can_be_read_back() {
    for (block_size, queue_depth, requests) in SIZES {
        let server = plaintext_server(ExportKind::Memory, 2 * MIB);
        let run = Run::new(server.port, None, "more").sizes(block_size, queue_depth, requests);
        let cell = run.arg("--verify").cell();
        assert!(cell.verified && !cell.tls);
        assert_eq!(cell.records, 0, "there are no records without TLS");
        assert_eq!(cell.wire_bytes, requests * (u64::from(block_size) + 28), "{block_size} B");
    }
}

#[test]
fn tls_1_2_carries_every_strategy_too() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Memory, 16 * MIB);
    for strategy in STRATEGIES {
        let cell = Run::new(server.port, Some(certs.ca()), strategy).arg("--verify").arg("--tls-version=1.2").cell();
        assert!(cell.verified, "{strategy}");
        // RFC 5288: a record costs 29 bytes beside its plaintext; RFC 8446: 22.
        let plaintext = cell.requests * (4096 + 28);
        assert_eq!(cell.wire_bytes, plaintext + 29 * cell.records, "{strategy}");
    }
}

#[test]
fn verification_notices_a_server_that_keeps_nothing() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, MIB);
    for strategy in STRATEGIES {
        let output = Run::new(server.port, Some(certs.ca()), strategy).arg("--verify").output();
        let place = format!("127.0.0.1:{}", server.port);
        // What is written is random: one block in 256 begins with a zero, as the server's does.
        let parts = ["verify", &place, "differs at offset", "read 0x00 (block at 0, 4096 bytes)"];
        common::assert_fails(&output, 1, &parts);
    }
}

#[test]
fn one_request_at_depth_1_is_one_record_and_one_send_with_more() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, MIB);
    for block_size in [1, 512, 1000, 4096, 8192, 16 * 1024 - 29, 16 * 1024 - 28] {
        let cell = Run::new(server.port, Some(certs.ca()), "more").sizes(block_size, 1, 100).cell();
        assert_eq!(cell.requests, 100);
        assert_eq!(cell.records, 100, "records at {block_size} B");
        assert_eq!(cell.sends, 100, "sends at {block_size} B");
        let each = u64::from(block_size) + 28 + 22;
        assert_eq!(cell.wire_bytes, 100 * each, "wire bytes at {block_size} B");
    }
}

#[test]
fn one_byte_over_a_record_is_a_second_record_in_the_same_send() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, MIB);
    let cell = Run::new(server.port, Some(certs.ca()), "more").sizes(16 * 1024 - 27, 1, 50).cell();
    assert_eq!((cell.records, cell.sends), (100, 50));
}

/// Sixteen requests at depth sixteen are submitted in one turn, so the counts are exact.
#[test]
fn a_turn_of_small_requests_is_what_each_strategy_says_it_is() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, MIB);
    let expected =
        [("immediate", 32, 32), ("vectored", 16, 16), ("tcp-cork", 32, 32), ("full-cork", 1, 1), ("more", 1, 1)];
    for (strategy, records, sends) in expected {
        let cell = Run::new(server.port, Some(certs.ca()), strategy).sizes(512, 16, 16).cell();
        assert_eq!((cell.records, cell.sends), (records, sends), "{strategy}");
    }
}

#[test]
fn the_json_object_has_the_promised_fields() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, MIB);
    let output = Run::new(server.port, Some(certs.ca()), "vectored").sizes(512, 4, 40).arg("--json").output();
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(object["strategy"], "vectored");
    assert_eq!(object["block_size"], 512);
    assert_eq!(object["queue_depth"], 4);
    assert_eq!(object["requests"], 40);
    assert_eq!(object["records"], 40);
    assert_eq!(object["sends"], 40);
    assert_eq!(object["tls"], true);
    assert_eq!(object["verified"], false);
    let figure = |name: &str| object[name].as_f64().unwrap_or_else(|| panic!("no {name}"));
    assert!(figure("seconds") > 0.0);
    let rate = figure("requests_per_s");
    assert!((rate * figure("seconds") - 40.0).abs() < 1e-6);
    assert!((figure("bytes_per_s") - 512.0 * rate).abs() < 1e-3);
    assert!(figure("cpu_user_s") >= 0.0 && figure("cpu_sys_s") >= 0.0);
}

#[test]
fn the_quick_grid_has_every_strategy_at_every_size() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut command = Command::new(program());
    let output = command.args(["--quick", "--json", "--out"]).arg(dir.path()).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let slices: Vec<tls_cork_bench::client::cell::Cell> = serde_json::from_slice(&output.stdout).expect("a JSON array");
    for strategy in STRATEGIES {
        for (block_size, depth) in
            [(512, 16), (4096, 16), (32_768, 16), (65_536, 16), (2_097_152, 16), (512, 1), (4096, 1)]
        {
            let rounds = slices.iter().filter(|cell| {
                cell.strategy == strategy
                    && cell.block_size == block_size
                    && cell.queue_depth == depth
                    && cell.requests > 0
            });
            assert_eq!(rounds.count(), 6, "{strategy}, {block_size} B, depth {depth}");
        }
    }
    let file = std::fs::read_to_string(dir.path().join("grid.csv")).expect("a CSV file");
    assert_eq!(file.lines().count(), 1 + slices.len() / 6, "a header, and a row for each strategy and size: {file}");
    let picture = std::fs::read_to_string(dir.path().join("grid.svg")).expect("an SVG file");
    assert!(STRATEGIES.iter().all(|strategy| picture.contains(strategy)), "{picture}");
}

#[test]
fn the_embedded_server_ends_with_its_standard_input() {
    let mut server = Command::new(program())
        .args(["serve", "--plaintext"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    drop(server.stdin.take());
    let limit = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = server.try_wait().expect("wait") {
            break Some(status);
        }
        if Instant::now() > limit {
            server.kill().expect("kill");
            server.wait().expect("wait");
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}
