//! What the integration tests share: certificates, servers and runs of the program.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tls_cork_bench::client::cell::Cell;
use tls_cork_bench::server::{EmbeddedServer, ExportKind};
use tls_cork_programs::tls;

pub(crate) const STRATEGIES: [&str; 5] = ["immediate", "vectored", "tcp-cork", "full-cork", "more"];

pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tls-cork-bench"))
}

/// A directory with certificates of its own.
pub(crate) struct Certs(TempDir);

impl Certs {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        tls::make_certificates(dir.path()).expect("certificates");
        Self(dir)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.0.path().join(tls::CA_CERT)
    }
}

pub(crate) fn tls_server(certs: &Certs, export: ExportKind, size: u64) -> EmbeddedServer {
    tls_server_with(certs, export, size, &[])
}

pub(crate) fn tls_server_with(certs: &Certs, export: ExportKind, size: u64, args: &[&str]) -> EmbeddedServer {
    EmbeddedServer::start(program(), Some(certs.dir()), export, size, args).expect("server")
}

pub(crate) fn plaintext_server(export: ExportKind, size: u64) -> EmbeddedServer {
    EmbeddedServer::start(program(), None, export, size, &[]).expect("server")
}

/// A run of `nbd`; bounded by a number of requests, and with a hold that ends by other means, so that no time decides what it does.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) port: u16,
    /// Plaintext without.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) strategy: &'static str,
    pub(crate) block_size: u32,
    pub(crate) queue_depth: u32,
    pub(crate) requests: u64,
    pub(crate) args: Vec<String>,
}

impl Run {
    pub(crate) fn new(port: u16, ca: Option<PathBuf>, strategy: &'static str) -> Self {
        Self { port, ca, strategy, block_size: 4096, queue_depth: 16, requests: 200, args: Vec::new() }
    }

    pub(crate) fn sizes(mut self, block_size: u32, queue_depth: u32, requests: u64) -> Self {
        self.block_size = block_size;
        self.queue_depth = queue_depth;
        self.requests = requests;
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    pub(crate) fn output(&self) -> Output {
        let mut command = Command::new(program());
        command
            .args(["nbd", "--seconds=60", "--max-hold-ms=60000"])
            .arg(format!("--connect=127.0.0.1:{}", self.port))
            .arg(format!("--strategy={}", self.strategy))
            .arg(format!("--block-size={}", self.block_size))
            .arg(format!("--queue-depth={}", self.queue_depth))
            .arg(format!("--requests={}", self.requests))
            .args(&self.args);
        match &self.ca {
            Some(ca) => command.arg("--ca").arg(ca),
            None => command.arg("--plaintext"),
        };
        command.output().expect("the program starts")
    }

    /// The cell that a run which must succeed reports.
    pub(crate) fn cell(&self) -> Cell {
        let output = self.clone().arg("--json").output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} at {} B: {}: {stderr}", self.strategy, self.block_size, output.status);
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }
}

/// Asserts that a run failed with `status` and said why in one line that has all of `parts`.
#[track_caller]
pub(crate) fn assert_fails(output: &Output, status: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "stderr: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("tls-cork-bench: "), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
    assert!(output.stdout.is_empty(), "a failed run prints no figures");
}
