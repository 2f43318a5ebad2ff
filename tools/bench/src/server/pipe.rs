//! How the embedded server moves bytes: with TLS or without.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{ServerConfig, SupportedCipherSuite};

use super::invalid;

/// One read takes as much as the client's largest batch.
const READ_BUFFER: usize = 256 * 1024;
/// When less than this is left behind a partial record, the record moves to the front.
const MIN_READ: usize = 64 * 1024;

/// Two addresses that are equal modulo this may collide.
pub(crate) const ALIAS: usize = 4096;

/// A blocking, ordered stream in both directions.
pub(crate) trait Pipe {
    /// Waits for data and hands it over piece by piece, without copying: over TLS record by record. False at the end.
    fn receive(&mut self, on_data: &mut dyn FnMut(&[u8])) -> io::Result<bool>;
    fn send(&mut self, data: &[u8]) -> io::Result<()>;
    /// Where in its buffer the next read into an empty one goes, below [`ALIAS`].
    fn set_base(&mut self, base: usize);
}

pub(crate) struct CleartextPipe {
    stream: TcpStream,
    buffer: Vec<u8>,
    base: usize,
}

impl CleartextPipe {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: vec![0; READ_BUFFER + ALIAS], base: 0 }
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl Pipe for CleartextPipe {
    fn receive(&mut self, on_data: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let buffer = &mut self.buffer[self.base..];
        let n = read(&mut self.stream, buffer)?;
        on_data(&buffer[..n]);
        Ok(n > 0)
    }

    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        self.stream.write_all(data)
    }

    fn set_base(&mut self, base: usize) {
        self.base = base;
    }
}

/// rustls without its own buffers: records are decrypted in the buffer they were read into.
pub(crate) struct TlsPipe {
    conn: UnbufferedServerConnection,
    stream: TcpStream,
    incoming: Vec<u8>,
    base: usize,
    /// `incoming[start..end]` is received and not yet processed.
    start: usize,
    end: usize,
    outgoing: Vec<u8>,
    peer_closed: bool,
}

/// What the TLS state machine is waiting for.
enum Idle {
    Input,
    Closed,
}

impl TlsPipe {
    pub(crate) fn new(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            conn: UnbufferedServerConnection::new(config).map_err(invalid)?,
            stream,
            incoming: vec![0; READ_BUFFER + ALIAS],
            base: 0,
            start: 0,
            end: 0,
            outgoing: Vec::new(),
            peer_closed: false,
        })
    }

    /// Sends `close_notify`, the last record of the session.
    pub(crate) fn close(mut self) -> io::Result<()> {
        let sealed = self.seal(|traffic, out| traffic.queue_close_notify(out))?;
        self.stream.write_all(&self.outgoing[..sealed])
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.conn.is_handshaking()
    }

    /// What was agreed on; `None` early in the handshake.
    pub(crate) fn suite(&self) -> Option<SupportedCipherSuite> {
        self.conn.negotiated_cipher_suite()
    }

    /// Runs the state machine until it needs more input.
    fn process(&mut self, on_data: &mut dyn FnMut(&[u8])) -> io::Result<Idle> {
        let mut pending = 0;
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.conn.process_tls_records(&mut self.incoming[self.start..self.end]);
            let mut idle = None;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        on_data(record.map_err(invalid)?.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => loop {
                    match data.encode(&mut self.outgoing[pending..]) {
                        Ok(n) => {
                            pending += n;
                            break;
                        }
                        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                            self.outgoing.resize(pending + required_size, 0);
                        }
                        Err(error) => return Err(invalid(error)),
                    }
                },
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    self.stream.write_all(&self.outgoing[..pending])?;
                    pending = 0;
                    transmit.done();
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    idle = Some(Idle::Input);
                }
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::Closed) => idle = Some(Idle::Closed),
                Ok(_) => return Err(invalid(rustls::Error::General("early data".into()))),
                Err(error) => {
                    self.send_alert();
                    return Err(invalid(error));
                }
            }
            self.start += discard;
            if let Some(idle) = idle {
                return Ok(if self.peer_closed { Idle::Closed } else { idle });
            }
        }
    }

    /// Tells the peer why the session fails; the session has failed whether it arrives or not.
    fn send_alert(&mut self) {
        let UnbufferedStatus { state, .. } = self.conn.process_tls_records(&mut []);
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) = state {
            let mut record = [0; 64];
            if let Ok(n) = alert.encode(&mut record) {
                let _ = self.stream.write_all(&record[..n]);
            }
        }
    }

    /// Lets `encrypt` fill `outgoing`, which grows until it is large enough.
    fn seal(
        &mut self,
        mut encrypt: impl FnMut(
            &mut rustls::unbuffered::WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.conn.process_tls_records(&mut self.incoming[self.start..self.end]);
            self.start += discard;
            match state.map_err(invalid)? {
                ConnectionState::WriteTraffic(mut traffic) => match encrypt(&mut traffic, &mut self.outgoing) {
                    Ok(n) => return Ok(n),
                    Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        self.outgoing.resize(required_size, 0);
                    }
                    Err(error) => return Err(invalid(error)),
                },
                // Reported once, and no obstacle to what we still have to say.
                ConnectionState::PeerClosed => self.peer_closed = true,
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
}

impl Pipe for TlsPipe {
    fn receive(&mut self, on_data: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (self.base, self.base);
        } else if self.incoming.len() - self.end < MIN_READ {
            self.incoming.copy_within(self.start..self.end, self.base);
            (self.start, self.end) = (self.base, self.base + self.end - self.start);
        }
        let n = read(&mut self.stream, &mut self.incoming[self.end..])?;
        if n == 0 {
            // The end of the stream without close_notify is a truncation.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.end += n;
        Ok(!matches!(self.process(on_data)?, Idle::Closed))
    }

    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let sealed = self.seal(|traffic, out| traffic.encrypt(data, out))?;
        self.stream.write_all(&self.outgoing[..sealed])
    }

    fn set_base(&mut self, base: usize) {
        self.base = base;
    }
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
