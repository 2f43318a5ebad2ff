//! `peers-receive`: the other end of every stack, in a process of its own with a thread for each
//! connection.
//!
//! It accepts one connection for each stack, in their order. Then each line on its standard input
//! is a job for one of them, and is answered by a line on its standard output. It ends with its
//! input.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::{ServerConfig, SupportedCipherSuite};
use serde::{Deserialize, Serialize};
use tls_cork::MAX_RECORD_SIZE;

use super::stacks::StackName;
use super::stacks::limit::{Sealer, wire_len};
use super::traffic::{Content, Pattern};
use crate::measure::place::{self, Pace, deeper, monotonic_ns, thread_cpu_ns};
use crate::server::pipe::{ALIAS, CleartextPipe, Pipe, TlsPipe};
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
    /// Who will connect, in this order.
    #[arg(long, value_enum)]
    pub stack: Vec<StackName>,
    /// Which processor to stay on.
    #[arg(long)]
    pub processor: Option<u32>,
}

/// A slice, for both ends of a connection.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Job {
    /// Which connection, from 0 in the order of the stacks.
    pub seat: usize,
    /// Its traffic.
    pub pattern: Pattern,
    /// How many bursts; none ends the connection.
    pub bursts: u64,
    /// From the begin of one burst to that of the next; `None` at full speed.
    pub interval_ns: Option<u64>,
    /// Decides where buffers lie.
    pub place: u64,
    /// CPU time that the sender wastes on each burst.
    pub spin_ns: f64,
}

/// What came.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Received {
    /// Why it is not all; the rest is worth nothing then.
    pub error: Option<String>,
    /// Plaintext bytes, each of which was checked.
    pub bytes: u64,
    /// Records of application data.
    pub records: u64,
    /// System calls that read.
    pub reads: u64,
    /// CPU time of the receiving thread.
    pub cpu_ns: u64,
    /// When the last byte was there, decrypted and checked; CLOCK_MONOTONIC in nanoseconds.
    pub last_ns: u64,
    /// The cipher suite in use.
    pub suite: Option<String>,
    /// For each burst at a fixed rate, when its last byte was there.
    pub arrived_ns: Vec<u64>,
}

/// Receives on a free port of 127.0.0.1, which it prints, until standard input ends.
///
/// # Errors
///
/// When certificates cannot be read, no port can be bound, or a line is no job.
pub fn run(args: &ReceiveArgs) -> Result<(), Failure> {
    args.processor.inspect(|&which| place::pin(which));
    let config = tls::receiver_config(&args.certs, SUITE)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| Failure::new("listen", "127.0.0.1", e))?;
    let port = listener.local_addr().map_err(|e| Failure::new("listen", "127.0.0.1", e))?.port();
    say(&port)?;
    let stacks = args.stack.clone();
    // Another thread waits for connections, so that the end of the input is noticed.
    let (jobs, queue) = mpsc::channel();
    let acceptor = Acceptor::new(listener, "tls-cork-bench peers-receive");
    thread::spawn(move || serve(acceptor, &stacks, &config, &queue));
    for line in io::stdin().lock().lines() {
        let fail = |e: &dyn std::fmt::Display| Failure::new("read job", "standard input", e);
        let job: Job = serde_json::from_str(&line.map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
        if jobs.send(job).is_err() {
            break;
        }
    }
    Ok(())
}

/// Accepts, then hands jobs to the threads of their connections.
fn serve(acceptor: Acceptor, stacks: &[StackName], config: &Arc<ServerConfig>, jobs: &mpsc::Receiver<Job>) {
    let (done, reports) = mpsc::channel();
    let content: &'static Content = Box::leak(Box::default());
    let mut seats = Vec::new();
    for &stack in stacks {
        let stream = stack.has_transport().then(|| acceptor.accept());
        let (queue, jobs) = mpsc::channel::<Job>();
        let (config, done) = (Arc::clone(config), done.clone());
        let frames = Rng::new().u32(0..40);
        thread::spawn(move || {
            let receive = || receive(stack, stream, config, content, &jobs, &done);
            if let Err(error) = deeper(frames, Box::new(receive)) {
                // If this fails, the process is about to end.
                let _ = done.send(Received { error: Some(error.to_string()), ..Received::default() });
            }
        });
        seats.push(queue);
    }
    for job in jobs {
        let known = seats.get(job.seat).is_some_and(|seat| seat.send(job).is_ok());
        let report = if known { reports.recv().unwrap_or_default() } else { gone() };
        if say(&serde_json::json!(report)).is_err() {
            return;
        }
    }
}

fn gone() -> Received {
    Received { error: Some("no such connection".to_owned()), ..Received::default() }
}

fn receive(
    stack: StackName,
    stream: Option<TcpStream>,
    config: Arc<ServerConfig>,
    content: &'static Content,
    jobs: &mpsc::Receiver<Job>,
    done: &mpsc::Sender<Received>,
) -> io::Result<()> {
    let mut early = Vec::new();
    let mut end = End::new(stack, stream, config, &mut early)?;
    let mut offset = 0;
    for job in jobs {
        let _ballast = place::ballast(&mut Rng::with_seed(job.place));
        let mut check = Check::new(content, stack, job, offset)?;
        let cpu = thread_cpu_ns();
        early.drain(..).for_each(|data| check.take(&data));
        match &mut end {
            End::Tls(pipe) => check.take_all(pipe.as_mut())?,
            End::Cleartext(pipe) => check.take_all(pipe)?,
            End::Nowhere => check.work()?,
        }
        let mut report = check.report;
        report.cpu_ns = thread_cpu_ns() - cpu;
        offset += report.bytes;
        if let End::Tls(pipe) = &end {
            report.suite = pipe.suite().map(|suite| format!("{:?}", suite.suite()));
        }
        if job.bursts == 0 {
            if let End::Tls(pipe) = end {
                // A sender may be gone by now.
                let _ = pipe.close();
            }
            let _ = done.send(report);
            break;
        }
        let _ = done.send(report);
    }
    Ok(())
}

