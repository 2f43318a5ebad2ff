//! `peers-receive`: the other end of every stack, in a process of its own.
//!
//! One connection for each line on its standard input, one report for each connection on its standard output; it ends with its input.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

use clap::Args;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::{ServerConfig, SupportedCipherSuite};
use serde::{Deserialize, Serialize};

use super::delay::monotonic_ns;
use super::traffic::{Content, Pattern};
use crate::server::pipe::{CleartextPipe, Pipe, TlsPipe};
use crate::shared::acceptor::Acceptor;
use tls_cork_programs::Failure;
use tls_cork_programs::tls;

/// The one suite that the receiver agrees to.
pub const SUITE: SupportedCipherSuite = TLS13_AES_128_GCM_SHA256;

/// Options of `peers-receive`.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// Directory with server-cert.pem and server-key.pem.
    #[arg(long, value_name = "DIR")]
    pub certs: PathBuf,
}

/// What the next connection brings.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Job {
    /// Its traffic.
    pub pattern: Pattern,
    /// Over TLS.
    pub tls: bool,
    /// Note when each message arrives.
    pub paced: bool,
}

/// What came.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Received {
    /// Why it is not all; the rest is worth nothing then.
    pub error: Option<String>,
    /// Plaintext bytes, each of which was checked.
    pub bytes: u64,
    /// Records of application data.
    pub records: u64,
    /// When the last byte was there, decrypted and checked; CLOCK_MONOTONIC in nanoseconds.
    pub last_ns: u64,
    /// The cipher suite in use.
    pub suite: Option<String>,
    /// For each message of a paced run, when its last byte was there.
    pub arrived_ns: Vec<u64>,
}

/// Receives on a free port of 127.0.0.1, which it prints, until standard input ends.
///
/// # Errors
///
/// When certificates cannot be read, no port can be bound, or a line is no job.
pub fn run(args: &ReceiveArgs) -> Result<(), Failure> {
    let config = tls::receiver_config(&args.certs, SUITE)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| Failure::new("listen", "127.0.0.1", e))?;
    let port = listener.local_addr().map_err(|e| Failure::new("listen", "127.0.0.1", e))?.port();
    say(&port)?;
    // Another thread waits for connections, so that the end of the input is noticed.
    let (jobs, queue) = mpsc::channel();
    let acceptor = Acceptor::new(listener, "tls-cork-bench peers-receive");
    thread::spawn(move || receive_all(acceptor, &config, &queue));
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|e| Failure::new("read job", "standard input", e))?;
        let job: Job = serde_json::from_str(&line).map_err(|e| Failure::new("read job", "standard input", e))?;
        if jobs.send(job).is_err() {
            break;
        }
    }
    Ok(())
}

fn receive_all(acceptor: Acceptor, config: &Arc<ServerConfig>, jobs: &mpsc::Receiver<Job>) {
    let content = Content::default();
    for job in jobs {
        let mut check = Check::new(&content, job);
        let received = receive(acceptor.accept(), config, job, &mut check);
        let mut report = check.report;
        match received {
            Ok(suite) => report.suite = suite,
            Err(error) => report.error = Some(error.to_string()),
        }
        if say(&serde_json::json!(report)).is_err() {
            return;
        }
    }
}

/// Returns the name of the suite.
fn receive(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    job: Job,
    check: &mut Check<'_>,
) -> io::Result<Option<String>> {
    stream.set_nodelay(true)?;
    if !job.tls {
        check.take_all(&mut CleartextPipe::new(stream))?;
        return Ok(None);
    }
    let mut pipe = TlsPipe::new(stream, Arc::clone(config))?;
    check.take_all(&mut pipe)?;
    let suite = pipe.suite().map(|suite| format!("{:?}", suite.suite()));
    // A sender may be gone by now.
    let _ = pipe.close();
    Ok(suite)
}

/// Compares what comes with what belongs there.
struct Check<'a> {
    content: &'a Content,
    job: Job,
    message_len: u64,
    differs_at: Option<u64>,
    report: Received,
}

impl<'a> Check<'a> {
    fn new(content: &'a Content, job: Job) -> Self {
        let message_len = job.pattern.shape().message_len() as u64;
        Self { content, job, message_len, differs_at: None, report: Received::default() }
    }

    fn take_all(&mut self, pipe: &mut impl Pipe) -> io::Result<()> {
        loop {
            let before = self.report.bytes;
            let open = pipe.receive(&mut |data| self.take(data))?;
            if self.report.bytes > before {
                self.report.last_ns = monotonic_ns();
            }
            if let Some(offset) = self.differs_at {
                let why = format!("byte {offset} is not what was sent");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if !open {
                break;
            }
        }
        let rest = self.report.bytes % self.message_len;
        if rest > 0 {
            let why = format!("ended {rest} bytes into a message");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        if !self.job.tls {
            self.report.records = 0;
        }
        Ok(())
    }

    fn take(&mut self, data: &[u8]) {
        let report = &mut self.report;
        self.differs_at = self.differs_at.or_else(|| self.content.first_difference(report.bytes, data));
        let whole = report.bytes / self.message_len;
        report.records += 1;
        report.bytes += data.len() as u64;
        if self.job.paced {
            let now = monotonic_ns();
            report.arrived_ns.extend((whole..report.bytes / self.message_len).map(|_| now));
        }
    }
}

fn say(line: &impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| Failure::new("print", "standard output", e))
}
