//! The example as a child process, with certificates of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tls_cork_programs::tls;

/// No step of a test takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// `cargo test` builds examples next to the tests.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(Path::parent).unwrap().join("examples/nbd_server");
    assert!(path.exists(), "no {}: run cargo build --example nbd_server first", path.display());
    path
}

pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) dir: TempDir,
}

impl Server {
    pub(crate) fn memory(bytes: u64) -> Self {
        Self::start(&["--memory", &bytes.to_string()], tempfile::tempdir().unwrap())
    }

    /// Serves a file of zeroes, which is [`Self::file`].
    pub(crate) fn with_file(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        Self::start(&["--file", path.to_str().unwrap()], dir)
    }

    pub(crate) fn start(args: &[&str], dir: TempDir) -> Self {
        tls::make_certificates(dir.path()).unwrap();
        let child = command(dir.path()).args(args).stdout(Stdio::piped()).spawn().unwrap();
        Self::started(child, dir)
    }

    /// Serves memory with at most `files` descriptors; its standard error is a pipe.
    pub(crate) fn with_descriptors(files: u32) -> (Self, ChildStderr) {
        let dir = tempfile::tempdir().unwrap();
        tls::make_certificates(dir.path()).unwrap();
        let server = command(dir.path());
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!("ulimit -n {files} && exec \"$@\"")).arg("sh").arg(server.get_program());
        limited.args(server.get_args()).args(["--memory", "4096"]);
        let mut child = limited.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        (Self::started(child, dir), stderr)
    }

    fn started(mut child: Child, dir: TempDir) -> Self {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().parse().expect("the address that it listens on");
        Self { child, addr, dir }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// A connection on which nothing has happened.
    pub(crate) fn connect(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.addr).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.set_write_timeout(Some(LIMIT)).unwrap();
        tcp
    }

    /// Bytes of memory in use.
    pub(crate) fn memory_in_use(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }

    /// Sends `signal` and waits for the end.
    pub(crate) fn stop(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not stop");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server on a free port, with the certificates in `dir`.
fn command(dir: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["--listen", "127.0.0.1:0"]);
    command.arg("--cert").arg(dir.join("server-cert.pem")).arg("--key").arg(dir.join("server-key.pem"));
    command
}

/// A run of the server that has to fail.
fn failing(dir: &Path, args: &[&str]) -> Output {
    let mut child = command(dir).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    if child.stdout.as_mut().unwrap().read(&mut first).unwrap() > 0 {
        child.kill().unwrap();
    }
    child.wait_with_output().unwrap()
}

#[test]
fn mistakes_in_the_command_line_are_told() {
    let dir = tempfile::tempdir().unwrap();
    tls::make_certificates(dir.path()).unwrap();
    let cases: [(&[&str], i32, &str); 7] = [
        (&[], 2, "--file"),
        (&["--memory", "1", "--file", "x"], 2, "cannot be used with"),
        (&["--memory", "lots"], 2, "--memory"),
        (&["--memory", "18446744073709551615"], 1, "--memory"),
        (&["--file", "/nonexistent/disk"], 1, "/nonexistent/disk: No such file"),
        (&["--memory", "1", "--client-ca", "/dev/null"], 1, "/dev/null: no PEM certificate"),
        (&["--memory", "1", "--max-hold-ms", "0"], 1, "--max-hold-ms"),
    ];
    for (args, status, part) in cases {
        let output = failing(dir.path(), args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}
