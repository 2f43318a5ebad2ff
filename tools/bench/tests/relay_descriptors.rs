//! The relay of `real` runs out of descriptors, and has some again later.
//!
//! In a process of its own, since it lowers the limit of the process.

use std::fs::File;
use std::io::{Read, Write};
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tls_cork_bench::commands::real::relay::Relay;

/// No step of the test takes longer.
const LIMIT: Duration = Duration::from_secs(20);
/// Time for a failure or two.
const WHILE_FAILING: Duration = Duration::from_millis(300);

#[test]
fn a_relay_without_descriptors_goes_on_when_it_has_some_again() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let relay = Relay::start(target.local_addr().expect("address").port()).expect("relay");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).expect("a lower limit");
    // Made before the descriptors are gone; to connect takes none. Linux may have reserved one for the
    // relay's first accept; there is none for the second.
    let early = [(); 2].map(|()| Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket"));
    let hoard: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for socket in &early {
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, relay.port)).into()).expect("connect");
    }
    thread::sleep(WHILE_FAILING);
    drop((hoard, early));

    thread::spawn(move || {
        let greet = |mut stream: TcpStream| stream.write_all(b"welcome").map(|()| stream);
        let _open: Vec<TcpStream> = target.incoming().map_while(|stream| stream.and_then(greet).ok()).collect();
    });
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port)).expect("connect");
    client.set_read_timeout(Some(LIMIT)).expect("timeout");
    let mut greeting = [0; 7];
    client.read_exact(&mut greeting).expect("the relay passes it on");
    assert_eq!(&greeting, b"welcome");
}
