//! `TlsStream`: moves bytes and time.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use mio::event::{self, Event};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tls_cork::{Connection, CorkConfig, ReceiveError, SendFlags, Stats, TransmitError, WriteError, Written};

use crate::Transport;

/// A TLS stream over a non-blocking transport, with a flag on each write.
///
/// `Read` and `Write` behave as on a non-blocking socket: `WouldBlock` means that the call is worth repeating after the next event.
/// `Write::write` is [`send`](Self::send) without flags.
pub struct TlsStream<T = TcpStream> {
    connection: Connection,
    transport: T,
    /// Received before TLS began; read before the transport.
    early: Bytes,
    readable: bool,
    writable: bool,
    /// The peer has closed, or the transport failed: no further event will say so.
    ended: bool,
    /// Whether the last read had to wait.
    reader_waits: bool,
    /// Met where it could not be told; the next call that sends tells it.
    failure: Option<io::Error>,
    /// TLS has failed: what is received no longer matters.
    broken: bool,
}

impl<T: fmt::Debug> fmt::Debug for TlsStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("connection", &self.connection)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl TlsStream<TcpStream> {
    /// The client side over a TCP stream, connected or connecting; sets TCP_NODELAY.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an invalid configuration; otherwise those of setsockopt(2).
    pub fn client(
        transport: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        cork: CorkConfig,
    ) -> io::Result<Self> {
        Self::client_with(transport, config, name, cork)
    }

    /// The server side over an accepted TCP stream; sets TCP_NODELAY.
    ///
    /// # Errors
    ///
    /// As [`client`](Self::client).
    pub fn server(transport: TcpStream, config: Arc<ServerConfig>, cork: CorkConfig) -> io::Result<Self> {
        Self::server_with(transport, config, cork)
    }
}

impl<T: Transport> TlsStream<T> {
    /// The client side over any transport.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for an invalid configuration; otherwise those of [`Transport::prepare`].
    pub fn client_with(
        transport: T,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        cork: CorkConfig,
    ) -> io::Result<Self> {
        Self::new(transport, Connection::client(config, name, cork)?)
    }

    /// The server side over any transport.
    ///
    /// # Errors
    ///
    /// As [`client_with`](Self::client_with).
    pub fn server_with(transport: T, config: Arc<ServerConfig>, cork: CorkConfig) -> io::Result<Self> {
        Self::new(transport, Connection::server(config, cork)?)
    }

    /// A connection that was set up elsewhere.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::prepare`].
    pub fn new(mut transport: T, connection: Connection) -> io::Result<Self> {
        transport.prepare()?;
        // Both directions are tried once; WouldBlock tells.
        Ok(Self {
            connection,
            transport,
            early: Bytes::new(),
            readable: true,
            writable: true,
            ended: false,
            reader_waits: false,
            failure: None,
            broken: false,
        })
    }

    /// Hands over bytes that were received before TLS began, as after STARTTLS.
    #[must_use]
    pub fn with_received(mut self, data: Bytes) -> Self {
        self.early = data;
        self
    }

