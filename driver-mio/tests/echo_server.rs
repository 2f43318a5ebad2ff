//! The example `echo` as a child process that runs out of descriptors.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// No step of the test takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// `cargo test` builds examples next to the tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().expect("this program");
    let path = tests.parent().and_then(Path::parent).expect("a target directory").join("examples/echo");
    assert!(path.exists(), "no {}: run cargo build --example echo first", path.display());
    path
}

/// The server; it ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connect");
    socket.set_read_timeout(Some(LIMIT)).expect("timeout");
    socket.set_write_timeout(Some(LIMIT)).expect("timeout");
    socket
}

#[test]
fn a_server_without_descriptors_goes_on_when_it_has_some_again() {
    let certificate = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("echo-{}.pem", std::process::id()));
    let start = Instant::now();
    let mut command = Command::new("sh");
    command.arg("-c").arg("ulimit -n 20 && exec \"$@\"").arg("sh").arg(program());
    command.args(["server", "127.0.0.1:0", "--cert-out"]).arg(&certificate);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut server = Server(child);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
    let stderr = BufReader::new(server.0.stderr.take().unwrap());
    let (lines, said) = mpsc::channel();
    thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));

    let idle: Vec<TcpStream> = (0..40).map(|_| connect(&address)).collect();
    let first = said.recv_timeout(LIMIT).expect("a word about the failed accept");
    assert!(first.contains("accept"), "{first}");
    // In the backlog from now on: no event announces it once more.
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    fs::remove_file(&certificate).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut client = StreamOwned::new(session, connect(&address));
    // Time for more failures than may be reported.
    thread::sleep(Duration::from_millis(1200));
    assert!(server.0.try_wait().unwrap().is_none(), "the server has ended");
    drop(idle);
    client.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");

    drop(server);
    let reports = 1 + said.iter().filter(|line| line.contains("accept")).count() as u64;
    let seconds = start.elapsed().as_secs();
    assert!(reports <= 1 + seconds, "{reports} reports in {seconds} s");
}
