//! How many system calls send, on a TCP socket: `counts.rs` has the same over a transport that
//! counts.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::env;
use std::process::Command;

use tls_cork_tokio::{SendFlags, TlsAcceptor, TlsConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::{configs, name, noise, patient};

const MESSAGES: &str = "TLS_CORK_STRACE_MESSAGES";
const MIB: usize = 1 << 20;
/// The sends of the answer to each message.
const ANSWER: usize = 1;
/// Messages before the first that counts, in which the socket's buffers grow.
const WARM: usize = 30;
const COUNTED: usize = 20;

/// Runs under strace. A message is 1 MiB in one `write_all` if `bulk` is true, otherwise a held
/// header and its body. Each is answered when it has been read, so that the socket is empty.
#[tokio::test]
#[ignore = "is started by the other test"]
async fn messages() {
    let Ok(wanted) = env::var(MESSAGES) else { return };
    let (kind, count) = wanted.split_once(' ').unwrap();
    let (bulk, count): (bool, usize) = (kind == "bulk", count.parse().unwrap());
    let len = if bulk { MIB } else { 540 };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (up, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (up, (down, _)) = (up.unwrap(), accepted.unwrap());
    up.set_nodelay(true).unwrap();
    down.set_nodelay(true).unwrap();
    let (client_config, server_config) = configs();
    // The server reads in a thread of its own, as another program would.
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let down = TcpStream::from_std(down.into_std().unwrap()).unwrap();
            let mut server = TlsAcceptor::from(server_config).accept(down).await.unwrap();
            let mut got = vec![0; len];
            for _ in 0..count {
                server.read_exact(&mut got).await.unwrap();
                server.write_all(b"k").await.unwrap();
            }
        });
    });
    let connector = TlsConnector::from(client_config).with_cork(patient()).unwrap();
    let mut client = connector.connect(name(), up).await.unwrap();
    let data = noise(len, 1);
    for _ in 0..count {
        if bulk {
            client.write_all(&data).await.unwrap();
        } else {
            client.send_all(&data[..28], SendFlags::MORE).await.unwrap();
            client.send_all(&data[28..], SendFlags::NONE).await.unwrap();
        }
        client.read_u8().await.unwrap();
    }
    server.join().unwrap();
}

/// The system calls that sent in a run with so many messages.
fn sends(kind: &str, count: usize) -> usize {
    let output = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-c", "-U", "calls,name", "-e", "trace=sendto,sendmsg,sendmmsg,writev"])
        .arg(env::current_exe().unwrap())
        .args(["messages", "--exact", "--ignored"])
        .env(MESSAGES, format!("{kind} {count}"))
        .output()
        .expect("strace: apt-get install strace");
    let table = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}");
    let total = table.lines().find_map(|line| line.strip_suffix("total")).expect("a table of calls");
    total.trim().parse().unwrap()
}

/// Sends for each message, answers apart.
fn each(kind: &str) -> f64 {
    let counted = sends(kind, WARM + COUNTED) - sends(kind, WARM);
    counted as f64 / COUNTED as f64 - ANSWER as f64
}

#[test]
#[ignore = "needs strace"]
fn a_held_header_and_its_body_are_one_send_and_1_mib_is_as_many_as_on_mio() {
    assert_eq!(each("header"), 1.0);
    // mio takes 11, and so does a stream that has flowed before. A push-back adds some.
    let sends = each("bulk");
    println!("1 MiB: {sends} sends");
    assert!(sends < 12.1, "{sends} sends");
}
