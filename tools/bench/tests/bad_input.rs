//! Peers, files and arguments that are not as they should be: one line, the right exit status.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;

use socket2::{Domain, Socket, Type};
use tls_cork_bench::server::ExportKind;
use tls_cork_nbd::{
    EXPORT_HAS_FLAGS, EXPORT_READ_ONLY, Info, OPT_GO, REP_ACK, REP_INFO, SimpleReply, encode_greeting, encode_info,
    encode_option_reply,
};

mod common;

use common::{Certs, Run, STRATEGIES, assert_fails, plaintext_server, program, tls_server, tls_server_with};

const MIB: u64 = 1 << 20;

fn at(port: u16) -> String {
    format!(": 127.0.0.1:{port}: ")
}

#[test]
fn refused_connection() {
    let certs = Certs::new();
    // Bound, so that nobody else gets the port, and not listening.
    let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    deaf.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("bind");
    let port = deaf.local_addr().ok().and_then(|address| address.as_socket()).expect("address").port();
    let output = Run::new(port, Some(certs.ca()), "more").output();
    assert_fails(&output, 1, &["connect", &at(port), "refused"]);
}

#[test]
fn wrong_ca() {
    let certs = Certs::new();
    let others = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, MIB);
    for strategy in ["immediate", "more"] {
        let output = Run::new(server.port, Some(others.ca()), strategy).output();
        assert_fails(&output, 1, &["TLS handshake", &at(server.port), "invalid peer certificate"]);
    }
}

#[test]
fn wrong_name() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, MIB);
    for strategy in ["vectored", "more"] {
        let output = Run::new(server.port, Some(certs.ca()), strategy).arg("--server-name=other.example").output();
        assert_fails(&output, 1, &["TLS handshake", &at(server.port), "other.example", "not valid for name"]);
    }
}

#[test]
fn a_name_that_is_none() {
    let certs = Certs::new();
    let output = Run::new(1, Some(certs.ca()), "more").arg("--server-name=no spaces").output();
    assert_fails(&output, 2, &["usage", "--server-name", "no spaces"]);
}

#[test]
fn server_without_tls() {
    let certs = Certs::new();
    let server = plaintext_server(ExportKind::Null, MIB);
    let output = Run::new(server.port, Some(certs.ca()), "more").output();
    assert_fails(&output, 1, &["STARTTLS", &at(server.port), "does not offer TLS", "NBD_REP_ERR_POLICY"]);
}

#[test]
fn server_that_requires_tls() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, MIB);
    let output = Run::new(server.port, None, "more").output();
    assert_fails(&output, 1, &["GO", &at(server.port), "requires TLS"]);
}

#[test]
fn export_too_small() {
    let certs = Certs::new();
    let server = tls_server(&certs, ExportKind::Null, 4095);
    let output = Run::new(server.port, Some(certs.ca()), "more").output();
    assert_fails(&output, 1, &["export", &at(server.port), "too small", "4095 bytes", "4096"]);
}

#[test]
fn server_that_dies_half_way() {
    let certs = Certs::new();
    for strategy in STRATEGIES {
        for (block_size, drop_after) in [(512, "100"), (2 << 20, "20")] {
            let server = tls_server_with(&certs, ExportKind::Null, 1 << 30, &["--drop-after", drop_after]);
            let output = Run::new(server.port, Some(certs.ca()), strategy).sizes(block_size, 16, 1_000_000).output();
            assert_fails(&output, 1, &["NBD write", &at(server.port), "unanswered"]);
        }
    }
}

#[test]
fn server_that_is_killed_before_it_answers() {
    // A peer that accepts and ends: what a server killed between two steps looks like.
    let (port, peer) = fake_server(|_| ());
    let output = Run::new(port, None, "more").output();
    peer.join().expect("peer");
    assert_fails(&output, 1, &["NBD negotiation", &at(port)]);
}

