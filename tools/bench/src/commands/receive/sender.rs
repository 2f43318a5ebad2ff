//! `receive-send`: the sending end of all connections, the same for all.
//!
//! It seals what a job has before it sends any of it, and then writes all of it at once. A receiver
//! therefore finds more data in its socket whenever it reads.

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

use clap::Args;
use rustls::{ServerConfig, ServerConnection};

use super::message::Job;
use crate::commands::peers::receiver::{SUITE, say};
use crate::commands::peers::traffic::Content;
use crate::measure::place;
use crate::shared::acceptor::Acceptor;
use tls_cork_programs::Failure;
use tls_cork_programs::tls;

/// A record of TLS 1.3 is so much longer than its plaintext.
const OVERHEAD: u64 = 22;

/// Options of `receive-send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Directory with server-cert.pem and server-key.pem.
    #[arg(long, value_name = "DIR")]
    certs: PathBuf,
    /// How many connections will come.
    #[arg(long)]
    connections: usize,
    /// Which processor to stay on.
    #[arg(long)]
    processor: u32,
}

/// Sends from a free port of 127.0.0.1, which it prints, until standard input ends. Each line there
/// is a job, and is answered by a line.
///
/// # Errors
///
/// When certificates cannot be read, no port can be bound, or a line is no job.
pub fn run(args: &SendArgs) -> Result<(), Failure> {
    place::pin(args.processor);
    let config = tls::receiver_config(&args.certs, SUITE)?;
    let fail = |e: io::Error| Failure::new("listen", "127.0.0.1", e);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(fail)?;
    say(&listener.local_addr().map_err(fail)?.port())?;
    let acceptor = Acceptor::new(listener, "tls-cork-bench receive-send");
    // Another thread waits for connections, so that the end of the input is noticed.
    let (jobs, queue) = mpsc::channel();
    let connections = args.connections;
    thread::spawn(move || serve(&acceptor, connections, &config, &queue));
    for line in io::stdin().lock().lines() {
        let fail = |e: &dyn std::fmt::Display| Failure::new("read job", "standard input", e);
        let job: Job = serde_json::from_str(&line.map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
        if jobs.send(job).is_err() {
            break;
        }
    }
    Ok(())
}

/// Accepts all connections, then does the jobs.
fn serve(acceptor: &Acceptor, connections: usize, config: &Arc<ServerConfig>, jobs: &mpsc::Receiver<Job>) {
    let content = Content::default();
    let ends: Vec<io::Result<End>> = (0..connections).map(|_| End::new(acceptor.accept(), config)).collect();
    let mut ends: Vec<Result<End, String>> = ends.into_iter().map(|end| end.map_err(|e| e.to_string())).collect();
    for job in jobs {
        // Why it failed; nothing if all is well.
        let failed = match ends.get_mut(job.seat) {
            Some(slot) => {
                let sent = slot.as_mut().map_err(|why| why.clone());
                let failed = sent.and_then(|end| end.send(&content, &job).map_err(|e| e.to_string())).err();
                // Ends the connection: the receiver waits for the rest.
                failed.inspect(|why| *slot = Err(why.clone()))
            }
            None => Some("no such connection".to_owned()),
        };
        if say(&serde_json::json!(failed)).is_err() {
            return;
        }
    }
}

/// Our end of a connection.
struct End {
    session: ServerConnection,
    stream: TcpStream,
    /// Plaintext bytes sent so far.
    offset: u64,
    sealed: Vec<u8>,
}

impl End {
    fn new(mut stream: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        session.set_buffer_limit(None);
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self { session, stream, offset: 0, sealed: Vec::new() })
    }

    fn send(&mut self, content: &Content, job: &Job) -> io::Result<()> {
        if job.messages == 0 {
            self.session.send_close_notify();
        }
        self.sealed.clear();
        for _ in 0..job.messages {
            // rustls makes a record of each write, without waiting for more.
            self.session.writer().write_all(content.at(self.offset, job.message.len()))?;
            self.offset += job.message.len() as u64;
        }
        while self.session.wants_write() {
            self.session.write_tls(&mut self.sealed)?;
        }
        let expected = job.bytes() + job.messages * OVERHEAD;
        if job.messages > 0 && self.sealed.len() as u64 != expected {
            let why = format!("{} bytes were sealed instead of {expected}", self.sealed.len());
            return Err(io::Error::other(why));
        }
        self.stream.write_all(&self.sealed)
    }
}