/// Our end of a connection; of what has none, nowhere.
enum End {
    Tls(Box<TlsPipe>),
    Cleartext(CleartextPipe),
    Nowhere,
}

impl End {
    /// Ends the handshake. Records that come with its last message are kept in `early`.
    fn new(
        stack: StackName,
        stream: Option<TcpStream>,
        config: Arc<ServerConfig>,
        early: &mut Vec<Vec<u8>>,
    ) -> io::Result<Self> {
        let Some(stream) = stream else { return Ok(Self::Nowhere) };
        stream.set_nodelay(true)?;
        if !stack.uses_tls() {
            return Ok(Self::Cleartext(CleartextPipe::new(stream)));
        }
        let mut pipe = TlsPipe::new(stream, config)?;
        while pipe.is_handshaking() {
            pipe.receive(&mut |data| early.push(data.to_vec()))?;
        }
        Ok(Self::Tls(Box::new(pipe)))
    }
}

/// Compares what comes with what belongs there.
struct Check {
    content: &'static Content,
    stack: StackName,
    job: Job,
    offset: u64,
    burst_len: u64,
    message_len: u64,
    differs_at: Option<u64>,
    /// Without TLS: what is as much work as opening records.
    sealer: Sealer,
    warm: Vec<u8>,
    report: Received,
}

impl Check {
    fn new(content: &'static Content, stack: StackName, job: Job, offset: u64) -> io::Result<Self> {
        let shape = job.pattern.shape();
        let burst_len = if stack == StackName::AeadPlain { wire_len(shape.burst_len()) } else { shape.burst_len() };
        // Where the sender uses the same buffer over and over, only the length can be checked.
        let message_len = if stack.is_limit() { burst_len } else { shape.message_len() };
        let (burst_len, message_len) = (burst_len as u64, message_len as u64);
        let (sealer, warm) = (Sealer::new()?, vec![0; if stack.uses_tls() { 0 } else { MAX_RECORD_SIZE }]);
        let report = Received::default();
        Ok(Self { content, stack, job, offset, burst_len, message_len, differs_at: None, sealer, warm, report })
    }

    /// Takes what the job has, or the end of the connection if that is nothing.
    fn take_all(&mut self, pipe: &mut impl Pipe) -> io::Result<()> {
        pipe.set_base(self.job.place as usize % ALIAS / 64 * 64);
        self.report.last_ns = monotonic_ns();
        self.verdict(true)?;
        let mut open = true;
        while open && (self.job.bursts == 0 || self.report.bytes < self.job.bursts * self.burst_len) {
            self.report.reads += 1;
            open = pipe.receive(&mut |data| self.take(data))?;
            self.report.last_ns = monotonic_ns();
            self.verdict(open)?;
        }
        Ok(())
    }

    fn take(&mut self, data: &[u8]) {
        if !self.stack.is_limit() && self.differs_at.is_none() {
            self.differs_at = self.content.first_difference(self.offset + self.report.bytes, data);
        }
        if !self.stack.uses_tls() {
            self.seal(data.len());
        }
        let report = &mut self.report;
        let whole = report.bytes / self.burst_len;
        report.records += 1;
        report.bytes += data.len() as u64;
        if self.job.interval_ns.is_some() {
            let now = monotonic_ns();
            report.arrived_ns.extend((whole..report.bytes / self.burst_len).map(|_| now));
        }
    }

    /// Works as much as opening the records of so many bytes is.
    fn seal(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let len = bytes.min(MAX_RECORD_SIZE);
            // It fails for records that are too long, which these are not.
            let _ = self.sealer.seal(&mut self.warm[..len]);
            bytes -= len;
        }
    }

    /// Without a transport: the work for all bursts, at their rate.
    fn work(&mut self) -> io::Result<()> {
        let pace = self.job.interval_ns.map(|ns| Pace::new(Duration::from_nanos(ns)));
        for burst in 0..self.job.bursts {
            pace.as_ref().inspect(|pace| pace.wait(burst));
            self.seal(self.burst_len as usize);
        }
        Ok(())
    }

    /// Whether all is well so far; `open` is false at the end of the connection.
    fn verdict(&self, open: bool) -> io::Result<()> {
        let (come, expected) = (self.report.bytes, self.job.bursts * self.burst_len);
        let fail = |kind, why: String| Err(io::Error::new(kind, why));
        if let Some(offset) = self.differs_at {
            return fail(io::ErrorKind::InvalidData, format!("byte {offset} is not what was sent"));
        }
        if come > expected {
            return fail(io::ErrorKind::InvalidData, format!("{come} bytes came of {expected}"));
        }
        match come % self.message_len {
            _ if open || come == expected => Ok(()),
            0 => fail(io::ErrorKind::UnexpectedEof, format!("ended after {come} bytes of {expected}")),
            rest => fail(io::ErrorKind::UnexpectedEof, format!("ended {rest} bytes into a message")),
        }
    }
}

/// Prints a line on standard output.
pub(crate) fn say(line: &impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| Failure::new("print", "standard output", e))
}
