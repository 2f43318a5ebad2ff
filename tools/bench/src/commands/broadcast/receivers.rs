//! The receivers: connected, greeted, and deaf.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::{Domain, Socket, Type};

use tls_cork_programs::Failure;
use tls_cork_programs::tls;

/// What a receiver's socket takes in unread: as little as the kernel allows.
const RECEIVE_BUFFER: usize = 4096;
const STEP_LIMIT: Duration = Duration::from_secs(20);

/// Options of the hidden `broadcast-receivers`.
#[derive(Debug, Args)]
pub struct ReceiversArgs {
    /// Where the sender listens on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// How many to be.
    #[arg(long)]
    receivers: u32,
    /// PEM file with the sender's CA; cleartext without.
    #[arg(long)]
    ca: Option<PathBuf>,
}

/// Connects all receivers, one after the other, says so, and reads nothing until standard input ends.
///
/// # Errors
///
/// When one of them cannot connect.
pub fn run(args: &ReceiversArgs) -> Result<(), Failure> {
    super::raise_file_limit(args.receivers)?;
    let config = args.ca.as_ref().map(|ca| tls::client_config(ca, None)).transpose()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let connect = || -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Before the connection is made: its window scale follows from this.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.connect_timeout(&address.into(), STEP_LIMIT)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(STEP_LIMIT))?;
        if let Some(config) = &config {
            let name = ServerName::try_from(tls::SERVER_NAMES[0]).map_err(io::Error::other)?;
            let mut session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
            while session.is_handshaking() {
                session.complete_io(&mut stream)?;
            }
        }
        Ok(stream)
    };
    let mut sockets = Vec::new();
    for number in 1..=args.receivers {
        let stream = connect().map_err(|e| Failure::new("connect receiver", format!("number {number}"), e))?;
        sockets.push(stream);
    }
    let say = |e| Failure::new("print", "standard output", e);
    let mut out = io::stdout();
    writeln!(out, "ready").and_then(|()| out.flush()).map_err(say)?;
    io::stdin().read_to_end(&mut Vec::new()).map_err(|e| Failure::new("wait", "standard input", e))?;
    drop(sockets);
    Ok(())
}
