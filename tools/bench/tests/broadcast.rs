//! `broadcast`: who keeps a copy for each receiver, and who does not.

use std::process::Command;

use serde_json::Value;

mod common;

use common::{assert_fails, program};

const RECEIVERS: f64 = 20.0;
const MIB: f64 = (1 << 20) as f64;

#[test]
fn only_sealing_at_once_takes_a_copy_for_each_receiver() {
    let out = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(program())
        .args(["broadcast", "--receivers=20", "--message-mib=2", "--send-buffer-kib=64", "--json"])
        .arg("--out")
        .arg(out.path())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outcomes: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
    let of_each = |stack: &str| {
        let outcome = outcomes.iter().find(|o| o["stack"].as_str().is_some_and(|s| s.starts_with(stack)));
        let resident = |when: &str| outcome.expect(stack)[when]["resident"].as_f64().expect("bytes");
        (resident("stalled") - resident("idle")) / RECEIVERS
    };
    assert!(of_each("rustls, set_buffer_limit") > 1.4 * MIB, "{outcomes:?}");
    let mut sharing = vec!["tls-cork on mio", "rustls, queue", "plain TCP"];
    if cfg!(feature = "peers") {
        sharing.extend(["tls-cork on async-io", "futures-rustls", "tokio-rustls"]);
    }
    for sharing in sharing {
        // On average 55 KiB of sealed records; the page cache of the program's own code moves a little as well.
        assert!(of_each(sharing) < 0.2 * MIB, "{sharing}: {outcomes:?}");
    }
    let csv = std::fs::read_to_string(out.path().join("broadcast.csv")).expect("figures");
    assert_eq!(csv.lines().count(), 1 + outcomes.len());
    assert!(csv.starts_with("stack,receivers,message_mib,resident_before_mib,"), "{csv}");
    assert!(out.path().join("broadcast.svg").exists());
}

#[test]
fn usage_mistakes() {
    for mistake in ["--receivers=0", "--receivers=20001", "--message-mib=0", "--send-buffer-kib=7", "--stack=mine"] {
        let output = Command::new(program()).args(["broadcast", mistake]).output().expect("the program starts");
        let name = mistake.split('=').next().expect("a name");
        assert_fails(&output, 2, &["usage", name]);
    }
}

#[test]
fn receivers_of_a_sender_that_is_gone_say_so() {
    let output = Command::new(program())
        .args(["broadcast-receivers", "--port=1", "--receivers=1"])
        .output()
        .expect("the program starts");
    assert_fails(&output, 1, &["connect receiver", "number 1", "refused"]);
}