#[test]
fn peer_that_is_no_nbd_server() {
    let certs = Certs::new();
    let (port, peer) = fake_server(|stream| {
        write(stream, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let output = Run::new(port, Some(certs.ca()), "more").output();
    peer.join().expect("peer");
    assert_fails(&output, 1, &["NBD negotiation", &at(port), "greeting", "magic"]);
}

#[test]
fn read_only_export() {
    let output = against_fake_export(EXPORT_READ_ONLY, |_| ());
    assert_fails(&output, 1, &["export", "read-only"]);
}

#[test]
fn servers_that_answer_wrongly() {
    // Cookies are of eight bytes, eight behind the request's beginning.
    let cookie = |request: &[u8; 28]| u64::from_be_bytes(request[8..16].try_into().expect("eight bytes"));
    let no_space = move |request: &[u8; 28]| SimpleReply { error: 28, cookie: cookie(request) }.encode().to_vec();
    let unasked = |_: &[u8; 28]| SimpleReply { error: 0, cookie: 0xdead_beef }.encode().to_vec();
    let garbage = |_: &[u8; 28]| vec![0x55; 64];
    type Answer = Box<dyn FnOnce(&[u8; 28]) -> Vec<u8> + Send>;
    let cases: [(Answer, &[&str]); 3] = [
        (Box::new(no_space), &["NBD write", "error 28", "NBD_ENOSPC", "offset 0"]),
        (Box::new(unasked), &["NBD write", "0xdeadbeef", "answers no request"]),
        (Box::new(garbage), &["NBD write", "reply", "magic"]),
    ];
    for (answer, parts) in cases {
        let output = against_fake_export(0, |stream| {
            let mut request = [0; 28];
            stream.read_exact(&mut request).expect("a request");
            write(stream, &answer(&request));
            // Until the client goes away.
            let _ = std::io::copy(stream, &mut std::io::sink());
        });
        assert_fails(&output, 1, parts);
    }
}

#[test]
fn files_without_a_certificate() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let missing = dir.path().join("missing.pem");
    let output = Run::new(1, Some(missing), "more").output();
    assert_fails(&output, 1, &["CA certificate", "missing.pem", "No such file"]);

    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "not a certificate\n").expect("write");
    let output = Run::new(1, Some(empty), "more").output();
    assert_fails(&output, 1, &["CA certificate", "empty.pem", "no PEM certificate"]);
}

#[test]
fn usage_mistakes() {
    let certs = Certs::new();
    let ca = certs.ca();
    let good = [
        ("--connect", "127.0.0.1:10809"),
        ("--ca", ca.to_str().expect("a path in UTF-8")),
        ("--strategy", "vectored"),
        ("--block-size", "512"),
        ("--queue-depth", "16"),
        ("--seconds", "1"),
    ];
    let mistakes = [
        ("--block-size", "0", "--block-size"),
        ("--block-size", "33554433", "--block-size"),
        ("--block-size", "many", "--block-size"),
        ("--queue-depth", "0", "--queue-depth"),
        ("--seconds", "0", "--seconds"),
        ("--seconds", "NaN", "--seconds"),
        ("--seconds", "-1", "--seconds"),
        ("--connect", "localhost", "HOST:PORT"),
        ("--connect", "localhost:0", "port"),
        ("--connect", "localhost:http", "port"),
        ("--strategy", "best", "--strategy"),
        ("--tls-version", "1.1", "--tls-version"),
        ("--plaintext", "", "--plaintext"),
        ("--requests", "0", "--requests"),
    ];
    for (name, value, part) in mistakes {
        let mut command = Command::new(program());
        command.arg("nbd");
        for (good_name, good_value) in good {
            if good_name != name {
                command.arg(format!("{good_name}={good_value}"));
            }
        }
        command.arg(if value.is_empty() { name.to_owned() } else { format!("{name}={value}") });
        let output = command.output().expect("the program starts");
        assert_fails(&output, 2, &["usage", part]);
    }
}

#[test]
fn only_more_is_there_without_tls() {
    assert_fails(&Run::new(1, None, "vectored").output(), 2, &["usage", "--plaintext", "more"]);
}

#[test]
fn unknown_subcommands_and_options() {
    for arg in ["frobnicate", "--frobnicate"] {
        let output = Command::new(program()).arg(arg).output().expect("the program starts");
        assert_fails(&output, 2, &["usage", "frobnicate"]);
    }
}

#[test]
fn a_typing_mistake_is_answered_with_what_may_have_been_meant() {
    let cases: [(&[&str], &str); 4] = [
        (&["--qiuck"], "'--quick'"),
        (&["simulat"], "'simulate'"),
        (&["compare", "--secnods=3"], "'--seconds'"),
        (&["nbd", "--strategy=vektored"], "'vectored'"),
    ];
    for (args, meant) in cases {
        let output = Command::new(program()).args(args).output().expect("the program starts");
        assert_fails(&output, 2, &["usage", "tip: ", meant]);
    }
}

#[test]
fn places_that_cannot_be_written_to_are_reported_before_the_measuring() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("file");
    fs::write(&file, "not a directory").expect("written");
    for args in [&["--quick"] as &[&str], &["compare", "--quick"]] {
        let output = Command::new(program()).args(args).arg("--out").arg(&file).output().expect("the program starts");
        assert_fails(&output, 1, &["create directory", "file: "]);
    }
}

#[test]
fn comparison_without_nbdkit() {
    let output =
        Command::new(program()).arg("compare").env("PATH", "/nonexistent").output().expect("the program starts");
    assert_fails(&output, 1, &["start nbdkit", "PATH", "apt-get install nbdkit"]);
}

fn write(stream: &mut TcpStream, data: &[u8]) {
    stream.write_all(data).expect("the client listens");
}

/// A peer that serves one connection as `serve` will have it.
fn fake_server(serve: impl FnOnce(&mut TcpStream) + Send + 'static) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        serve(&mut stream);
    });
    (port, peer)
}

/// A run against a server that negotiates properly, and then does what `serve` does.
fn against_fake_export(flags: u16, serve: impl FnOnce(&mut TcpStream) + Send + 'static) -> Output {
    let (port, peer) = fake_server(move |stream| {
        write(stream, &encode_greeting(3));
        let mut client_flags_and_go = [0; 4 + 16 + 10];
        stream.read_exact(&mut client_flags_and_go).expect("flags and GO");
        let info = Info::Export { size: MIB, flags: EXPORT_HAS_FLAGS | flags };
        let info = encode_option_reply(OPT_GO, REP_INFO, &encode_info(&info));
        let ack = encode_option_reply(OPT_GO, REP_ACK, &[]);
        write(stream, &[info, ack].concat());
        serve(stream);
    });
    let output = Run::new(port, None, "more").output();
    peer.join().expect("peer");
    output
}
