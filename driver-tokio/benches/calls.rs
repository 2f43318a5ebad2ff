//! The cost of the deadline task, in instructions for each call.
//!
//! ```sh
//! cargo bench -p tls-cork-tokio --bench calls
//! ```
//!
//! Needs valgrind: the program runs itself under callgrind, once with some number of calls and once
//! with twice as many. The difference is the cost of the added calls.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, IoSlice};
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{env, fs};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tls_cork_tokio::client::TlsStream;
use tls_cork_tokio::{CorkConfig, SendFlags, TlsAcceptor, TlsConnector};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

const CALLS: u64 = 20_000;
const SMALL: [u8; 28] = [7; 28];
const KINDS: [&str; 6] = ["write", "write-local", "write-held-once", "hold", "hold-local", "hold-halves"];

fn main() -> ExitCode {
    let args: Vec<_> = env::args().collect();
    if let [_, flag, kind, calls] = &args[..]
        && flag == "--run"
    {
        run(kind, calls.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    for kind in KINDS {
        match (count(kind, CALLS), count(kind, 2 * CALLS)) {
            (Ok(some), Ok(twice)) => println!("{kind}: {} instructions for each call", (twice - some) / CALLS),
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("calls: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn count(kind: &str, calls: u64) -> Result<u64, Box<dyn Error>> {
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("calls.{kind}.{calls}.callgrind"));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args(["--run", kind, &calls.to_string()])
        .output()?;
    if !output.status.success() {
        return Err(format!("valgrind failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = fs::read_to_string(&profile)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("no totals in callgrind's output")?;
    Ok(total.trim().parse()?)
}

fn run(kind: &str, calls: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut stream = connected(kind.ends_with("local")).await.expect("a stream");
        match kind {
            "write" | "write-local" => writes(&mut stream, calls).await,
            "write-held-once" => {
                stream.send_all(&SMALL, SendFlags::MORE).await.expect("held");
                tokio::task::yield_now().await;
                writes(&mut stream, calls).await;
            }
            "hold-halves" => {
                let (_reader, mut writer) = stream.into_split();
                for i in 0..calls {
                    let flags = SendFlags::more_if(i % 500 > 0);
                    writer.send(black_box(&SMALL), flags).await.expect("sent");
                }
            }
            _ => {
                for i in 0..calls {
                    let flags = SendFlags::more_if(i % 500 > 0);
                    stream.send(black_box(&SMALL), flags).await.expect("sent");
                }
            }
        }
    });
}

async fn writes(stream: &mut TlsStream<Switch>, calls: u64) {
    for _ in 0..calls {
        assert_eq!(stream.write(black_box(&SMALL)).await.expect("written"), SMALL.len());
    }
}

async fn connected(local: bool) -> Result<TlsStream<Switch>, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    let (up, down) = duplex(100_000);
    let discards = Arc::new(AtomicBool::new(false));
    let up = Switch { io: up, discards: Arc::clone(&discards) };
    // A long deadline: it must not come in a slow run under valgrind.
    let cork = CorkConfig::default().max_hold(Duration::from_secs(50));
    let connector = TlsConnector::from(Arc::new(client)).with_cork(cork)?;
    let name = "localhost".try_into()?;
    let connect = if local { connector.connect_local(name, up) } else { connector.connect(name, up) };
    let (client, _server) = tokio::try_join!(connect, TlsAcceptor::from(Arc::new(server)).accept(down))?;
    discards.store(true, Ordering::Relaxed);
    Ok(client)
}

/// A transport that can be switched to discard the bytes that it takes.
struct Switch {
    io: DuplexStream,
    discards: Arc<AtomicBool>,
}

impl AsyncRead for Switch {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Switch {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.discards.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