    /// Takes readiness in, transmits what waits, and moves the handshake on.
    ///
    /// # Errors
    ///
    /// Those of TLS, and those of receiving during the handshake; all are final. That the transport takes no more is left to the
    /// next [`before_poll`](Self::before_poll) or write: what the peer said last can still be read.
    pub fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ended |= event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.transmit_or_keep()?;
        while self.connection.is_handshaking() && self.receive()? {}
        Ok(())
    }

    /// Call right before `Poll::poll`, and give it the timeout that this returns.
    ///
    /// Fires a deadline that is due, releases what is held if the last read had to wait
    /// ([`flush_on_read_wait`](CorkConfig::flush_on_read_wait)), and transmits.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS.
    pub fn before_poll(&mut self) -> io::Result<Option<Duration>> {
        self.tell_failure()?;
        let now = Instant::now();
        let _ = self.connection.handle_timeout(now);
        if self.reader_waits {
            let _ = self.connection.handle_read_wait(now);
        }
        self.transmit()?;
        Ok(self.poll_timeout().map(|at| at.saturating_duration_since(Instant::now())))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due: for loops that keep their own timers.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// Fires a deadline that is due and transmits.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS.
    pub fn handle_timeout(&mut self) -> io::Result<()> {
        self.tell_failure()?;
        let _ = self.connection.handle_timeout(Instant::now());
        Ok(self.transmit()?)
    }

    /// Sends as `send(2)` does: without [`SendFlags::MORE`] the data leaves in the call, as far as the transport takes it.
    ///
    /// Returns how many bytes were accepted; offer the rest again, with the same flags, after the next writable event.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing could be accepted, `BrokenPipe` after a close; `InvalidData` if the session's keys are used up, which
    /// costs what was waiting; otherwise those of the transport, one call late if this one had accepted bytes before it failed.
    pub fn send(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
        if self.failure.is_none() && self.connection.join_held(data, flags) {
            return Ok(data.len()); // without a reading of the clock
        }
        self.send_parts(data.len(), |connection, done| {
            connection.write(Instant::now(), &[IoSlice::new(&data[done..])], flags)
        })
    }

    /// As [`send`](Self::send), from several slices that make one write.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        let offered: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.send_parts(offered, |connection, done| match done {
            0 => connection.write(Instant::now(), bufs, flags),
            _ => {
                let mut rest = bufs.to_vec();
                let mut rest = &mut rest[..];
                IoSlice::advance_slices(&mut rest, done);
                connection.write(Instant::now(), rest, flags)
            }
        })
    }

    /// As [`send`](Self::send), for owned bytes: what is accepted is split off the front of `data`; large pieces are never copied.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<usize> {
        self.send_parts(data.len(), |connection, _done| connection.write_bytes(Instant::now(), data, flags))
    }

    /// Holds the tail of every write until [`uncork`](Self::uncork); limits and deadline stay in force.
    pub fn cork(&mut self) {
        self.connection.cork(Instant::now());
    }

    /// Ends [`cork`](Self::cork), releases everything and transmits. Never blocks.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS; `BrokenPipe` if a failure, told elsewhere, cost accepted bytes.
    pub fn uncork(&mut self) -> io::Result<()> {
        self.tell_failure()?;
        let _ = self.connection.uncork(Instant::now());
        self.transmit_without_loss()
    }

    /// Releases everything, then `close_notify`, and transmits; reading goes on.
    ///
    /// Done when [`is_finished`](Self::is_finished); until then, go on with events.
    ///
    /// # Errors
    ///
    /// Those of the transport and of TLS; `BrokenPipe` if a failure, told elsewhere, cost accepted bytes.
    pub fn close(&mut self) -> io::Result<()> {
        let earlier = self.tell_failure();
        let _ = self.connection.close(Instant::now());
        earlier?;
        self.transmit_without_loss()
    }

    /// Gives up what is not yet sealed; returns how many accepted bytes that costs.
    ///
    /// # Errors
    ///
    /// Those of the transport.
    pub fn abort(&mut self) -> io::Result<usize> {
        let discarded = self.connection.abort();
        self.transmit()?;
        Ok(discarded)
    }

    /// Whether something waits for the transport.
    pub fn wants_transmit(&self) -> bool {
        self.connection.wants_transmit()
    }

    /// Whether a [`close`](Self::close) is through: the transport has taken all that was accepted and the `close_notify`.
    ///
    /// Also true when an abort or a failure has nothing left to send.
    pub fn is_finished(&self) -> bool {
        self.connection.is_finished()
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The session: what was agreed on, and what waits.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.connection.stats()
    }

    /// The transport.
    pub fn get_ref(&self) -> &T {
        &self.transport
    }

    /// The transport, for instance to shut it down. Reading from it or writing to it breaks the TLS stream.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Gives the transport back; what still waits is lost.
    pub fn into_inner(self) -> T {
        self.transport
    }

    /// Writes until all is accepted or the transport pushes back.
    fn send_parts(
        &mut self,
        offered: usize,
        mut write: impl FnMut(&mut Connection, usize) -> Result<Written, WriteError>,
    ) -> io::Result<usize> {
        self.tell_failure()?;
        let mut done = 0;
        loop {
            match write(&mut self.connection, done) {
                Ok(written) => {
                    done += written.accepted;
                    if written.decision.is_flush() || done < offered {
                        if done == 0 {
                            self.transmit()?;
                        } else {
                            // Bytes were accepted: an error of the transport belongs to the next call.
                            self.transmit_or_keep()?;
                        }
                    }
                    if done == offered || written.accepted == 0 || self.failure.is_some() {
                        return Ok(done);
                    }
                }
                Err(WriteError::Failed) if done == 0 => {
                    // The reason may not have been told yet.
                    self.transmit()?;
                    return Err(WriteError::Failed.into());
                }
                Err(_) if done > 0 => return Ok(done),
                Err(WriteError::Blocked) if self.writable => {
                    self.transmit()?;
                    if self.connection.send_capacity() == 0 {
                        return Err(WriteError::Blocked.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
            if !self.writable && self.connection.wants_transmit() && done > 0 {
                return Ok(done);
            }
        }
    }

    fn transmit(&mut self) -> Result<(), TransmitError> {
        if !self.writable || !self.connection.wants_transmit() {
            return Ok(());
        }
        let transport = &mut self.transport;
        match self.connection.transmit_with(|bufs, more| transport.send(bufs, more)) {
            Ok(sent) => {
                self.writable = !sent.blocked;
                Ok(())
            }
            // A connect(2) that has not ended yet.
            Err(TransmitError::Io(error)) if error.kind() == io::ErrorKind::NotConnected => {
                self.writable = false;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Transmits; an error if a failure, told elsewhere, has cost accepted bytes.
    fn transmit_without_loss(&mut self) -> io::Result<()> {
        self.transmit()?;
        Ok(self.connection.check_loss()?)
    }

    /// Transmits, and keeps an error of the transport for the next call that sends.
    fn transmit_or_keep(&mut self) -> Result<(), TransmitError> {
        if self.failure.is_some() {
            return Ok(());
        }
        match self.transmit() {
            Err(error @ TransmitError::Seal { .. }) => Err(error),
            Err(error) => {
                self.failure = Some(error.into());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn tell_failure(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// A connection that was refused or reset says so to whoever asks first, which may have been a send; to others it has just ended.
    fn cause(&mut self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::UnexpectedEof { self.failure.take().unwrap_or(error) } else { error }
    }

    /// Takes what the transport has; false if it has nothing.
    fn receive(&mut self) -> io::Result<bool> {
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
            if reader.short && !self.ended && self.transport.is_drained_by_short_read() {
                self.readable = false;
            }
            received
        } else {
            return Ok(false);
        };
        match received {
            Ok(received) => {
                self.transmit_or_keep()?;
                Ok(received.bytes > 0)
            }
            Err(ReceiveError::Io(error)) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => {
                    self.readable = false;
                    Ok(false)
                }
                io::ErrorKind::Interrupted => Ok(true),
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

impl<T: Transport> Read for TlsStream<T> {
    /// Reads plaintext; `Ok(0)` is the stream's proper end, `UnexpectedEof` one without `close_notify`.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.reader_waits = false;
                    return done.map_err(|error| self.cause(error));
                }
            }
            if !self.receive()? && !self.readable {
                self.reader_waits = true;
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }
}

impl<T: Transport> Write for TlsStream<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.send(buf, SendFlags::NONE)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(bufs, SendFlags::NONE)
    }

    /// Releases everything and transmits; `WouldBlock` while the transport has not taken all of it, and during the handshake if
    /// something was written.
    fn flush(&mut self) -> io::Result<()> {
        self.tell_failure()?;
        let _ = self.connection.flush(Instant::now());
        self.transmit_without_loss()?;
        if self.connection.wants_transmit() || self.connection.waiting() > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }
}

impl<T: event::Source> event::Source for TlsStream<T> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.transport.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.transport.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.transport.deregister(registry)
    }
}
