//! The embedded NBD server: what the client writes to when no other server is installed.
//!
//! It runs as a child process of the benchmark, so that CPU times measured there are the client's
//! alone, and it ends when its standard input does, so that it cannot outlive its parent. It is
//! built not to be the bottleneck: large reads, records decrypted where they lie, and one write
//! for all the replies that one read has caused.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use clap::{Args, ValueEnum};
use rustls::ServerConfig;
use tls_cork_nbd::{CLIENT_FLAGS_LEN, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, encode_greeting, parse_client_flags};
use tls_cork_programs::Failure;
use tls_cork_programs::children::Guarded;
use tls_cork_programs::tls;

use crate::shared::acceptor::Acceptor;

mod export;
pub(crate) mod pipe;
mod session;

use export::Export;
use pipe::{CleartextPipe, Pipe, TlsPipe};
use session::{Next, Session};

/// What the exported device keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportKind {
    /// Discards writes, reads as zeroes.
    Null,
    /// Keeps writes in memory, shared by all connections.
    Memory,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What becomes of data written.
    #[arg(long, value_enum, default_value = "null")]
    pub export: ExportKind,
    /// Size of the export in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 32)]
    pub size: u64,
    /// Directory with server-cert.pem and server-key.pem, as `make-certs` writes it.
    #[arg(long, value_name = "DIR", required_unless_present = "plaintext")]
    pub certs: Option<PathBuf>,
    /// Serve without TLS.
    #[arg(long, conflicts_with = "certs")]
    pub plaintext: bool,
    /// Drop a connection, without a word, once it has sent this many requests (for tests).
    #[arg(long, value_name = "REQUESTS")]
    pub drop_after: Option<u64>,
}

struct Shared {
    export: Export,
    tls: Option<Arc<ServerConfig>>,
    drop_after: Option<u64>,
}

/// Serves on a free port of 127.0.0.1, which it prints, until standard input ends.
pub fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let tls = args.certs.as_deref().map(tls::server_config).transpose()?;
    let export = Export::new(args.export, args.size)
        .map_err(|why| Failure::new("create export", format!("{} bytes", args.size), why))?;
    let shared = Arc::new(Shared { export, tls, drop_after: args.drop_after });

    let place = "127.0.0.1";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| Failure::new("listen", place, e))?;
    let address = listener.local_addr().map_err(|e| Failure::new("listen", place, e))?;
    tls_cork_report::print(&address.port().to_string())?;

    thread::spawn(move || accept_all(Acceptor::new(listener, "tls-cork-bench serve"), &shared));
    let mut ignored = [0; 64];
    while !matches!(io::stdin().lock().read(&mut ignored), Ok(0) | Err(_)) {}
    Ok(())
}

fn accept_all(acceptor: Acceptor, shared: &Arc<Shared>) {
    loop {
        let stream = acceptor.accept();
        let shared = Arc::clone(shared);
        acceptor.spawn(move || {
            // A client that goes away is not an event worth a message; anything else helps to
            // understand what the client then reports.
            if let Err(error) = serve_connection(stream, &shared)
                && !matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
                )
            {
                let line = format!("tls-cork-bench serve: {error}\n");
                let _ = io::stderr().write_all(line.as_bytes());
            }
        });
    }
}

fn serve_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let flags = FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES;
    stream.write_all(&encode_greeting(flags))?;
    let mut client_flags = [0; CLIENT_FLAGS_LEN];
    stream.read_exact(&mut client_flags)?;
    parse_client_flags(&client_flags).map_err(invalid)?;

    let mut session = Session::new(&shared.export, shared.tls.is_some());
    let mut cleartext = CleartextPipe::new(stream);
    let next = run(&mut session, &mut cleartext, shared.drop_after)?;
    if let (Next::StartTls, Some(config)) = (next, &shared.tls) {
        session.tls_started();
        let mut pipe = TlsPipe::new(cleartext.into_stream(), Arc::clone(config))?;
        run(&mut session, &mut pipe, shared.drop_after)?;
        pipe.close()?;
    }
    Ok(())
}

/// The embedded server as a child process.
#[derive(Debug)]
pub struct EmbeddedServer {
    _child: Guarded,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl EmbeddedServer {
    /// Starts `program serve`; with TLS if `certs` names a directory of certificates.
    pub fn start(
        program: &Path,
        certs: Option<&Path>,
        export: ExportKind,
        size: u64,
        more_args: &[&str],
    ) -> Result<Self, Failure> {
        let name = "embedded server";
        let mut command = Command::new(program);
        command.arg("serve").arg("--size").arg(size.to_string());
        command.arg("--export").arg(match export {
            ExportKind::Null => "null",
            ExportKind::Memory => "memory",
        });
        match certs {
            Some(dir) => command.arg("--certs").arg(dir),
            None => command.arg("--plaintext"),
        };
        command.args(more_args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Guarded::spawn(&mut command, name)?;
        // A server that fails closes its output, so this ends.
        let line = child.line().unwrap_or_default();
        let port = line.parse().map_err(|_| Failure::new("start program", name, "it ended without naming its port"))?;
        Ok(Self { _child: child, port })
    }
}

/// Answers each piece that is received in one write.
fn run(session: &mut Session<'_>, pipe: &mut dyn Pipe, drop_after: Option<u64>) -> io::Result<Next> {
    let mut out = Vec::new();
    loop {
        let mut next = Ok(Next::More);
        let open = pipe.receive(&mut |data| {
            if matches!(next, Ok(Next::More)) {
                next = session.feed(data, &mut out);
            }
        })?;
        if !out.is_empty() {
            pipe.send(&out)?;
            out.clear();
        }
        if drop_after.is_some_and(|limit| session.requests() >= limit) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match next.map_err(invalid)? {
            Next::More if open => {}
            Next::More => return Ok(Next::Disconnect),
            next => return Ok(next),
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
