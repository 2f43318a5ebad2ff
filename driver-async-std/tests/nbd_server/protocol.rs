//! What a well-behaved client sees.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tls_cork_nbd::{
    CHUNK_DONE, CHUNK_ERROR, CHUNK_NONE, CHUNK_OFFSET_DATA, CMD_DISC, CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE,
    CMD_WRITE_ZEROES, COMMAND_DF, COMMAND_FUA, COMMAND_NO_HOLE, ERROR_INVALID, EXPORT_CAN_MULTI_CONN, EXPORT_HAS_FLAGS,
    EXPORT_SEND_DF, EXPORT_SEND_FLUSH, EXPORT_SEND_FUA, EXPORT_SEND_TRIM, EXPORT_SEND_WRITE_ZEROES, OPT_ABORT,
    OPT_EXPORT_NAME, OPT_INFO, OPT_LIST, OPT_STRUCTURED_REPLY, REP_ACK, REP_SERVER, Request, encode_go, encode_option,
};
use tls_cork_programs::tls;

use crate::client::{Client, encoded};
use crate::server::Server;

const MIB: u64 = 1 << 20;
const FLAGS: u16 = EXPORT_HAS_FLAGS
    | EXPORT_SEND_FLUSH
    | EXPORT_SEND_FUA
    | EXPORT_SEND_TRIM
    | EXPORT_SEND_WRITE_ZEROES
    | EXPORT_CAN_MULTI_CONN;

