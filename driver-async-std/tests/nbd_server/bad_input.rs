//! Clients that break the rules, or vanish: they get an answer or are let go, and the others are served.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use tls_cork_nbd::{
    CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE, CMD_WRITE_ZEROES, COMMAND_DF, COMMAND_FUA, ERROR_INVALID, ERROR_NO_SPACE,
    MAX_OPTION_LEN, MAX_PAYLOAD, OPT_ABORT, OPT_EXPORT_NAME, OPT_GO, OPT_INFO, OPT_LIST, OPT_STARTTLS,
    OPT_STRUCTURED_REPLY, REP_ACK, REP_ERR_INVALID, REP_ERR_TLS_REQD, REP_ERR_UNKNOWN, REP_ERR_UNSUP, encode_go,
    encode_option,
};

use crate::client::{Client, encoded, greeted, option};
use crate::server::Server;

const MIB: u64 = 1 << 20;

/// The server lets the connection go, with or without a word.
#[track_caller]
fn assert_let_go(tcp: &mut TcpStream) {
    match std::io::copy(tcp, &mut std::io::sink()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[track_caller]
fn assert_serves(server: &Server) {
    assert_eq!(Client::transmitting(server).read(0, 1), Ok(vec![0]));
}

/// An option whose data does not come.
fn announced(number: u32, length: u32) -> Vec<u8> {
    let mut option = encode_option(number, &[]);
    option[12..].copy_from_slice(&length.to_be_bytes());
    option
}

#[test]
fn before_tls_nothing_but_starttls_is_heard() {
    let server = Server::memory(MIB);
    let mut tcp = greeted(&server, true);
    for number in [OPT_GO, OPT_INFO, OPT_LIST, OPT_STRUCTURED_REPLY, 0, 4711, u32::MAX] {
        assert_eq!(option(&mut tcp, number, &encode_go("", &[])), [(REP_ERR_TLS_REQD, Vec::new())], "{number}");
    }
    assert_eq!(option(&mut tcp, OPT_STARTTLS, b"x"), [(REP_ERR_INVALID, Vec::new())]);
    assert_eq!(option(&mut tcp, OPT_ABORT, &[]), [(REP_ACK, Vec::new())]);
    assert_let_go(&mut tcp);

    let mut tcp = greeted(&server, true);
    tcp.write_all(&encode_option(OPT_EXPORT_NAME, &[])).unwrap();
    assert_let_go(&mut tcp);
    assert_serves(&server);
}

#[test]
fn garbage_before_tls() {
    let server = Server::memory(MIB);
    let too_long = announced(OPT_GO, MAX_OPTION_LEN + 1);
    let endless = announced(OPT_STARTTLS, u32::MAX);
    let injected = [encode_option(OPT_STARTTLS, &[]), encode_option(OPT_LIST, &[])].concat();
    for garbage in [&[0x55; 1000][..], b"GET / HTTP/1.1\r\n\r\n", &too_long, &endless, &injected] {
        let mut tcp = greeted(&server, true);
        tcp.write_all(garbage).unwrap();
        assert_let_go(&mut tcp);
    }
    for flags in [[0; 4], [0, 0, 0, 2], [0xff; 4]] {
        let mut tcp = server.connect();
        tcp.write_all(&flags).unwrap();
        assert_let_go(&mut tcp);
    }
    assert_serves(&server);
}

#[test]
fn bad_options_over_tls() {
    let server = Server::memory(MIB);
    let mut client = Client::secure(&server);
    let mut contradicting = encode_go("disk", &[]);
    contradicting[3] = 200;
    let cases = [
        (OPT_STARTTLS, vec![], REP_ERR_INVALID),
        (OPT_LIST, b"x".to_vec(), REP_ERR_INVALID),
        (OPT_STRUCTURED_REPLY, b"x".to_vec(), REP_ERR_INVALID),
        (OPT_GO, vec![], REP_ERR_INVALID),
        (OPT_GO, contradicting, REP_ERR_INVALID),
        (OPT_INFO, vec![0xff; MAX_OPTION_LEN as usize], REP_ERR_INVALID),
        (OPT_GO, encode_go("another", &[]), REP_ERR_UNKNOWN),
        (OPT_INFO, encode_go("another", &[]), REP_ERR_UNKNOWN),
        (9, vec![], REP_ERR_UNSUP),
        (0xdead_beef, vec![7; MAX_OPTION_LEN as usize], REP_ERR_UNSUP),
    ];
    for (number, data, kind) in cases {
        assert_eq!(client.option(number, &data), [(kind, Vec::new())], "{number}");
    }
    assert_eq!(client.go().0, MIB);

    let mut client = Client::secure(&server);
    client.send(&encode_option(OPT_EXPORT_NAME, b"another"));
    client.assert_closed();

    for garbage in [vec![0x55; 16], announced(OPT_GO, MAX_OPTION_LEN + 1), announced(4711, u32::MAX)] {
        let mut client = Client::secure(&server);
        client.send(&garbage);
        assert_let_go(&mut client.0.sock.tcp);
    }
    assert_serves(&server);
}

#[test]
fn bad_requests_have_an_error_for_a_reply() {
    let server = Server::memory(MIB);
    let mut client = Client::transmitting(&server);
    let cases = [
        (CMD_READ, 0, MIB, 1, ERROR_INVALID),
        (CMD_READ, 0, MIB - 1, 2, ERROR_INVALID),
        (CMD_READ, 0, u64::MAX, 1, ERROR_INVALID),
        (CMD_READ, 0, 0, MAX_PAYLOAD + 1, ERROR_INVALID),
        (CMD_READ, 0, 0, u32::MAX, ERROR_INVALID),
        (CMD_READ, 1 << 15, 0, 1, ERROR_INVALID),
        (CMD_WRITE, 0, MIB, 1, ERROR_NO_SPACE),
        (CMD_WRITE, 0, MIB - 1, 2, ERROR_NO_SPACE),
        (CMD_WRITE, 0, u64::MAX - 99, 200_000, ERROR_NO_SPACE),
        (CMD_WRITE, COMMAND_DF, 0, 1, ERROR_INVALID),
        (CMD_TRIM, 0, MIB - 1, 2, ERROR_INVALID),
        (CMD_TRIM, 0, 0, u32::MAX, ERROR_INVALID),
        (CMD_WRITE_ZEROES, 0, MIB - 1, 2, ERROR_NO_SPACE),
        (CMD_WRITE_ZEROES, 0, u64::MAX, u32::MAX, ERROR_NO_SPACE),
        (CMD_WRITE_ZEROES, 1 << 4, 0, 1, ERROR_INVALID),
        (CMD_FLUSH, COMMAND_DF, 0, 0, ERROR_INVALID),
        (5, 0, 0, 0, ERROR_INVALID),
        (7, 0, 0, 0, ERROR_INVALID),
        (u16::MAX, u16::MAX, u64::MAX, u32::MAX, ERROR_INVALID),
    ];
    for (command, flags, offset, length, error) in cases {
        let payload = vec![1; if command == CMD_WRITE { length as usize } else { 0 }];
        let reply = client.request(command, flags, offset, length, &payload);
        assert_eq!(reply, error, "command {command}, flags {flags}, offset {offset}, length {length}");
    }
    // None of that left a trace, and the session goes on.
    assert!(client.read(0, 1 << 20).unwrap().iter().all(|byte| *byte == 0));
    assert_eq!(client.request(CMD_WRITE, COMMAND_FUA, 0, 1, b"x"), 0);
}

#[test]
fn requests_that_cannot_be_answered_end_the_session() {
    let server = Server::memory(MIB);
    let mut wrong_magic = encoded(CMD_READ, 0, 1);
    wrong_magic[0] ^= 1;
    for request in [wrong_magic, encoded(CMD_WRITE, 0, MAX_PAYLOAD + 1), encoded(CMD_WRITE, 0, u32::MAX)] {
        let mut client = Client::transmitting(&server);
        // What came before is answered.
        client.send(&[encoded(CMD_READ, 9, 1), request].concat());
        assert_eq!(client.simple_reply().cookie, 9);
        client.receive(1);
        client.assert_closed();
    }
    assert_serves(&server);
}

#[test]
fn what_is_announced_costs_no_memory_until_it_comes() {
    let server = Server::memory(64 * MIB);
    assert_serves(&server);
    let before = server.memory_in_use();
    let clients: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = Client::transmitting(&server);
            client.send(&encoded(CMD_WRITE, 0, MAX_PAYLOAD));
            client.send(b"x");
            client
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    let grown = server.memory_in_use().saturating_sub(before);
    assert!(grown < 32 * MIB, "{grown} bytes for {} clients", clients.len());
}

#[test]
fn clients_that_vanish_are_forgotten() {
    let server = Server::memory(64 * MIB);
    // More of each than there may be connections at a time.
    for round in 0..70 {
        let cut = encoded(CMD_READ, 0, 1);
        match round % 7 {
            0 => drop(server.connect()),
            1 => greeted(&server, true).write_all(&announced(OPT_GO, 100)).unwrap(),
            2 => drop(Client::secure(&server)),
            3 => Client::transmitting(&server).send(&cut[..27]),
            4 => Client::transmitting(&server).send(&[&encoded(CMD_WRITE, 0, 100_000)[..], &[1; 50_000]].concat()),
            5 => Client::transmitting(&server).send(&encoded(CMD_READ, 0, MAX_PAYLOAD)),
            _ => {
                // Ends its direction only, and never reads.
                let mut client = Client::transmitting(&server);
                client.send(&encoded(CMD_READ, 0, MAX_PAYLOAD));
                client.0.sock.tcp.shutdown(Shutdown::Write).unwrap();
            }
        }
    }
    assert_eq!(Client::transmitting(&server).read(0, 3), Ok(vec![0; 3]));
}

#[test]
fn the_number_of_connections_is_limited() {
    let server = Server::memory(MIB);
    let mut open: Vec<TcpStream> = (0..64).map(|_| greeted(&server, true)).collect();
    assert_let_go(&mut server.connect());
    open.pop();
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.connect().read(&mut [0; 1]).is_ok_and(|n| n == 0) {
        assert!(Instant::now() < deadline, "the place of a client that has gone stays taken");
        thread::sleep(Duration::from_millis(10));
    }
}
