//! The sender: a process of its own for each stack, so that its memory is the stack's.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::memory::Memory;
use super::stacks::{Cleartext, Ours, Receiver, Rustls};
use crate::shared::cpu_time::CpuTime;
use tls_cork_programs::Failure;
use tls_cork_programs::tls;
use tls_cork_testing::content;

/// A process that takes no CPU time for so long has nothing left to do.
const QUIET: Duration = Duration::from_millis(400);
/// CPU time that looking for events takes.
const NOTHING: Duration = Duration::from_millis(2);
/// How long one receiver may take to connect, and all of them to stall.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(30);

/// A way to queue one message to many receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stack {
    /// tls-cork on mio: `send_bytes` of a clone.
    OursMio,
    /// tls-cork on async-io: a task for each receiver, in `send_bytes` of a clone.
    #[cfg(feature = "peers")]
    OursAsync,
    /// futures-rustls on async-io: a task for each receiver, in `write_all`.
    #[cfg(feature = "peers")]
    FuturesRustls,
    /// tokio-rustls: a task for each receiver, in `write_all`.
    #[cfg(feature = "peers")]
    TokioRustls,
    /// rustls behind a queue of clones, sealed in steps of 64 KiB.
    RustlsQueue,
    /// rustls with its buffer limit lifted: sealed at once.
    RustlsSealed,
    /// No TLS: a queue of clones.
    Tcp,
}

impl Stack {
    /// All of them, in the order of the table.
    pub const ALL: &[Self] = &[
        Self::OursMio,
        #[cfg(feature = "peers")]
        Self::OursAsync,
        #[cfg(feature = "peers")]
        Self::FuturesRustls,
        #[cfg(feature = "peers")]
        Self::TokioRustls,
        Self::RustlsQueue,
        Self::RustlsSealed,
        Self::Tcp,
    ];

    /// As the table has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OursMio => "tls-cork on mio: send_bytes",
            #[cfg(feature = "peers")]
            Self::OursAsync => "tls-cork on async-io: tasks in send_bytes",
            #[cfg(feature = "peers")]
            Self::FuturesRustls => "futures-rustls, tasks in write_all",
            #[cfg(feature = "peers")]
            Self::TokioRustls => "tokio-rustls, tasks in write_all",
            Self::RustlsQueue => "rustls, queue of Bytes, 64 KiB sealed at a time",
            Self::RustlsSealed => "rustls, set_buffer_limit(None), write_all",
            Self::Tcp => "plain TCP, queue of Bytes",
        }
    }

    /// Whether every receiver costs a copy of the message.
    pub(super) fn copies(self) -> bool {
        self == Self::RustlsSealed
    }

    /// Whether it is async code, which waits in its writes.
    #[cfg(feature = "peers")]
    fn is_async(self) -> bool {
        matches!(self, Self::OursAsync | Self::FuturesRustls | Self::TokioRustls)
    }

    /// Whether receivers are to speak TLS.
    pub(super) fn is_tls(self) -> bool {
        self != Self::Tcp
    }
}

/// Options of the hidden `broadcast-sender`.
#[derive(Debug, Args)]
pub struct SenderArgs {
    /// How to queue.
    #[arg(long, value_enum)]
    pub(super) stack: Stack,
    /// How many will connect.
    #[arg(long)]
    pub(super) receivers: u32,
    /// Length of the message.
    #[arg(long)]
    pub(super) message_bytes: usize,
    /// What the sockets are asked to buffer with `SO_SNDBUF`, on average.
    #[arg(long)]
    pub(super) send_buffer: usize,
    /// Directory with the server's certificate.
    #[arg(long)]
    pub(super) certs: PathBuf,
}

/// The memory of one sender.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// With the message in memory, and no receiver.
    pub before: Memory,
    /// With all receivers connected, and nothing to send.
    pub idle: Memory,
    /// With the message queued to all, and no receiver taking any more.
    pub stalled: Memory,
}

