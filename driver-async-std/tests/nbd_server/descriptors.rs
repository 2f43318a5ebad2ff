//! A server that runs out of descriptors, and has some again later.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::Client;
use crate::server::{LIMIT, Server};

/// Time for more failures than may be reported.
const WHILE_FAILING: Duration = Duration::from_millis(1200);

#[test]
fn a_server_without_descriptors_goes_on_when_it_has_some_again() {
    let start = Instant::now();
    let (server, stderr) = Server::with_descriptors(32);
    let (lines, said) = mpsc::channel();
    thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    // Fewer than the server turns away.
    let idle: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
    let first = said.recv_timeout(LIMIT).expect("a word about the failed accept");
    assert!(first.contains("accept: Too many open files"), "{first}");
    thread::sleep(WHILE_FAILING);
    drop(idle);
    assert_eq!(Client::transmitting(&server).read(0, 1), Ok(vec![0]));
    server.stop(Signal::TERM);
    let reports = 1 + said.iter().filter(|line| line.contains("accept")).count() as u64;
    let seconds = start.elapsed().as_secs();
    assert!(reports <= 1 + seconds, "{reports} reports in {seconds} s");
}
