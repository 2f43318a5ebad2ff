//! Receiving: reads, the handshake, and the graceful end.

use std::io::{self, BufRead, Read};
use std::time::Instant;

use bytes::Buf;
use tls_cork::{Connection, ReceiveError};

use crate::Transport;
use crate::stream::{CALL_LIMIT, TlsStream};

/// What is read at a time while a stream ends, to be discarded.
const DISCARD: usize = 4 * 1024;

impl<T: Transport> TlsStream<T> {
    /// Ends the stream so that nothing is lost: [`close`](Self::close), then reads and discards until the peer's end.
    ///
    /// Closing and dropping a stream can cost what the transport has taken: if received bytes are unread then, and TLS 1.3 tickets are
    /// enough, the kernel answers the peer's next segment with a reset, and the peer's kernel discards what its program has not read.
    /// Behind the `close_notify` this also ends the transport's sending direction ([`Transport::close_write`]).
    ///
    /// Call it first when there is nothing more to send, then after the stream's events, until it returns `Ok`. The peer decides how
    /// long that takes: set a time limit, and drop the stream when it has passed.
    ///
    /// ```no_run
    /// # use std::{io::{self, ErrorKind}, time::{Duration, Instant}};
    /// # use mio::{Events, Poll};
    /// # fn example(mut stream: tls_cork_mio::TlsStream, poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    /// let limit = Instant::now() + Duration::from_secs(5);
    /// while Instant::now() < limit {
    ///     match stream.close_gracefully() {
    ///         Err(error) if error.kind() == ErrorKind::WouldBlock => {}
    ///         done => return done,
    ///     }
    ///     let left = limit.saturating_duration_since(Instant::now());
    ///     let timeout = stream.before_poll()?.map_or(left, |timeout| timeout.min(left));
    ///     poll.poll(events, Some(timeout))?;
    ///     for event in events.iter() {
    ///         stream.handle_event(event)?;
    ///     }
    /// }
    /// # Err(ErrorKind::TimedOut.into())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `WouldBlock` until the peer's end has come and the transport has taken everything; those of [`close`](Self::close) and of reading, after
    /// which the peer may not have got everything. An end without `close_notify` is none: what is received does not count any more.
    pub fn close_gracefully(&mut self) -> io::Result<()> {
        self.close()?;
        if self.is_finished() && !self.write_closed {
            self.write_closed = true;
            match self.transport.close_write() {
                // The peer was faster.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                done => done?,
            }
        }
        let mut discarded = 0;
        let mut buf = [0; DISCARD];
        while discarded < CALL_LIMIT {
            match self.read(&mut buf) {
                Ok(n) if n > 0 => discarded += n,
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof || self.is_handshaking() => {
                    return Err(error);
                }
                _ if self.is_finished() => return self.check_lost_bytes(),
                _ => break,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Moves the handshake on with what the transport has.
    pub(crate) fn shake_hands(&mut self) -> io::Result<()> {
        let mut taken = 0;
        while self.connection.is_handshaking() && taken < CALL_LIMIT {
            match self.receive()? {
                Some(bytes) if bytes > 0 => taken += bytes,
                Some(_) if self.connection.is_handshaking() => {}
                _ => return Ok(()),
            }
        }
        // What is left to take, no event will announce.
        self.unseen |= taken >= CALL_LIMIT;
        Ok(())
    }

    /// Whether a read might give something that no event will announce.
    pub(crate) fn has_unseen(&self) -> bool {
        let plaintext = !self.connection.wants_receive() && !self.connection.is_handshaking();
        self.unseen && (self.readable || !self.early.is_empty() || plaintext)
    }

    /// Takes what the transport has, and returns how much that was; `None` if it has nothing.
    fn receive(&mut self) -> io::Result<Option<usize>> {
        let now = Instant::now();
        let received = if !self.early.is_empty() {
            let received = self.connection.receive(now, &self.early);
            if let Ok(received) = &received {
                self.early.advance(received.bytes);
            }
            received
        } else if self.readable || self.broken {
            let mut reader = Watched { transport: &mut self.transport, short: false };
            let received = self.connection.receive_from(now, &mut reader);
            // Not before the first event: an end that came before this stream was made is not announced again.
            let announced = self.announced && !self.ended;
            if reader.short && announced && self.transport.is_drained_by_short_read() {
                self.readable = false;
            }
            received
        } else {
            return Ok(None);
        };
        match received {
            Ok(received) => {
                self.transmit_or_keep()?;
                Ok(Some(received.bytes))
            }
            Err(ReceiveError::Io(error)) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => {
                    self.readable = false;
                    Ok(None)
                }
                io::ErrorKind::Interrupted => Ok(Some(0)),
                _ => Err(error),
            },
            Err(error) => {
                self.broken = true;
                // The alert leaves if it can; the error that caused it counts.
                let _ = self.transmit();
                Err(self.cause(error.into()))
            }
        }
    }
}

impl<T: Transport> Read for TlsStream<T> {
    /// Reads plaintext; `Ok(0)` is the stream's proper end, `UnexpectedEof` one without `close_notify`.
    ///
    /// `WouldBlock`: read again after the next event, or in the next turn of the loop if [`before_poll`](TlsStream::before_poll) returns zero.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.plaintext(|connection| connection.read(buf))
    }
}

impl<T: Transport> BufRead for TlsStream<T> {
    /// Shows plaintext where it was decrypted, what is left of one record; an empty slice is the
    /// stream's proper end.
    ///
    /// The same bytes again until they are taken, by [`consume`](BufRead::consume) or by a read.
    /// `WouldBlock` and other errors are those of a read. `read_until` keeps what it has in its
    /// buffer, so that it can be called again after `WouldBlock`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs"));
    /// use std::io::{self, BufRead, ErrorKind};
    ///
    /// /// The next line, with its end, after an event of the stream; `None` if more has to come first.
    /// fn next_line(stream: &mut TlsStream, begun: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    ///     match stream.read_until(b'\n', begun) {
    ///         Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None), // the rest joins `begun`
    ///         done => done.map(|_| Some(std::mem::take(begun))), // an empty one: the peer has closed
    ///     }
    /// }
    /// # fn main() -> io::Result<()> {
    /// # let (mut poll, mut client, mut server) = connected()?;
    /// # let (mut begun, mut lines) = (Vec::new(), Vec::new());
    /// # let mut pieces = [&b"first li"[..], b"ne\nsecond", b" line\n"].into_iter();
    /// # while lines.len() < 2 {
    /// #     if let Some(piece) = pieces.next() {
    /// #         client.send(piece, tls_cork_mio::SendFlags::NONE)?;
    /// #     }
    /// #     turn(&mut poll, &mut client, &mut server)?;
    /// #     while let Some(line) = next_line(&mut server, &mut begun)? {
    /// #         lines.push(line);
    /// #     }
    /// # }
    /// # assert_eq!(lines, [b"first line\n".to_vec(), b"second line\n".to_vec()]);
    /// # Ok(())
    /// # }
    /// ```
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.plaintext(|connection| connection.fill_buf().map(<[u8]>::len))?;
        self.connection.fill_buf()
    }

