//! Servers that run out of descriptors, and have some again later.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tls_cork_bench::commands::peers::receiver::Job;
use tls_cork_bench::commands::peers::traffic::Pattern;

mod common;

use common::{Certs, Run, program};

/// No step of a test takes longer.
const LIMIT: Duration = Duration::from_secs(20);
/// Time for more failures than may be reported.
const WHILE_FAILING: Duration = Duration::from_millis(1200);

fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
    socket.set_read_timeout(Some(LIMIT)).expect("timeout");
    socket
}

/// A subcommand of the program as a child process that may have few files open.
struct Server {
    child: Child,
    start: Instant,
    port: u16,
    stdout: BufReader<std::process::ChildStdout>,
    stderr: Receiver<String>,
    reports: u64,
}

impl Server {
    fn start(files: u32, args: &[&str]) -> Self {
        let start = Instant::now();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -S -n {files} && exec \"$@\"")).arg("sh").arg(program()).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let port = line.trim().parse().expect("a port");
        let (lines, stderr) = mpsc::channel();
        let pipe = BufReader::new(child.stderr.take().expect("standard error"));
        thread::spawn(move || pipe.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        Self { child, start, port, stdout, stderr, reports: 0 }
    }

    /// Waits for the first report of a failed `accept`, and then some time.
    fn fail_for_a_while(&mut self) {
        let first = self.stderr.recv_timeout(LIMIT).expect("a word about the failed accept");
        assert!(first.contains("accept: Too many open files"), "{first}");
        self.reports = 1;
        thread::sleep(WHILE_FAILING);
        assert!(self.child.try_wait().expect("a status").is_none(), "the server has ended");
    }

    /// Ends the server and checks how often it reported failures.
    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("a status").success());
        let reports = self.reports + self.stderr.iter().filter(|line| line.contains("accept")).count() as u64;
        let seconds = self.start.elapsed().as_secs();
        assert!(reports <= 1 + seconds, "{reports} reports in {seconds} s");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_embedded_server_goes_on() {
    let certs = Certs::new();
    let mut server = Server::start(16, &["serve", "--certs", certs.dir().to_str().expect("a path in UTF-8")]);
    let idle: Vec<TcpStream> = (0..30).map(|_| connect(server.port)).collect();
    server.fail_for_a_while();
    drop(idle);
    assert_eq!(Run::new(server.port, Some(certs.ca()), "more").cell().requests, 200);
    server.end();
}

#[test]
fn the_receiver_of_peers_goes_on() {
    let certs = Certs::new();
    // Standard input, output and error, and the listener: none is left for a connection.
    let dir = certs.dir().to_str().expect("a path in UTF-8");
    let mut server = Server::start(4, &["peers-receive", "--stack=plain-more", "--certs", dir]);
    let job = Job { seat: 0, pattern: Pattern::ALL[0], bursts: 0, interval_ns: None, place: 0, spin_ns: 0.0 };
    let job = serde_json::to_string(&job).expect("JSON");
    writeln!(server.child.stdin.as_mut().expect("standard input"), "{job}").expect("written");
    drop(connect(server.port));
    server.fail_for_a_while();
    let pid = server.child.id().to_string();
    let raised =
        Command::new("prlimit").args(["--nofile=64:", "--pid", &pid]).status().expect("prlimit, of util-linux");
    assert!(raised.success());
    let mut line = String::new();
    server.stdout.read_line(&mut line).expect("a report");
    let report: Value = serde_json::from_str(&line).expect("JSON");
    assert!(report["error"].is_null() && report["bytes"] == 0, "{report}");
    server.end();
}
