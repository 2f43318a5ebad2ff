//! A TCP relay in front of an NBD server that counts what clients send: records, from their headers on the wire.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tls_cork_nbd::{CLIENT_FLAGS_LEN, OPT_STARTTLS, OPTION_HEADER_LEN, parse_option_header};
use tls_cork_testing::RecordCounter;

/// Neither side is silent for so long while a program runs.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
const BUFFER: usize = 256 * 1024;

/// What clients have sent over TLS, on all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// TLS records.
    pub(super) records: u64,
    /// Bytes, record headers included.
    pub(super) bytes: u64,
}

/// Passes connections on to a server, until it is finished.
pub(super) struct Relay {
    /// Where it listens on 127.0.0.1.
    pub(super) port: u16,
    finished: Arc<AtomicBool>,
    listener: JoinHandle<io::Result<Traffic>>,
}

impl Relay {
    /// Listens on a port of its own, for the server at `target` on 127.0.0.1.
    pub(super) fn start(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let finished = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&finished);
        Ok(Self { port, finished, listener: thread::spawn(move || relay_all(&listener, target, &stop)) })
    }

    /// Waits for the connections there are to end, and adds up what they carried.
    ///
    /// # Errors
    ///
    /// When a client sent what is not NBD with TLS, stopped within a record, or a connection failed.
    pub(super) fn finish(self) -> io::Result<Traffic> {
        self.finished.store(true, Ordering::SeqCst);
        // This wakes the listener, as the last connection.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        self.listener.join().unwrap_or_else(|_| Err(io::Error::other("the relay has panicked")))
    }
}

fn relay_all(listener: &TcpListener, target: u16, stop: &AtomicBool) -> io::Result<Traffic> {
    let mut connections = Vec::new();
    for client in listener.incoming() {
        let client = client?;
        if stop.load(Ordering::SeqCst) {
            break;
        }
        connections.push(thread::spawn(move || relay(&client, target)));
    }
    let mut total = Traffic::default();
    for connection in connections {
        let traffic = connection.join().unwrap_or_else(|_| Err(io::Error::other("the relay has panicked")))?;
        total.records += traffic.records;
        total.bytes += traffic.bytes;
    }
    Ok(total)
}

/// Carries one connection, in both directions, to its end.
fn relay(client: &TcpStream, target: u16) -> io::Result<Traffic> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target))?;
    for socket in [client, &server] {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE_LIMIT))?;
    }
    thread::scope(|scope| {
        // How the server ends a connection does not matter here.
        scope.spawn(|| carry(&server, client, |_| Ok(())));
        let mut parser = ClientStream::default();
        carry(client, &server, |data| parser.advance(data))?;
        parser.end()
    })
}

/// Copies until `from` ends, and then ends `to`.
fn carry(mut from: &TcpStream, mut to: &TcpStream, mut see: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut copy = || loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                see(&buffer[..n])?;
                to.write_all(&buffer[..n])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A client that leaves unread replies behind ends this way; all that it sent has been seen.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        }
    };
    let result = copy();
    let _ = to.shutdown(Shutdown::Write);
    result
}

/// Follows what an NBD client sends: its flags, its options up to STARTTLS, then TLS records.
#[derive(Default)]
struct ClientStream {
    /// What comes before TLS, as far as it is not yet understood.
    pending: Vec<u8>,
    flags_seen: bool,
    tls: Option<RecordCounter>,
}

impl ClientStream {
    /// Takes the next bytes, split anywhere.
    fn advance(&mut self, data: &[u8]) -> io::Result<()> {
        if let Some(records) = &mut self.tls {
            records.advance(data);
            return Ok(());
        }
        self.pending.extend_from_slice(data);
        if !self.flags_seen && self.pending.len() >= CLIENT_FLAGS_LEN {
            self.pending.drain(..CLIENT_FLAGS_LEN);
            self.flags_seen = true;
        }
        while self.flags_seen && self.pending.len() >= OPTION_HEADER_LEN {
            let header = parse_option_header(&self.pending).map_err(io::Error::other)?;
            let length = OPTION_HEADER_LEN + header.length as usize;
            if self.pending.len() < length {
                break;
            }
            self.pending.drain(..length);
            if header.option == OPT_STARTTLS {
                let mut records = RecordCounter::default();
                records.advance(&self.pending);
                self.tls = Some(records);
                break;
            }
        }
        Ok(())
    }

    /// At the end of the stream: what it carried.
    fn end(&self) -> io::Result<Traffic> {
        match &self.tls {
            None => Ok(Traffic::default()),
            Some(records) if records.at_boundary() => {
                Ok(Traffic { records: records.records(), bytes: records.bytes() })
            }
            Some(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the client stopped within a TLS record")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tls_cork_nbd::{OPT_INFO, encode_option};

    /// Flags, an option with data, STARTTLS, and records of 3, 0 and 300 bytes.
    fn session() -> Vec<u8> {
        let mut stream = 3u32.to_be_bytes().to_vec();
        stream.extend(encode_option(OPT_INFO, b"some data"));
        stream.extend(encode_option(OPT_STARTTLS, b""));
        for length in [3u16, 0, 300] {
            stream.extend([23, 3, 3]);
            stream.extend(length.to_be_bytes());
            stream.extend(vec![7; length.into()]);
        }
        stream
    }

    const TRAFFIC: Traffic = Traffic { records: 3, bytes: 3 * 5 + 303 };

    #[test]
    fn records_are_counted_from_starttls_on_however_the_stream_is_split() {
        let stream = session();
        for step in 1..=stream.len() {
            let mut parser = ClientStream::default();
            stream.chunks(step).for_each(|chunk| parser.advance(chunk).expect("an NBD client"));
            assert_eq!(parser.end().expect("whole records"), TRAFFIC, "steps of {step}");
        }
        let mut parser = ClientStream::default();
        parser.advance(&stream[..80]).expect("an NBD client");
        assert!(parser.end().is_err(), "half a record");
        assert!(ClientStream::default().advance(b"GET / HTTP/1.1\r\nHost: localhost\r\n").is_err());
    }

    #[test]
    fn connections_are_passed_on_in_both_directions_and_added_up() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let relay = Relay::start(listener.local_addr().expect("address").port()).expect("relay");
        for _ in 0..2 {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port)).expect("connect");
            let (mut server, _) = listener.accept().expect("accept");
            server.write_all(b"welcome").expect("write");
            let mut greeting = [0; 7];
            client.read_exact(&mut greeting).expect("read");
            assert_eq!(&greeting, b"welcome");
            client.write_all(&session()).expect("write");
            client.shutdown(Shutdown::Write).expect("shutdown");
            let mut received = Vec::new();
            server.read_to_end(&mut received).expect("read");
            assert_eq!(received, session());
        }
        let total = relay.finish().expect("two clients");
        assert_eq!(total, Traffic { records: 6, bytes: 2 * TRAFFIC.bytes });
    }
}