/// A server on memory that holds a reply until its last piece comes, so that how many records it makes does not depend on time.
fn patient_server() -> Server {
    Server::start(&["--memory", &MIB.to_string(), "--max-hold-ms", "60000"], tempfile::tempdir().unwrap())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

#[test]
fn a_reply_of_4_kib_is_one_record() {
    let server = patient_server();
    for structured in [false, true] {
        let mut client = Client::secure(&server);
        if structured {
            client.option(OPT_STRUCTURED_REPLY, &[]);
        }
        client.go();
        for i in 0..100 {
            let before = client.records();
            client.send(&encoded(CMD_READ, 4096 * i, 4096));
            if structured {
                assert_eq!(client.chunk().0.length, 8 + 4096);
            } else {
                client.simple_reply();
                client.receive(4096);
            }
            assert_eq!(client.records() - before, 1);
        }
    }
}

#[test]
fn replies_to_requests_that_came_together_share_records() {
    let server = patient_server();
    let mut client = Client::transmitting(&server);
    for (count, length) in [(16, 512), (64, 4096), (100, 1)] {
        let requests: Vec<u8> = (0..count).flat_map(|i| encoded(CMD_READ, i, length)).collect();
        let before = client.records();
        client.send(&requests);
        for i in 0..count {
            assert_eq!(client.simple_reply().cookie, i);
            client.receive(length as usize);
        }
        let bytes = count * u64::from(16 + length);
        assert_eq!(client.records() - before, bytes.div_ceil(16 * 1024), "{count} times {length}");
    }
}

#[test]
fn options_over_tls() {
    let server = Server::memory(3 * MIB);
    let mut client = Client::secure(&server);
    assert_eq!(client.option(OPT_LIST, &[]), [(REP_SERVER, vec![0; 4]), (REP_ACK, Vec::new())]);
    // Tells, and goes on with options.
    assert_eq!(client.option(OPT_INFO, &encode_go("", &[])).len(), 2);
    assert_eq!(client.go(), (3 * MIB, FLAGS));
    client.send(&encoded(CMD_DISC, 0, 0));
    client.assert_closed();

    let mut client = Client::secure(&server);
    assert_eq!(client.option(OPT_STRUCTURED_REPLY, &[]), [(REP_ACK, Vec::new())]);
    assert_eq!(client.go(), (3 * MIB, FLAGS | EXPORT_SEND_DF));

    let mut client = Client::secure(&server);
    assert_eq!(client.option(OPT_ABORT, &[]), [(REP_ACK, Vec::new())]);
    client.assert_closed();
}

#[test]
fn the_old_way_to_choose_an_export() {
    let server = Server::memory(3 * MIB);
    for no_zeroes in [true, false] {
        let config = tls::client_config(&server.dir.path().join(tls::CA_CERT), None).unwrap();
        let mut client = Client::secure_with(&server, config, no_zeroes);
        client.send(&encode_option(OPT_EXPORT_NAME, &[]));
        assert_eq!(client.receive(10), [&(3 * MIB).to_be_bytes()[..], &FLAGS.to_be_bytes()].concat());
        if !no_zeroes {
            assert_eq!(client.receive(124), [0; 124]);
        }
        assert_eq!(client.read(0, 1), Ok(vec![0]));
    }
}

#[test]
fn every_command_on_a_file_and_on_memory() {
    for server in [Server::with_file(8 * MIB), Server::memory(8 * MIB)] {
        let mut client = Client::transmitting(&server);
        let data = pattern(3 << 20);
        assert_eq!(client.request(CMD_WRITE, 0, 12_345, 3 << 20, &data), 0);
        assert_eq!(client.request(CMD_WRITE, COMMAND_FUA, 8 * MIB - 3, 3, b"end"), 0);
        assert_eq!(client.request(CMD_FLUSH, 0, 0, 0, &[]), 0);
        assert_eq!(client.request(CMD_WRITE_ZEROES, 0, MIB, 300_000, &[]), 0);
        assert_eq!(client.request(CMD_WRITE_ZEROES, COMMAND_NO_HOLE | COMMAND_FUA, 2 * MIB + 1, 70_001, &[]), 0);
        assert_eq!(client.request(CMD_TRIM, 0, 6 * MIB, 65_536, &[]), 0);
        assert_eq!(client.request(CMD_WRITE_ZEROES, 0, 5, 0, &[]), 0);
        assert_eq!(client.request(CMD_READ, 0, 5, 0, &[]), 0);

        let mut expected = vec![0; 8 << 20];
        expected[12_345..12_345 + data.len()].copy_from_slice(&data);
        expected[(8 << 20) - 3..].copy_from_slice(b"end");
        expected[1 << 20..(1 << 20) + 300_000].fill(0);
        expected[(2 << 20) + 1..(2 << 20) + 70_002].fill(0);
        // Through another connection, in one reply.
        let mut other = Client::transmitting(&server);
        assert!(other.read(0, 8 << 20).unwrap() == expected);
        if server.file().exists() {
            assert!(fs::read(server.file()).unwrap() == expected);
        }
    }
}

#[test]
fn zeroes_leave_holes_unless_they_must_not() {
    let server = Server::with_file(4 * MIB);
    let mut client = Client::transmitting(&server);
    let blocks = || fs::metadata(server.file()).unwrap().blocks() * 512;
    assert_eq!(client.request(CMD_WRITE, COMMAND_FUA, 0, 4 << 20, &pattern(4 << 20)), 0);
    assert!(blocks() >= 4 * MIB);
    assert_eq!(client.request(CMD_WRITE_ZEROES, COMMAND_NO_HOLE, 0, 1 << 20, &[]), 0);
    assert!(blocks() >= 4 * MIB);
    assert_eq!(client.request(CMD_WRITE_ZEROES, 0, 0, 1 << 20, &[]), 0);
    assert_eq!(client.request(CMD_TRIM, 0, MIB, 1 << 20, &[]), 0);
    // A file system without holes leaves them allocated.
    assert!(blocks() <= 2 * MIB || blocks() >= 4 * MIB, "{}", blocks());
}

#[test]
fn structured_replies() {
    let server = Server::memory(MIB);
    let mut client = Client::secure(&server);
    client.option(OPT_STRUCTURED_REPLY, &[]);
    client.go();
    assert_eq!(client.request(CMD_WRITE, 0, 4, 5, b"hello"), 0);
    let cases = [
        (0, 4, 5, CHUNK_OFFSET_DATA, &b"\0\0\0\0\0\0\0\x04hello"[..]),
        (COMMAND_DF, 6, 3, CHUNK_OFFSET_DATA, b"\0\0\0\0\0\0\0\x06llo"),
        (0, 6, 0, CHUNK_NONE, b""),
    ];
    for (flags, offset, length, kind, expected) in cases {
        client.send(&Request { command: CMD_READ, flags, cookie: 77, offset, length }.encode());
        let (chunk, payload) = client.chunk();
        assert_eq!((chunk.flags, chunk.kind, chunk.cookie), (CHUNK_DONE, kind, 77));
        assert_eq!(payload, expected);
    }
    client.send(&encoded(CMD_READ, MIB, 1));
    let (chunk, payload) = client.chunk();
    assert_eq!((chunk.flags, chunk.kind, chunk.cookie), (CHUNK_DONE, CHUNK_ERROR, MIB));
    assert_eq!(payload[..4], ERROR_INVALID.to_be_bytes());
    assert_eq!(payload.len() - 6, usize::from(u16::from_be_bytes([payload[4], payload[5]])));
}

#[test]
fn large_replies_while_the_client_is_slow() {
    let server = Server::memory(64 * MIB);
    let mut client = Client::transmitting(&server);
    let data = pattern(32 << 20);
    assert_eq!(client.request(CMD_WRITE, 0, 0, 32 << 20, &data), 0);
    for _ in 0..2 {
        client.send(&encoded(CMD_READ, 0, 32 << 20));
    }
    for _ in 0..2 {
        assert_eq!(client.simple_reply().error, 0);
        assert!(client.receive(32 << 20) == data);
    }
}

#[test]
fn signals_stop_it_cleanly() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = Server::with_file(MIB);
        let mut busy = Client::transmitting(&server);
        let mut negotiating = Client::secure(&server);
        negotiating.option(OPT_LIST, &[]);
        let idle = server.connect();
        assert_eq!(busy.request(CMD_WRITE, 0, 0, 3, b"abc"), 0);
        let path = server.file();
        let copy = path.with_extension("copy");
        fs::hard_link(&path, &copy).unwrap();
        let keep = fs::File::open(&copy).unwrap();
        assert_eq!(server.stop(signal).code(), Some(0), "{signal:?}");
        busy.assert_closed();
        drop((negotiating, idle));
        let mut start = [0; 3];
        std::os::unix::fs::FileExt::read_exact_at(&keep, &mut start, 0).unwrap();
        assert_eq!(&start, b"abc");
    }
}

#[test]
fn clients_have_to_show_a_certificate_if_asked() {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("client-ca.pem");
    fs::write(&ca_file, ca.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, key);
    let client_key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["somebody".to_owned()]).unwrap().signed_by(&client_key, &issuer).unwrap();

    let server = Server::start(&["--memory", "4096", "--client-ca", ca_file.to_str().unwrap()], dir);
    let server_ca = server.dir.path().join(tls::CA_CERT);
    let mut stranger = Client::secure_with(&server, tls::client_config(&server_ca, None).unwrap(), true);
    let refused = std::io::Write::write_all(&mut stranger.0, &encode_option(OPT_LIST, &[]))
        .and_then(|()| std::io::Read::read_exact(&mut stranger.0, &mut [0; 1]));
    assert!(refused.is_err_and(|error| error.to_string().contains("CertificateRequired")));

    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(server_ca).unwrap()).unwrap();
    let secret = PrivateKeyDer::try_from(client_key.serialize_der()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.into()], secret)
        .unwrap();
    let mut known = Client::secure_with(&server, Arc::new(config), true);
    assert_eq!(known.go().0, 4096);
}
