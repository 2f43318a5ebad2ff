//! Many streams in one mio loop: each sends a queue of pieces, reads its answer and ends
//! gracefully.
//!
//!     cargo run -p tls-cork-mio --example echo -- server 127.0.0.1:4433 --cert-out /tmp/echo.pem
//!     cargo run -p tls-cork-mio --example many_streams -- 127.0.0.1:4433 /tmp/echo.pem

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};
use std::{collections::VecDeque, error::Error};

use bytes::Bytes;
use mio::{Events, Interest, Poll, Token};
use tls_cork_mio::{SendFlags, TlsStream};

pub(crate) struct Peer {
    pub(crate) stream: TlsStream,
    queue: VecDeque<(Bytes, SendFlags)>, // pieces that are not accepted yet
    wanted: usize,                       // the length of the answer
    pub(crate) answer: Vec<u8>,
    limit: Instant,                                 // the time to give up
    pub(crate) sleep: io::Result<Option<Duration>>, // zero: work is possible; `None`: it has ended
}

impl Peer {
    pub(crate) fn new(stream: TlsStream, queue: VecDeque<(Bytes, SendFlags)>) -> Self {
        let wanted = queue.iter().map(|(piece, _)| piece.len()).sum(); // the server echoes
        let (limit, sleep) = (Instant::now() + Duration::from_secs(60), Ok(Some(Duration::ZERO)));
        Self { stream, queue, wanted, answer: Vec::new(), limit, sleep }
    }

    /// Sends, reads and ends the stream; `WouldBlock` until the end.
    fn work(&mut self, buf: &mut [u8]) -> io::Result<()> {
        while let Some((piece, flags)) = self.queue.front_mut() {
            match self.stream.send_bytes(piece, *flags) {
                Ok(_) if piece.is_empty() => drop(self.queue.pop_front()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                sent => drop(sent?), // a short count: send the rest again, with the same flags
            }
        }
        while self.answer.len() < self.wanted {
            match self.stream.read(buf)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => self.answer.extend_from_slice(&buf[..n]),
            }
        }
        self.stream.close_gracefully()
    }

    /// Works if work is possible. Returns how long to sleep at most, or `None` at the end.
    fn turn(&mut self, ready: bool, buf: &mut [u8]) -> io::Result<Option<Duration>> {
        if ready {
            match self.work(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                ended => return ended.map(|()| None),
            }
        }
        let left = self.limit.checked_duration_since(Instant::now()).ok_or(ErrorKind::TimedOut)?;
        // `before_poll` returns zero if work is left that no event will announce.
        Ok(self.stream.before_poll()?.into_iter().chain([left]).min())
    }

    /// Takes a turn unless the stream has ended, and keeps the result.
    fn step(&mut self, buf: &mut [u8]) -> Option<Duration> {
        let Ok(Some(sleep)) = self.sleep else { return None };
        self.sleep = self.turn(sleep.is_zero(), buf);
        *self.sleep.as_ref().ok()?
    }
}

/// Runs the streams until all have ended. The failure of one ends no other.
pub(crate) fn run(peers: &mut [Peer]) -> io::Result<()> {
    let (mut poll, mut events, mut buf) = (Poll::new()?, Events::with_capacity(256), vec![0; 16 * 1024]);
    for (token, peer) in peers.iter_mut().enumerate() {
        poll.registry().register(&mut peer.stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
    }
    while let Some(sleep) = peers.iter_mut().filter_map(|peer| peer.step(&mut buf)).min() {
        match poll.poll(&mut events, Some(sleep)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue, // EINTR: a signal
            polled => polled?,
        }
        for event in &events {
            let peer = &mut peers[event.token().0];
            if let Ok(Some(_)) = peer.sleep {
                peer.sleep = peer.stream.handle_event(event).map(|()| Some(Duration::ZERO));
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let queue = VecDeque::from([("a header ".into(), SendFlags::MORE), ("and a body".into(), SendFlags::NONE)]);
    let mut peers: Vec<_> = common::streams(100)?.into_iter().map(|tls| Peer::new(tls, queue.clone())).collect();
    run(&mut peers)?;
    let print = |peer: Peer| peer.sleep.and_then(|_| writeln!(io::stdout(), "{}", peer.answer.escape_ascii()));
    Ok(peers.into_iter().try_for_each(print)?)
}
