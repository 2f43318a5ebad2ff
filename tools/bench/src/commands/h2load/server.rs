//! `h2load-serve`: one hyper server on tls-cork and on tokio-rustls, in a process of its own.
//!
//! It prints its ports. Then each line on its standard input is a pair of numbers of requests; an
//! empty line in reply means that it is ready. An empty line on its input asks for [`Counts`].

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io::{self, BufRead, IoSlice};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Bytes;
use clap::Args;
use fastrand::Rng;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tls_cork_testing::RecordCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::measure::place::{self, deeper, thread_cpu_ns};
use tls_cork_programs::{Failure, tls};
use tls_cork_report as report;

/// The ports. On the last two, records and sends are counted, which hides the socket from tls-cork.
pub(super) const OURS: usize = 0;
pub(super) const THEIRS: usize = 1;
pub(super) const OURS_COUNTED: usize = 2;
pub(super) const THEIRS_COUNTED: usize = 3;

/// Options of `h2load-serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Directory with the certificates.
    #[arg(long)]
    certs: PathBuf,
    /// Which processor to stay on.
    #[arg(long)]
    processor: u32,
}

/// CPU nanoseconds of the serving thread between the two requests; records and sends of all.
pub(super) type Counts = [u64; 3];

#[derive(Debug, Default)]
struct Totals {
    served: u64,
    records: u64,
    sends: u64,
    /// The two requests, and the CPU time at each.
    at: [u64; 2],
    cpu_ns: [u64; 2],
}

type Shared = Arc<Mutex<Totals>>;

fn lock(totals: &Shared) -> MutexGuard<'_, Totals> {
    totals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until standard input ends.
///
/// # Errors
///
/// When the certificates cannot be read, or no port is free.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    place::pin(args.processor);
    let mut rng = Rng::new();
    let _ballast = place::ballast(&mut rng);
    let mut config = tls::server_config(&args.certs)?;
    Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let fail = |e: io::Error| Failure::new("serve", "127.0.0.1", e);
    let listeners: io::Result<Vec<_>> = (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let listeners = listeners.map_err(fail)?;
    let ports: io::Result<Vec<_>> = listeners.iter().map(|at| Ok(at.local_addr()?.port())).collect();
    let totals = Shared::default();
    let (counts, frames) = (Arc::clone(&totals), rng.u32(0..64));
    thread::spawn(move || deeper(frames, Box::new(move || serve_all(listeners, &config, &counts))));
    report::print(&serde_json::json!(ports.map_err(fail)?).to_string())?;
    for line in io::stdin().lock().lines() {
        let reply = if let Ok(at) = serde_json::from_str(&line.map_err(fail)?) {
            *lock(&totals) = Totals { at, ..Totals::default() };
            String::new()
        } else {
            let Totals { records, sends, cpu_ns: [from, to], .. } = *lock(&totals);
            serde_json::json!([to.saturating_sub(from), records, sends]).to_string()
        };
        report::print(&reply)?;
    }
    Ok(())
}

fn serve_all(listeners: Vec<TcpListener>, config: &Arc<rustls::ServerConfig>, totals: &Shared) -> io::Result<()> {
    let ours = tls_cork_tokio::TlsAcceptor::from(Arc::clone(config));
    let theirs = tokio_rustls::TlsAcceptor::from(Arc::clone(config));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        for (port, listener) in listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let (ours, theirs, totals) = (ours.clone(), theirs.clone(), Arc::clone(totals));
            tokio::spawn(async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    let _ = tcp.set_nodelay(true);
                    let (totals, shaken) = (Arc::clone(&totals), Arc::new(AtomicBool::new(false)));
                    let counted = |tcp| Counted {
                        tcp,
                        records: RecordCounter::default(),
                        shaken: Arc::clone(&shaken),
                        totals: Arc::clone(&totals),
                    };
                    match port {
                        OURS => tokio::spawn(serve(ours.accept(tcp), totals, shaken)),
                        THEIRS => tokio::spawn(serve(theirs.accept(tcp), totals, shaken)),
                        OURS_COUNTED => tokio::spawn(serve(ours.accept(counted(tcp)), totals, shaken)),
                        _ => tokio::spawn(serve(theirs.accept(counted(tcp)), totals, shaken)),
                    };
                }
            });
        }
        pending().await
    })
}

/// Serves one connection: the path of a request is the length of the body that answers it.
async fn serve<IO>(accepting: impl Future<Output = io::Result<IO>>, totals: Shared, shaken: Arc<AtomicBool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    static CONTENT: [u8; 1 << 20] = [7; 1 << 20];
    let Ok(stream) = accepting.await else { return };
    shaken.store(true, Relaxed);
    let answer = service_fn(|request: Request<Incoming>| {
        let mut totals = lock(&totals);
        totals.served += 1;
        if let Some(which) = totals.at.iter().position(|at| *at == totals.served) {
            totals.cpu_ns[which] = thread_cpu_ns();
        }
        let len = request.uri().path()[1..].parse().unwrap_or(0).min(CONTENT.len());
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&CONTENT[..len])))) }
    });
    // h2load ends connections as it likes, and counts its own failures.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

/// Counts records and sends after the handshake, but no send that finds no room.
struct Counted {
    tcp: TcpStream,
    records: RecordCounter,
    shaken: Arc<AtomicBool>,
    totals: Shared,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs))?;
        let before = self.records.records();
        self.records.advance_slices(bufs, sent, |_, _| ());
        if self.shaken.load(Relaxed) {
            let mut totals = lock(&self.totals);
            totals.records += self.records.records() - before;
            totals.sends += 1;
        }
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
