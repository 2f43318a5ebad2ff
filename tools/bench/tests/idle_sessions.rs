//! What an idle session costs: 10,000 of them in one process, their peers in another, with this library and with its
//! peers in one run.
//!
//! `cargo test --release -p tls-cork-bench --features peers --test idle_sessions -- --ignored --nocapture`

use std::alloc::System;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tls_cork_programs::tls;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

mod common;

use common::Certs;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SESSIONS: u64 = 10_000;
/// Descriptors of a process beside its sessions.
const OTHER_FILES: u64 = 200;
/// Handshakes at a time, fewer than the backlog of a listener.
const AT_A_TIME: u64 = 50;
/// What each end sends before it is idle.
const MESSAGE: usize = 5000;
/// Longer than a stream keeps its buffers.
const IDLE: Duration = Duration::from_secs(3);
/// Ours may cost this much more than theirs.
const MOST: f64 = 1024.0;

/// The stack of the server process, and where it finds its certificate.
const STACK: &str = "TLS_CORK_IDLE_STACK";
const DIR: &str = "TLS_CORK_IDLE_DIR";

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Sends and receives, then waits in a read that never ends.
async fn converse(mut stream: impl Io, first: bool, idle: Option<UnboundedSender<()>>) {
    let mut got = Box::new([0; MESSAGE]);
    if !first {
        stream.read_exact(&mut got[..]).await.expect("a message");
    }
    stream.write_all(&[7; MESSAGE]).await.expect("a write");
    stream.flush().await.expect("a flush");
    if first {
        stream.read_exact(&mut got[..]).await.expect("a message");
    }
    drop(got);
    if let Some(idle) = idle {
        idle.send(()).expect("it is awaited");
    }
    let ended = stream.read(&mut [0; 1]).await;
    assert!(ended.is_err() || ended.is_ok_and(|n| n == 0), "nothing more is sent");
}

/// Spawns `$converse` on a stream of the stack `$stack`. Each stack has a task of its own size.
macro_rules! spawn {
    ($stack:expr, $tcp:ident, $config:ident, $stream:ident => $converse:expr, $end:ident.$handshake:ident($($name:expr)?)) => {
        match $stack {
            "tls-cork-tokio" => tokio::spawn(async move {
                let $stream = tls_cork_tokio::$end::from($config).$handshake($($name,)? $tcp).await.expect("TLS");
                $converse.await;
            }),
            "tokio-rustls" => tokio::spawn(async move {
                let $stream = tokio_rustls::$end::from($config).$handshake($($name,)? $tcp).await.expect("TLS");
                $converse.await;
            }),
            "tls-cork-async-std" => tokio::spawn(async move {
                let tcp = $tcp.compat();
                let stream = tls_cork_async_std::$end::from($config).$handshake($($name,)? tcp).await.expect("TLS");
                let $stream = stream.compat();
                $converse.await;
            }),
            "futures-rustls" => tokio::spawn(async move {
                let tcp = $tcp.compat();
                let stream = futures_rustls::$end::from($config).$handshake($($name,)? tcp).await.expect("TLS");
                let $stream = stream.compat();
                $converse.await;
            }),
            other => panic!("no stack is called {other}"),
        }
    };
}

fn spawn_client(stack: &str, config: Arc<ClientConfig>, tcp: TcpStream, idle: UnboundedSender<()>) {
    let name = ServerName::try_from("localhost").expect("a name");
    spawn!(stack, tcp, config, stream => converse(stream, true, Some(idle)), TlsConnector.connect(name));
}

fn spawn_server(stack: &str, config: Arc<ServerConfig>, tcp: TcpStream) {
    spawn!(stack, tcp, config, stream => converse(stream, false, None), TlsAcceptor.accept());
}

fn allocated() -> f64 {
    let stats = ALLOCATOR.stats();
    (stats.bytes_allocated - stats.bytes_deallocated) as f64
}

/// The memory of the kernel's objects in bytes, of which sockets are a part: `Slab` of /proc/meminfo.
fn kernel() -> f64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let slab = meminfo.lines().find_map(|line| line.strip_prefix("Slab:")).expect("Slab");
    slab.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}

