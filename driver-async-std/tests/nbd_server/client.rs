//! A small NBD client, which counts the records that it receives.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tls_cork_nbd::{
    CHUNK_LEN, CMD_READ, Chunk, FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES, GREETING_LEN, INFO_BLOCK_SIZE, INFO_EXPORT, Info,
    OPT_GO, OPT_STARTTLS, OPTION_REPLY_HEADER_LEN, REP_ACK, REP_ERROR_BIT, REP_INFO, REQUEST_LEN, Request,
    SIMPLE_REPLY_LEN, SimpleReply, encode_client_flags, encode_go, encode_option, parse_greeting, parse_info,
    parse_option_reply_header,
};
use tls_cork_programs::tls;
use tls_cork_testing::RecordCounter;

use crate::server::Server;

pub(crate) type Tls = StreamOwned<ClientConnection, Counted>;

/// A client over TLS.
pub(crate) struct Client(pub(crate) Tls);

impl Client {
    /// As far as STARTTLS.
    pub(crate) fn secure(server: &Server) -> Self {
        Self::secure_with(server, tls::client_config(&server.dir.path().join(tls::CA_CERT), None).unwrap(), true)
    }

    pub(crate) fn secure_with(server: &Server, config: Arc<ClientConfig>, no_zeroes: bool) -> Self {
        let mut tcp = greeted(server, no_zeroes);
        assert_eq!(option(&mut tcp, OPT_STARTTLS, &[]), [(REP_ACK, Vec::new())]);
        let connection = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        Self(Tls::new(connection, Counted { tcp, counter: RecordCounter::default() }))
    }

    /// As far as the transmission phase.
    pub(crate) fn transmitting(server: &Server) -> Self {
        let mut client = Self::secure(server);
        client.go();
        client
    }

    /// Size and flags of the export.
    pub(crate) fn go(&mut self) -> (u64, u16) {
        let replies = self.option(OPT_GO, &encode_go("", &[INFO_EXPORT, INFO_BLOCK_SIZE]));
        assert_eq!(replies.last().map(|(kind, _)| *kind), Some(REP_ACK));
        let mut infos = replies.iter().filter(|(kind, _)| *kind == REP_INFO).map(|(_, data)| parse_info(data).unwrap());
        let facts = infos.find_map(|info| match info {
            Info::Export { size, flags } => Some((size, flags)),
            _ => None,
        });
        facts.expect("the export's size")
    }

    pub(crate) fn option(&mut self, number: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        option(&mut self.0, number, data)
    }

    pub(crate) fn send(&mut self, data: &[u8]) {
        self.0.write_all(data).unwrap();
        self.0.flush().unwrap();
    }

    /// One request that is answered before the next; the error number of its reply.
    pub(crate) fn request(&mut self, command: u16, flags: u16, offset: u64, length: u32, payload: &[u8]) -> u32 {
        let cookie = offset ^ 0x1234_5678_9abc_def0;
        let request = Request { command, flags, cookie, offset, length };
        self.send(&[&request.encode()[..], payload].concat());
        let reply = self.simple_reply();
        assert_eq!(reply.cookie, cookie);
        reply.error
    }

    pub(crate) fn read(&mut self, offset: u64, length: u32) -> Result<Vec<u8>, u32> {
        match self.request(CMD_READ, 0, offset, length, &[]) {
            0 => Ok(self.receive(length as usize)),
            error => Err(error),
        }
    }

    pub(crate) fn simple_reply(&mut self) -> SimpleReply {
        SimpleReply::parse(&self.receive(SIMPLE_REPLY_LEN)).unwrap()
    }

    /// A chunk and its payload.
    pub(crate) fn chunk(&mut self) -> (Chunk, Vec<u8>) {
        let chunk = Chunk::parse(&self.receive(CHUNK_LEN)).unwrap();
        (chunk, self.receive(chunk.length as usize))
    }

    pub(crate) fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        self.0.read_exact(&mut data).unwrap();
        data
    }

    /// Records received so far.
    pub(crate) fn records(&self) -> u64 {
        self.0.sock.counter.records()
    }

    /// Asserts that the server ends the stream, and properly.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self) {
        assert!(matches!(self.0.read(&mut [0; 1]), Ok(0)), "the server should have closed the stream");
    }
}

/// A plaintext connection behind the greeting.
pub(crate) fn greeted(server: &Server, no_zeroes: bool) -> TcpStream {
    let mut tcp = server.connect();
    let mut greeting = [0; GREETING_LEN];
    tcp.read_exact(&mut greeting).unwrap();
    assert_eq!(parse_greeting(&greeting), Ok(FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES));
    let flags = if no_zeroes { FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES } else { FLAG_FIXED_NEWSTYLE };
    tcp.write_all(&encode_client_flags(flags)).unwrap();
    tcp
}

/// An option, and the kind and data of each reply to it.
pub(crate) fn option(stream: &mut (impl Read + Write), number: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
    stream.write_all(&encode_option(number, data)).unwrap();
    let mut replies = Vec::new();
    loop {
        let mut header = [0; OPTION_REPLY_HEADER_LEN];
        stream.read_exact(&mut header).unwrap();
        let header = parse_option_reply_header(&header).unwrap();
        assert_eq!(header.option, number);
        let mut data = vec![0; header.length as usize];
        stream.read_exact(&mut data).unwrap();
        replies.push((header.kind, data));
        if header.kind == REP_ACK || header.kind & REP_ERROR_BIT != 0 {
            return replies;
        }
    }
}

pub(crate) fn encoded(command: u16, offset: u64, length: u32) -> [u8; REQUEST_LEN] {
    Request { command, flags: 0, cookie: offset, offset, length }.encode()
}

/// A socket that counts the records it receives.
pub(crate) struct Counted {
    pub(crate) tcp: TcpStream,
    counter: RecordCounter,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.tcp.read(buf)?;
        self.counter.advance(&buf[..n]);
        Ok(n)
    }
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
