//! Command line, connections and signals.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_signal::{Signal, Signals};
use async_std::channel::{self, Receiver};
use async_std::future;
use async_std::io::timeout;
use async_std::net::{TcpListener, TcpStream};
use async_std::task;
use clap::Parser;
use futures_util::StreamExt;
use futures_util::future::{Either, select};

use super::export::Export;
use super::negotiation::negotiate;
use super::stream::{self, Acceptor};
use super::{requests, tls};

/// The most clients at a time; further ones are disconnected.
const MAX_CONNECTIONS: usize = 64;
/// The pause after a failed `accept`. A lack of descriptors, the usual cause, lasts.
const PAUSE: Duration = Duration::from_secs(1);
/// The time limit from the connection to the transmission phase.
const NEGOTIATION_LIMIT: Duration = Duration::from_secs(30);
/// The time limit from the last reply to the peer's end of the stream.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// The time limit from a signal to the end of all connections.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Serves a file, or memory, over NBD with TLS. Prints its listening address; SIGINT and SIGTERM
/// stop it.
#[derive(Debug, Parser)]
#[command(name = "nbd_server")]
pub(crate) struct Args {
    /// Listen on this address; with port 0 the kernel chooses a port.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: String,
    /// Serve this file or block device.
    #[arg(long, value_name = "PATH", required_unless_present = "memory", conflicts_with = "memory")]
    file: Option<PathBuf>,
    /// Serve this many bytes of memory, zeroes at first.
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// The server's certificate chain, in PEM.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The server's private key, in PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Serve only clients with a certificate signed by this CA, in PEM.
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// The longest time to hold the beginning of a message.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10)]
    max_hold_ms: u64,
}

/// Serves until a signal.
pub(crate) async fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let config = tls::server_config(&args.cert, &args.key, args.client_ca.as_deref())?;
    let acceptor = Acceptor::new(config, Duration::from_millis(args.max_hold_ms))?;
    let export = match (&args.file, args.memory) {
        (Some(path), _) => Export::file(path).map_err(|e| format!("{}: {e}", path.display()))?,
        (None, size) => Export::memory(size.unwrap_or_default()).map_err(|e| format!("--memory: {e}"))?,
    };
    let export = Arc::new(export);
    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    let listener = TcpListener::bind(&args.listen).await.map_err(|e| format!("{}: {e}", args.listen))?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", listener.local_addr()?).and_then(|()| stdout.flush())?;

    // Nothing is sent on these channels: a dropped end is the signal.
    let (stop, stopped) = channel::bounded(1);
    let (alive, all_ended) = channel::bounded::<()>(1);
    while let Either::Right((accepted, _)) = select(signals.next(), pin!(listener.accept())).await {
        match accepted {
            Ok(_) if all_ended.sender_count() > MAX_CONNECTIONS => {}
            Ok((tcp, peer)) => {
                let (acceptor, export, stopped, alive) =
                    (acceptor.clone(), Arc::clone(&export), stopped.clone(), alive.clone());
                task::spawn(async move {
                    report(peer, connection(tcp, &acceptor, &export, &stopped).await);
                    drop(alive);
                });
            }
            Err(error) => {
                eprintln!("nbd_server: accept: {error}");
                task::sleep(PAUSE).await;
            }
        }
    }
    drop((listener, stop, alive));
    let _ = future::timeout(STOP_LIMIT, all_ended.recv()).await;
    Ok(export.flush()?)
}

async fn connection(tcp: TcpStream, acceptor: &Acceptor, export: &Arc<Export>, stop: &Receiver<()>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let negotiated = timeout(NEGOTIATION_LIMIT, negotiate(tcp, acceptor, export.size()));
    let mut client = match select(pin!(stop.recv()), pin!(negotiated)).await {
        Either::Left(_) => return Ok(()),
        Either::Right((negotiated, _)) => match negotiated? {
            None => return Ok(()),
            Some(client) => client,
        },
    };
    let served = requests::serve(&mut client, export, stop).await;
    // An error here does not matter: the client may be gone, and its requests were served.
    let _ = timeout(CLOSE_LIMIT, stream::close(&mut client.stream)).await;
    served
}

/// Prints why a connection failed, unless the client has disconnected.
fn report(peer: SocketAddr, ended: io::Result<()>) {
    if let Err(error) = ended
        && !matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
        )
    {
        eprintln!("nbd_server: {peer}: {error}");
    }
}