/// Raises the limit of open files; returns the number of sessions that it leaves room for.
fn sessions() -> u64 {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit");
    SESSIONS.min(most - OTHER_FILES) / AT_A_TIME * AT_A_TIME
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The server process: prints its port, serves until its standard input has a line, prints its heap and ends at the
/// end of its input.
fn serve(stack: &'static str, config: Arc<ServerConfig>) {
    sessions();
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("port {}", listener.local_addr().expect("an address").port());
        let (asked, mut is_asked) = unbounded_channel();
        std::thread::spawn(move || std::io::stdin().lines().try_for_each(|_| asked.send(())));
        let mut before = 0.0;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (tcp, _) = accepted.expect("a connection");
                    spawn_server(stack, Arc::clone(&config), tcp);
                }
                line = is_asked.recv() => match line {
                    Some(()) => {
                        println!("heap {}", allocated() - before);
                        before = allocated();
                    }
                    None => return,
                },
            }
        }
    });
}

struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: Box<dyn BufRead>,
}

impl Server {
    fn start(stack: &str, certs: &Certs) -> (Self, SocketAddr) {
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "ten_thousand_idle_sessions", "--nocapture"])
            .env(STACK, stack)
            .env(DIR, certs.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut server = Self { input: child.stdin.take(), output: Box::new(output), child };
        let port = server.says("port ") as u16;
        (server, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The number behind `what`, in the next line that has it.
    fn says(&mut self, what: &str) -> f64 {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("a line") > 0, "the server has ended");
            if let Some((_, number)) = line.split_once(what) {
                return number.trim().parse().expect("a number");
            }
        }
    }

    /// The bytes of heap that the server has more than when it was last asked.
    fn heap(&mut self) -> f64 {
        writeln!(self.input.as_mut().expect("open"), "heap?").expect("a line");
        self.says("heap ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input = None;
        self.child.wait().expect("it ends with its input");
    }
}

/// Bytes for each session: of the client's heap, of the server's, and of the kernel for both ends.
fn measure(stack: &'static str, certs: &Certs) -> [f64; 3] {
    let (mut server, address) = Server::start(stack, certs);
    let sessions = sessions();
    let config = tls::client_config(&certs.ca(), None).expect("a configuration");
    runtime().block_on(async {
        let (idle, mut idles) = unbounded_channel();
        let mut before = [0.0; 3];
        // The first ones pay for what is made once.
        for n in 0..sessions + AT_A_TIME {
            if n == AT_A_TIME {
                tokio::time::sleep(IDLE).await;
                before = [allocated(), server.heap(), kernel()];
            }
            let (idle, config) = (idle.clone(), Arc::clone(&config));
            let tcp = TcpStream::connect(address).await.expect("a connection");
            spawn_client(stack, config, tcp, idle);
            if n % AT_A_TIME == AT_A_TIME - 1 {
                for _ in 0..AT_A_TIME {
                    idles.recv().await.expect("a session");
                }
            }
        }
        tokio::time::sleep(IDLE).await;
        let taken = [allocated() - before[0], server.heap(), kernel() - before[2]];
        taken.map(|bytes| bytes / sessions as f64)
    })
}

#[test]
#[ignore = "opens 20,000 sockets"]
fn ten_thousand_idle_sessions() {
    if let Ok(stack) = env::var(STACK) {
        let dir = env::var_os(DIR).expect("a directory");
        let config = tls::server_config(dir.as_ref()).expect("a configuration");
        return serve(stack.leak(), config);
    }
    let certs = Certs::new();
    println!("{} sessions", sessions());
    for (ours, theirs) in [("tls-cork-tokio", "tokio-rustls"), ("tls-cork-async-std", "futures-rustls")] {
        let [a, b] = [ours, theirs].map(|stack| {
            let [client, server, kernel] = measure(stack, &certs);
            println!("{stack}: client {client:.0} bytes of heap, server {server:.0}, kernel {kernel:.0} for both");
            [client, server]
        });
        for (end, (ours, theirs)) in ["client", "server"].iter().zip(a.iter().zip(b)) {
            println!("{end}: {:.0} bytes more", ours - theirs);
            assert!(
                *ours <= theirs * 1.05 || *ours <= theirs + MOST,
                "{end}: {ours:.0} bytes, {theirs:.0} of {theirs}"
            );
        }
    }
}