/// Says where it listens, serves, and says what that took.
///
/// # Errors
///
/// When a receiver does not come, or a connection fails.
pub fn run(args: &SenderArgs) -> Result<(), Failure> {
    super::raise_file_limit(args.receivers)?;
    let config = tls::server_config(&args.certs)?;
    let mut message = vec![0; args.message_bytes];
    content::fill(0, 0, &mut message);
    let message = Bytes::from(message);
    let fail = |e: io::Error| Failure::new("broadcast", args.stack.name(), e);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
    let port = listener.local_addr().map_err(fail)?.port();
    say(&port.to_string())?;

    #[cfg(feature = "peers")]
    if args.stack.is_async() {
        let held = super::tasks::serve(args, &listener, config, &message)?;
        return say(&serde_json::to_string(&held).map_err(|e| fail(e.into()))?);
    }
    let held = Broadcast::new(args, listener, config).map_err(fail)?.serve(&message)?;
    say(&serde_json::to_string(&held).map_err(|e| fail(e.into()))?)
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| Failure::new("print", "standard output", e))
}

/// The next receiver's socket, as every stack gets it; `number` counts them from zero.
pub(super) fn accept(listener: &TcpListener, args: &SenderArgs, number: usize) -> io::Result<std::net::TcpStream> {
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let share = args.send_buffer * number / args.receivers as usize;
    SockRef::from(&socket).set_send_buffer_size(args.send_buffer / 2 + share)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Notices when a process has stopped working.
pub(super) struct Quiet {
    cpu: Duration,
    since: Instant,
}

impl Quiet {
    pub(super) fn new() -> Self {
        Self { cpu: total_cpu(), since: Instant::now() }
    }

    /// True once the last [`QUIET`] took no CPU time worth mentioning.
    pub(super) fn has_come(&mut self) -> bool {
        if total_cpu() - self.cpu > NOTHING {
            *self = Self::new();
        }
        self.since.elapsed() >= QUIET
    }
}

fn total_cpu() -> Duration {
    let cpu = CpuTime::now();
    cpu.user + cpu.sys
}

struct Broadcast<'a> {
    args: &'a SenderArgs,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    poll: Poll,
    events: Events,
    receivers: Vec<Box<dyn Receiver>>,
}

impl<'a> Broadcast<'a> {
    fn new(args: &'a SenderArgs, listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self { args, listener, config, poll: Poll::new()?, events: Events::with_capacity(256), receivers: vec![] })
    }

    fn serve(mut self, message: &Bytes) -> Result<Held, Failure> {
        let fail = |e: io::Error| Failure::new("broadcast", self.args.stack.name(), e);
        let before = Memory::now()?;
        for _ in 0..self.args.receivers {
            self.admit().map_err(fail)?;
        }
        self.settle().map_err(fail)?;
        let idle = Memory::now()?;
        for receiver in &mut self.receivers {
            receiver.queue(message.clone()).map_err(fail)?;
        }
        self.settle().map_err(fail)?;
        Ok(Held { before, idle, stalled: Memory::now()? })
    }

    /// One receiver at a time: what a handshake leaves behind in the heap serves the next one.
    fn admit(&mut self) -> io::Result<()> {
        let socket = TcpStream::from_std(accept(&self.listener, self.args, self.receivers.len())?);
        let config = Arc::clone(&self.config);
        let mut receiver: Box<dyn Receiver> = match self.args.stack {
            Stack::OursMio => Box::new(Ours::new(socket, config, self.args.message_bytes)?),
            Stack::RustlsQueue => Box::new(Rustls::new(socket, config, false)?),
            Stack::RustlsSealed => Box::new(Rustls::new(socket, config, true)?),
            Stack::Tcp => Box::new(Cleartext::new(socket)),
            #[cfg(feature = "peers")]
            _ => return Err(io::Error::other("has tasks, not a poll loop")),
        };
        let token = Token(self.receivers.len());
        self.poll.registry().register(receiver.source(), token, Interest::READABLE | Interest::WRITABLE)?;
        self.receivers.push(receiver);
        let deadline = Instant::now() + STEP_LIMIT;
        while !self.receivers[token.0].is_ready() {
            if Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a receiver does not finish its handshake"));
            }
            self.turn(STEP_LIMIT)?;
        }
        Ok(())
    }

    /// Goes on until nothing moves any more.
    fn settle(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + STEP_LIMIT;
        let mut quiet = Quiet::new();
        while !quiet.has_come() {
            if Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the receivers do not stall"));
            }
            self.turn(QUIET / 4)?;
        }
        Ok(())
    }

    fn turn(&mut self, wait: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let receiver = &mut self.receivers[event.token().0];
            receiver.handle_event(event)?;
            receiver.before_poll()?;
        }
        Ok(())
    }
}