    /// Takes the first `len` bytes of what [`fill_buf`](BufRead::fill_buf) has shown, or all of them
    /// if they are fewer.
    fn consume(&mut self, len: usize) {
        self.connection.consume(len);
        self.unseen |= len > 0;
    }
}

impl<T: Transport> TlsStream<T> {
    /// Receives until `take` finds plaintext, of which it returns the length, or the end.
    fn plaintext(&mut self, mut take: impl FnMut(&mut Connection) -> io::Result<usize>) -> io::Result<usize> {
        self.reads = true;
        let mut taken = 0;
        loop {
            match take(&mut self.connection) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.reader_waits = false;
                    self.unseen = matches!(done, Ok(n) if n > 0);
                    return done.map_err(|error| self.cause(error));
                }
            }
            // R16: records without plaintext could keep this loop busy as long as the peer sends them.
            if taken >= CALL_LIMIT {
                self.unseen = true;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            match self.receive()? {
                Some(bytes) => taken += bytes,
                None => {
                    self.reader_waits = true;
                    self.unseen = false;
                    return Err(io::ErrorKind::WouldBlock.into());
                }
            }
        }
    }
}

/// Tells whether the transport gave less than it could have.
struct Watched<'a, T> {
    transport: &'a mut T,
    short: bool,
}

impl<T: Read> Read for Watched<'_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let taken = self.transport.read(buf)?;
        self.short = 0 < taken && taken < buf.len();
        Ok(taken)
    }
}
