//! Receiving: reads, the handshake, and the graceful end.

use std::io::{self, BufRead, Read};
use std::time::Instant;

use bytes::Buf;
use tls_cork::{Connection, Failure, ReceiveError};

use crate::Transport;
use crate::stream::{CALL_LIMIT, TlsStream};

/// Bytes that are read and discarded at a time while a stream ends.
const DISCARD: usize = 4 * 1024;

impl<T: Transport> TlsStream<T> {
    /// Ends the stream without loss: [`close`](Self::close), then reads and discards until the
    /// peer's end of the stream.
    ///
    /// When the `close_notify` has been sent, this call also ends the transport's sending direction
    /// ([`Transport::close_write`]).
    ///
    /// A stream that is closed and dropped can lose bytes that the transport has taken. If received
    /// bytes, such as TLS 1.3 tickets, are unread then, the kernel sends a reset to the peer. The
    /// peer's kernel then discards the bytes that its program has not read.
    ///
    /// Call it first when nothing is left to send, then after each of the stream's events, until it
    /// returns `Ok`. The peer decides how long this takes: set a time limit, and drop the stream
    /// when the limit has passed.
    ///
    /// ```no_run
    /// # use std::{io::{self, ErrorKind}, time::{Duration, Instant}};
    /// # use mio::{Events, Poll};
    /// # use tls_cork_mio::TlsStream;
    /// # fn example(
    /// #     mut stream: TlsStream, poll: &mut Poll, events: &mut Events,
    /// # ) -> io::Result<()> {
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
    /// `WouldBlock` until the peer's end has come and the transport has taken everything. Otherwise
    /// those of [`close`](Self::close) and of reading; the peer may then have lost bytes. An end
    /// without `close_notify` is not an error, because received bytes are discarded anyway.
    pub fn close_gracefully(&mut self) -> io::Result<()> {
        self.close()?;
        if self.is_finished() && !self.write_closed {
            self.write_closed = true;
            match self.transport.close_write() {
                // The peer has closed first.
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

    /// Continues the handshake with the bytes that the transport has.
    pub(crate) fn shake_hands(&mut self) -> io::Result<()> {
        let mut taken = 0;
        while self.connection.is_handshaking() && taken < CALL_LIMIT {
            match self.receive()? {
                Some(bytes) if bytes > 0 => taken += bytes,
                Some(_) if self.connection.is_handshaking() => {}
                _ => return Ok(()),
            }
        }
        // No event will announce the bytes that are left.
        self.unseen |= taken >= CALL_LIMIT;
        Ok(())
    }

    /// Whether a read may return bytes or an end that no event will announce.
    pub(crate) fn has_unseen(&self) -> bool {
        let plaintext = !self.connection.wants_receive() && !self.connection.is_handshaking();
        self.unseen && (self.readable || !self.early.is_empty() || plaintext || self.has_failed())
    }

    /// Whether TLS has failed, in a read that returned the plaintext before: the next receive
    /// returns the error.
    fn has_failed(&self) -> bool {
        matches!(self.connection.failure(), Some(Failure::Receive(_)))
    }

    /// Receives once and returns the number of bytes of ciphertext; `None` if the transport has
    /// none.
    fn receive(&mut self) -> io::Result<Option<usize>> {
        let now = Instant::now();
        let received = if !self.early.is_empty() {
            let received = self.connection.receive(now, &self.early);
            if let Ok(received) = &received {
                self.early.advance(received.bytes);
            }
            received
        } else if self.readable || self.has_failed() {
            let mut reader = Watched { transport: &mut self.transport, short: false };
            let received = self.connection.receive_from(now, &mut reader);
            // Not before the first event: an end that came before this stream existed is not
            // announced again.
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
                // Sends the alert as far as the transport takes it. The error that caused it is
                // returned.
                let _ = self.transmit();
                Err(self.cause(error.into()))
            }
        }
    }
}

impl<T: Transport> Read for TlsStream<T> {
    /// Reads plaintext and returns its length in bytes. `Ok(0)` is the end of the stream after
    /// `close_notify` (RFC 8446, section 6.1), `UnexpectedEof` an end without it.
    ///
    /// After `WouldBlock`, read again after the next event, or in the next turn of the loop if
    /// [`before_poll`](TlsStream::before_poll) returns zero.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.plaintext(|connection| connection.read(buf))
    }
}

impl<T: Transport> BufRead for TlsStream<T> {
    /// Returns received plaintext without a copy: the rest of one record. An empty slice is the end
    /// of the stream after `close_notify`.
    ///
    /// Further calls return the same bytes until [`consume`](BufRead::consume) or a read takes
    /// them. `WouldBlock` and other errors are those of a read. `read_until` can be called again
    /// after `WouldBlock`: the bytes read so far are in its buffer.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doc.rs"));
    /// use std::io::{self, BufRead, ErrorKind};
    ///
    /// /// The next line, with its end, after an event; `None` if it has not arrived in full.
    /// fn next_line(stream: &mut TlsStream, begun: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    ///     match stream.read_until(b'\n', begun) {
    ///         Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None), // call again
    ///         done => done.map(|_| Some(std::mem::take(begun))), // empty: the peer has closed
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

    /// Takes the first `len` bytes of those that [`fill_buf`](BufRead::fill_buf) returned, or all
    /// of them if they are fewer.
    fn consume(&mut self, len: usize) {
        self.connection.consume(len);
        self.unseen |= len > 0;
        self.answer();
    }
}

impl<T: Transport> TlsStream<T> {
    /// Transmits the answer to a record that was decrypted ahead (R17). The bytes that were read must
    /// not be lost, so an error is kept for the next call that sends.
    fn answer(&mut self) {
        if self.connection.wants_transmit()
            && let Err(error) = self.transmit_or_keep()
        {
            self.failure = Some(error.into());
        }
    }

    /// Receives until `take` finds plaintext and returns its length, or finds the end of the
    /// stream.
    fn plaintext(&mut self, mut take: impl FnMut(&mut Connection) -> io::Result<usize>) -> io::Result<usize> {
        self.reads = true;
        let mut taken = 0;
        loop {
            match take(&mut self.connection) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.reader_waits = false;
                    self.unseen = matches!(done, Ok(n) if n > 0);
                    self.answer();
                    return done.map_err(|error| self.cause(error));
                }
            }
            // R16: a peer that sends records without plaintext could keep this loop busy.
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

/// A reader that notes whether the last read filled only a part of its buffer.
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
