//! The other programs: started with what a case wants of them, watched while they run, ended with their owner.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crate::ours::LIMIT;

const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// A port that was free may have been taken by the time the program wants it.
const ATTEMPTS: usize = 5;
/// Below what Linux takes for clients, unless it was told otherwise.
const PORTS: Range<u16> = 12_000..32_000;

/// A running program.
pub(crate) struct Peer {
    child: Child,
    name: String,
    /// Dropped to end its input.
    stdin: Option<Sender<Vec<u8>>>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// What a program that has ended left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Peer {
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let stdin = child.stdin.take().map(feed);
        let stdout = Output::of(child.stdout.take());
        let stderr = Output::of(child.stderr.take());
        Ok(Self { child, name, stdin, stdout, stderr })
    }

    /// Starts the program that `command` makes for a port, and connects to it as soon as it listens.
    pub(crate) fn listening(command: impl Fn(u16) -> Command) -> Result<(Self, u16, TcpStream), String> {
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            let mut peer = Self::start(&mut command(port))?;
            let deadline = Instant::now() + LIMIT;
            let said = loop {
                let tcp = connect(port);
                if peer.has_ended() {
                    break peer.said();
                }
                if let Ok(tcp) = tcp {
                    return Ok((peer, port, tcp));
                }
                if Instant::now() > deadline {
                    return Err(format!("{} does not listen: {}", peer.name, peer.said()));
                }
                thread::sleep(POLL_INTERVAL);
            };
            if !said.contains("in use") {
                return Err(format!("{} has ended: {said}", peer.name));
            }
        }
        Err("no free port".to_owned())
    }

    /// Writes to its standard input, in a thread of its own: it may read late.
    pub(crate) fn say(&self, data: impl Into<Vec<u8>>) {
        if let Some(stdin) = &self.stdin {
            let _ = stdin.send(data.into());
        }
    }

    /// Ends its standard input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end, which has to come in time.
    pub(crate) fn finish(mut self) -> Result<Ended, String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.stdout.wait("its end", |_, ended| ended)?;
                self.stderr.wait("its end", |_, ended| ended)?;
                let stderr = String::from_utf8_lossy(&self.stderr.bytes()).into_owned();
                return Ok(Ended { status, stdout: self.stdout.bytes(), stderr });
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not end: {}", self.name, self.said()));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has said so far, for messages.
    pub(crate) fn said(&self) -> String {
        [self.stderr.bytes(), self.stdout.bytes()].map(|said| printable(&said)).join(" | ")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Not waited for, unless it has ended: its number is still its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of its outputs, collected as it comes.
#[derive(Clone)]
pub(crate) struct Output(Arc<Collector>);

#[derive(Default)]
struct Collector {
    collected: Mutex<Collected>,
    grown: Condvar,
}

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

impl Output {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let output = Self(Arc::default());
        let shared = output.clone();
        thread::spawn(move || {
            let mut buf = [0; 16 * 1024];
            let mut pipe = pipe.expect("a piped output");
            loop {
                let n = pipe.read(&mut buf).unwrap_or(0);
                let mut collected = shared.lock();
                collected.bytes.extend_from_slice(&buf[..n]);
                collected.ended = n == 0;
                shared.0.grown.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        output
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.collected.lock().expect("no panic while it is locked")
    }

    /// Waits until `marker` is in it so many times.
    pub(crate) fn wait_for(&self, marker: &[u8], times: usize) -> Result<(), String> {
        let what = String::from_utf8_lossy(marker).into_owned();
        self.wait(&what, |bytes, _| bytes.windows(marker.len()).filter(|part| *part == marker).count() >= times)
    }

    /// Waits until it is so long.
    pub(crate) fn wait_for_len(&self, len: usize) -> Result<(), String> {
        self.wait(&format!("{len} bytes"), |bytes, _| bytes.len() >= len)
    }

    fn wait(&self, what: &str, done: impl Fn(&[u8], bool) -> bool) -> Result<(), String> {
        let waiting = |now: &mut Collected| !done(&now.bytes, now.ended) && !now.ended;
        let woken = self.0.grown.wait_timeout_while(self.lock(), LIMIT, waiting);
        let (collected, _) = woken.expect("no panic while it is locked");
        if done(&collected.bytes, collected.ended) {
            return Ok(());
        }
        Err(format!("waited for {what:?} in: {}", printable(&collected.bytes)))
    }
}

/// The last words, on one line.
fn printable(said: &[u8]) -> String {
    let said = &said[said.len().saturating_sub(600)..];
    let text: String = said.iter().map(|&byte| if byte == b'\n' { '/' } else { char::from(byte) }).collect();
    text.replace(|c: char| !(' '..='~').contains(&c), "")
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
}

/// Waits for a client, which has to come in time.
pub(crate) fn accept(listener: &TcpListener, peer: &mut Peer) -> Result<TcpStream, String> {
    listener.set_nonblocking(true).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((tcp, _)) => {
                tcp.set_nonblocking(false).map_err(|error| error.to_string())?;
                return Ok(tcp);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if peer.has_ended() {
                    break;
                }
                thread::sleep(POLL_INTERVAL);
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("{} does not connect: {}", peer.name, peer.said()))
}

/// A listener on a port of the kernel's choice.
pub(crate) fn listener() -> Result<(TcpListener, u16), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    Ok((listener, port))
}

/// A port that nobody listens on. The kernel's own choice would come from the range that it takes for clients: the next client
/// might get it, or a connection to it might meet itself.
fn free_port() -> Result<u16, String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16;
    for _ in 0..PORTS.len() {
        let n = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + n % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(format!("no free port in {PORTS:?}"))
}

fn feed(mut stdin: impl Write + Send + 'static) -> Sender<Vec<u8>> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        for data in receiver {
            // A program that has ended takes no more; what it left undone tells.
            if stdin.write_all(&data).and_then(|()| stdin.flush()).is_err() {
                return;
            }
        }
    });
    sender
}
