//! The programs that a comparison needs beside our own: nbdkit to write to, fio to beat.

use std::fs;
use std::io::{Read, Seek};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tls_cork_programs::Failure;
use tls_cork_programs::children::{self, Guarded};
use tls_cork_programs::tls::{self, TemporaryCertificates};

use crate::client::cell::Cell;

/// Where libnbd looks for the CA certificate, below its user's home; nothing else is there.
pub const TRUSTED: &str = ".pki/libnbd";
const START_LIMIT: Duration = Duration::from_secs(10);
/// Longer than other slices: fio counts its CPU time in percent.
const FIO_SLICE: Duration = Duration::from_millis(300);

/// True when `program` can be started.
pub fn is_installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Makes sure that `program`, of the Debian package `package`, can be started; the failure names the
/// package.
pub fn require(program: &str, package: &str) -> Result<(), Failure> {
    if is_installed(program) {
        return Ok(());
    }
    let why = format!("not found on PATH; install it with: apt-get install {package}");
    Err(Failure::new(format!("start {program}"), program, why))
}

/// Makes a directory that serves as home to programs that use libnbd: with new certificates, of
/// which the CA's is trusted.
pub fn home() -> Result<TemporaryCertificates, Failure> {
    let dir = TemporaryCertificates::new()?;
    let trusted = dir.path().join(TRUSTED);
    // Each step on its own: a directory that a signal has removed stays removed.
    trusted
        .parent()
        .map_or(Ok(()), fs::create_dir)
        .and_then(|()| fs::create_dir(&trusted))
        .and_then(|()| fs::copy(dir.path().join(tls::CA_CERT), trusted.join(tls::CA_CERT)))
        .map_err(|e| Failure::new("write certificates", trusted.display(), e))?;
    Ok(dir)
}

/// A running nbdkit.
#[derive(Debug)]
pub struct Nbdkit {
    child: Guarded,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Nbdkit {
    /// Starts nbdkit with `plugin` (its name and parameters); with TLS if `certs` names a
    /// directory of certificates.
    pub fn start(certs: Option<&Path>, plugin: &[&str]) -> Result<Self, Failure> {
        let what = "start nbdkit";
        require("nbdkit", "nbdkit")?;
        let port = free_port().map_err(|e| Failure::new(what, "127.0.0.1", e))?;
        // nbdkit reports every client that ends without close_notify, as fio's does; what it says
        // matters only when it does not start.
        let open_log = || {
            let log = tempfile::tempfile()?;
            Ok((log.try_clone()?, log))
        };
        let (mut log, stderr) = open_log().map_err(|e: std::io::Error| Failure::new(what, "log file", e))?;
        let mut command = Command::new("nbdkit");
        command
            .args(["--foreground", "--exit-with-parent", "--ipaddr", "127.0.0.1"])
            .arg("--port")
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        if let Some(dir) = certs {
            command.arg("--tls=require").arg(format!("--tls-certificates={}", dir.display()));
        }
        command.args(plugin);
        let mut child = Guarded::spawn(&mut command, "nbdkit")?;
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = child.ended()? {
                let mut said = String::new();
                let _ = log.rewind().and_then(|()| log.read_to_string(&mut said));
                let why = format!("{status}: {said}");
                return Err(Failure::new(what, format!("port {port}"), why));
            }
            if Instant::now() >= deadline {
                return Err(Failure::new(what, format!("port {port}"), "it does not listen"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { child, port })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

/// A port that was free a moment ago: nbdkit cannot choose one itself and say so.
fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

#[derive(Deserialize)]
struct FioReport {
    jobs: Vec<FioJob>,
}

#[derive(Deserialize)]
struct FioJob {
    error: i64,
    usr_cpu: f64,
    sys_cpu: f64,
    write: FioWrites,
}

#[derive(Deserialize)]
struct FioWrites {
    total_ios: u64,
    io_bytes: u64,
    runtime: u64,
}

/// Where libnbd finds the server at `port`, which it knows by its certificate.
pub fn uri(port: u16) -> String {
    format!("nbds://localhost:{port}/")
}

/// One run of fio's nbd engine over TLS. `home` is what [`home`] made.
pub fn run_fio(home: &Path, uri: &str, block_size: u32, queue_depth: u32) -> Result<Cell, Failure> {
    let mut command = Command::new("fio");
    command
        .env("HOME", home)
        .current_dir(home)
        .args(fio_arguments(uri, block_size, queue_depth))
        .arg("--time_based")
        .arg(format!("--runtime={}ms", FIO_SLICE.as_millis()));
    let finished = children::run(&mut command, "fio", FIO_SLICE + Duration::from_secs(30))?;
    read_fio_report(&finished.stdout, block_size, queue_depth)
}

/// Arguments for sequential writes to `uri`; how many is still to be said.
pub(crate) fn fio_arguments(uri: &str, block_size: u32, queue_depth: u32) -> Vec<String> {
    vec![
        "--name=nbd".to_owned(),
        "--ioengine=nbd".to_owned(),
        "--rw=write".to_owned(),
        format!("--uri={uri}"),
        format!("--bs={block_size}"),
        format!("--iodepth={queue_depth}"),
        "--output-format=json".to_owned(),
    ]
}

/// What fio's JSON report says.
pub(crate) fn read_fio_report(stdout: &[u8], block_size: u32, queue_depth: u32) -> Result<Cell, Failure> {
    let fail = |why: &dyn std::fmt::Display| Failure::new("read report", "fio", why);
    // fio may say something before the report.
    let start = stdout.iter().position(|&b| b == b'{').unwrap_or(0);
    let report: FioReport = serde_json::from_slice(&stdout[start..]).map_err(|e| fail(&e))?;
    let job = report.jobs.first().ok_or_else(|| fail(&"it has no job"))?;
    if job.error != 0 || job.write.total_ios == 0 || job.write.runtime == 0 {
        return Err(fail(&format!("no writes, error {}", job.error)));
    }
    let seconds = job.write.runtime as f64 / 1e3;
    Ok(Cell {
        strategy: "fio".to_owned(),
        tls: true,
        block_size,
        queue_depth,
        requests: job.write.total_ios,
        seconds,
        requests_per_s: job.write.total_ios as f64 / seconds,
        bytes_per_s: job.write.io_bytes as f64 / seconds,
        cpu_user_s: job.usr_cpu / 100.0 * seconds,
        cpu_sys_s: job.sys_cpu / 100.0 * seconds,
        ..Cell::default()
    })
}
