//! Two sessions of real rustls, joined by pipes in memory, in virtual time.
#![allow(dead_code)] // each test file uses a part of it

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Instant;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tls_cork::{Connection, CorkConfig, ReceiveError, SendFlags, TransmitError, WriteError};
use tls_cork_testing::sessions::{Version, configs_with, name};

/// One direction of the wire, with a log of all bytes that have passed.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) data: VecDeque<u8>,
    pub(crate) capacity: Option<usize>,
    pub(crate) log: Vec<u8>,
}

impl Pipe {
    pub(crate) fn send(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let room = self.capacity.unwrap_or(usize::MAX).saturating_sub(self.data.len());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(room).collect();
        self.data.extend(&taken);
        self.log.extend(&taken);
        Ok(taken.len())
    }

    /// The content types of the records in the log from the offset `from` on.
    pub(crate) fn records(&self, from: usize) -> Vec<u8> {
        let (mut rest, mut types) = (&self.log[from..], Vec::new());
        while rest.len() >= 5 {
            types.push(rest[0]);
            rest = &rest[5 + usize::from(u16::from_be_bytes([rest[3], rest[4]]))..];
        }
        assert!(rest.is_empty(), "half a record on the wire");
        types
    }
}

pub(crate) struct Pair {
    pub(crate) client: Connection,
    pub(crate) server: Connection,
    /// From client to server; `down` is the other direction.
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    pub(crate) now: Instant,
}

pub(crate) fn transmit(from: &mut Connection, pipe: &mut Pipe) -> Result<usize, TransmitError> {
    from.transmit_with(|bufs, _more| pipe.send(bufs)).map(|done| done.bytes)
}

pub(crate) fn receive(to: &mut Connection, now: Instant, pipe: &mut Pipe) -> Result<usize, ReceiveError> {
    let mut total = 0;
    while !pipe.data.is_empty() && to.wants_receive() {
        total += to.receive_from(now, &mut pipe.data)?.bytes;
    }
    Ok(total)
}

/// Reads all plaintext that is there; also returns whether the stream has ended properly.
pub(crate) fn read_all(from: &mut Connection) -> io::Result<(Vec<u8>, bool)> {
    let (mut data, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        match from.read(&mut buf) {
            Ok(0) => return Ok((data, true)),
            Ok(n) => data.extend(&buf[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((data, false)),
            Err(error) => return Err(error),
        }
    }
}

impl Pair {
    pub(crate) fn with(provider: CryptoProvider, version: Version, cork: CorkConfig) -> Self {
        let (client, server) = configs_with(provider, version);
        Self {
            client: Connection::client(client, name(), cork.clone()).expect("a client"),
            server: Connection::server(server, cork).expect("a server"),
            up: Pipe::default(),
            down: Pipe::default(),
            now: Instant::now(),
        }
    }

    pub(crate) fn new(version: Version) -> Self {
        Self::with(aws_lc_rs::default_provider(), version, CorkConfig::default())
    }

    pub(crate) fn connected(version: Version) -> Self {
        let mut pair = Self::new(version);
        pair.exchange();
        assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
        pair
    }

    /// Moves bytes both ways until none move, and reads at the server. Returns the plaintext, and
    /// whether the stream has ended.
    pub(crate) fn exchange(&mut self) -> (Vec<u8>, bool) {
        let (mut data, mut end) = (Vec::new(), false);
        loop {
            let mut moved = transmit(&mut self.client, &mut self.up).expect("transmit");
            moved += receive(&mut self.server, self.now, &mut self.up).expect("receive");
            let (read, ended) = read_all(&mut self.server).expect("read");
            moved += read.len();
            data.extend(read);
            end |= ended;
            moved += transmit(&mut self.server, &mut self.down).expect("transmit");
            moved += receive(&mut self.client, self.now, &mut self.down).expect("receive");
            if moved == 0 {
                return (data, end);
            }
        }
    }

    pub(crate) fn write(&mut self, data: &[u8], flags: SendFlags) -> Result<usize, WriteError> {
        self.client.write(self.now, &[IoSlice::new(data)], flags).map(|written| written.accepted)
    }
}
