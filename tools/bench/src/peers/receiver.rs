//! `peers-receive`: the other end of every stack, in a process of its own with a thread for each connection.
//!
//! It accepts one connection for each stack, in their order. Then each line on its standard input is a job for one of them, and is answered
//! by a line on its standard output. It ends with its input.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{ServerConfig, SupportedCipherSuite};
use serde::{Deserialize, Serialize};
use tls_cork::MAX_RECORD_SIZE;

use super::stacks::StackName;
use super::stacks::limit::{Sealer, wire_len};
use super::traffic::{Content, Pattern};
use crate::acceptor::Acceptor;
use crate::failure::Failure;
use crate::measure::place::{self, Pace, deeper, monotonic_ns, thread_cpu_ns};
use crate::tls;

/// The one suite that the receiver agrees to.
pub const SUITE: SupportedCipherSuite = TLS13_AES_128_GCM_SHA256;

/// One read takes as much as a sender's largest batch.
const READ_BUFFER: usize = 256 * 1024;
/// When less than this is left behind a partial record, the record moves to the front.
const MIN_READ: usize = 64 * 1024;
/// Two addresses that are equal modulo this may collide.
const ALIAS: usize = 4096;

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
fn serve(mut acceptor: Acceptor, stacks: &[StackName], config: &Arc<ServerConfig>, jobs: &mpsc::Receiver<Job>) {
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
                // Nobody else is left to hear of it if this fails.
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
    let mut end = End::new(stack, stream, config)?;
    end.handshake()?;
    let mut offset = 0;
    for job in jobs {
        let _ballast = place::ballast(&mut Rng::with_seed(job.place));
        end.base = job.place as usize % ALIAS / 64 * 64;
        let mut check = Check::new(content, stack, job, offset);
        end.reads = 0;
        let cpu = thread_cpu_ns();
        end.take(&mut check)?;
        let mut report = check.report;
        report.cpu_ns = thread_cpu_ns() - cpu;
        report.reads = end.reads;
        report.suite = end.suite();
        offset += report.bytes;
        if done.send(report).is_err() || job.bursts == 0 {
            break;
        }
    }
    Ok(())
}

/// One connection. Records are opened in the buffer they were read into.
struct End {
    stream: Option<TcpStream>,
    /// rustls without its own buffers; `None` without TLS.
    tls: Option<UnbufferedServerConnection>,
    /// For what comes without TLS: as much work as opening records is.
    sealer: Sealer,
    incoming: Vec<u8>,
    /// Where an empty buffer begins to be filled.
    base: usize,
    /// `incoming[start..end]` is received and not yet processed.
    start: usize,
    end: usize,
    reads: u64,
    peer_closed: bool,
}

impl End {
    fn new(stack: StackName, stream: Option<TcpStream>, config: Arc<ServerConfig>) -> io::Result<Self> {
        if let Some(stream) = &stream {
            stream.set_nodelay(true)?;
        }
        Ok(Self {
            stream,
            tls: stack.uses_tls().then(|| UnbufferedServerConnection::new(config)).transpose().map_err(invalid)?,
            sealer: Sealer::new()?,
            incoming: vec![0; READ_BUFFER + ALIAS],
            base: 0,
            start: 0,
            end: 0,
            reads: 0,
            peer_closed: false,
        })
    }

    fn handshake(&mut self) -> io::Result<()> {
        let is_handshaking = |tls: &UnbufferedServerConnection| tls.is_handshaking();
        while self.tls.as_ref().is_some_and(is_handshaking) {
            self.fill()?;
            self.open(&mut |_| {})?;
        }
        Ok(())
    }

    fn suite(&self) -> Option<String> {
        let suite = self.tls.as_ref()?.negotiated_cipher_suite()?;
        Some(format!("{:?}", suite.suite()))
    }

    /// Takes what `check` expects, or the end of the connection if that is nothing.
    fn take(&mut self, check: &mut Check) -> io::Result<()> {
        if self.stream.is_none() {
            return self.work(check);
        }
        while check.wants_more() {
            let open = self.fill()? && self.open(&mut |data| check.take(data))?;
            check.report.last_ns = monotonic_ns();
            check.verdict(open)?;
            if !open {
                break;
            }
        }
        Ok(())
    }

    /// Reads once; false at the end of a stream without TLS.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (self.base, self.base);
        } else if self.incoming.len() - self.end < MIN_READ {
            self.incoming.copy_within(self.start..self.end, self.base);
            (self.start, self.end) = (self.base, self.base + self.end - self.start);
        }
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let room = &mut self.incoming[self.end..];
        let n = loop {
            self.reads += 1;
            match stream.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += n;
        if n == 0 && self.tls.is_some() {
            // The end of the stream without close_notify is a truncation.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(n > 0)
    }

    /// Opens what is there, record by record; false once the peer has closed its session.
    fn open(&mut self, on_data: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let (Some(tls), Some(stream)) = (&mut self.tls, &mut self.stream) else {
            let data = &mut self.incoming[self.start..self.end];
            on_data(data);
            data.chunks_mut(MAX_RECORD_SIZE).try_for_each(|chunk| self.sealer.seal(chunk).map(drop))?;
            self.start = self.end;
            return Ok(true);
        };
        let mut outgoing = Vec::new();
        loop {
            let UnbufferedStatus { discard, state, .. } =
                tls.process_tls_records(&mut self.incoming[self.start..self.end]);
            let mut idle = false;
            match state.map_err(invalid)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        on_data(record.map_err(invalid)?.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let mut more = vec![0; 16_384];
                    match data.encode(&mut more) {
                        Ok(n) => outgoing.extend_from_slice(&more[..n]),
                        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                            more.resize(required_size, 0);
                            let n = data.encode(&mut more).map_err(invalid)?;
                            outgoing.extend_from_slice(&more[..n]);
                        }
                        Err(error) => return Err(invalid(error)),
                    }
                }
                ConnectionState::TransmitTlsData(transmit) => {
                    stream.write_all(&outgoing)?;
                    outgoing.clear();
                    transmit.done();
                }
                ConnectionState::WriteTraffic(mut traffic) if self.peer_closed => {
                    let mut alert = [0; 64];
                    let n = traffic.queue_close_notify(&mut alert).map_err(invalid)?;
                    // A sender may be gone by now.
                    let _ = stream.write_all(&alert[..n]);
                    idle = true;
                }
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => idle = true,
                ConnectionState::PeerClosed => self.peer_closed = true,
                ConnectionState::Closed => (idle, self.peer_closed) = (true, true),
                _ => return Err(invalid(rustls::Error::General("early data".into()))),
            }
            self.start += discard;
            if idle {
                return Ok(!self.peer_closed);
            }
        }
    }

    /// Without a transport: what opening the records of all bursts would cost, at their rate.
    fn work(&mut self, check: &mut Check) -> io::Result<()> {
        let pace = check.job.interval_ns.map(|ns| Pace::new(Duration::from_nanos(ns)));
        for burst in 0..check.job.bursts {
            pace.as_ref().inspect(|pace| pace.wait(burst));
            let mut left = check.job.pattern.shape().burst_len();
            while left > 0 {
                let len = left.min(MAX_RECORD_SIZE);
                let _tag = self.sealer.seal(&mut self.incoming[self.base..self.base + len])?;
                left -= len;
            }
        }
        Ok(())
    }
}

/// Compares what comes with what belongs there.
struct Check {
    content: &'static Content,
    job: Job,
    offset: u64,
    burst_len: u64,
    message_len: u64,
    /// False where the sender seals the same buffer over and over: only the length can be checked.
    has_content: bool,
    differs_at: Option<u64>,
    report: Received,
}

impl Check {
    fn new(content: &'static Content, stack: StackName, job: Job, offset: u64) -> Self {
        let shape = job.pattern.shape();
        let has_content = !stack.is_limit();
        let burst_len = if stack == StackName::AeadPlain { wire_len(shape.burst_len()) } else { shape.burst_len() };
        Self {
            content,
            job,
            offset,
            burst_len: burst_len as u64,
            message_len: if has_content { shape.message_len() } else { burst_len } as u64,
            has_content,
            differs_at: None,
            report: Received::default(),
        }
    }

    fn wants_more(&self) -> bool {
        self.job.bursts == 0 || self.report.bytes < self.job.bursts * self.burst_len
    }

    fn take(&mut self, data: &[u8]) {
        let report = &mut self.report;
        if self.has_content && self.differs_at.is_none() {
            self.differs_at = self.content.first_difference(self.offset + report.bytes, data);
        }
        let whole = report.bytes / self.burst_len;
        report.records += 1;
        report.bytes += data.len() as u64;
        if self.job.interval_ns.is_some() {
            let now = monotonic_ns();
            report.arrived_ns.extend((whole..report.bytes / self.burst_len).map(|_| now));
        }
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

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Prints a line on standard output.
pub(super) fn say(line: &impl std::fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| Failure::new("print", "standard output", e))
}
