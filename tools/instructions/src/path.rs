//! What carries a message: rustls alone, the core, or a driver.

use std::error::Error;
use std::io::{self, BufWriter, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use clap::ValueEnum;
use futures_io::AsyncRead as _;
use futures_util::AsyncWriteExt;
use futures_util::FutureExt;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tls_cork::{Connection, CorkConfig, MAX_RECORD_SIZE, SendFlags};
use tls_cork_async_std::TlsConnector;
use tls_cork_mio::TlsStream;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::runtime::{Builder, EnterGuard, Runtime};

use crate::peer::Peer;

/// What carries a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Path {
    /// `writer().write`, `write_tls`; `read_tls`, `process_new_packets`, `reader().read`.
    Rustls,
    /// `BufWriter` over the same, with room for what fills a record.
    RustlsBuf,
    /// `Connection::write`, `transmit_with`; `receive_from`, `read`.
    Core,
    /// `TlsStream::send` and `Read::read`.
    Mio,
    /// `poll_send` and `poll_read`.
    AsyncStd,
    /// The same.
    Tokio,
}

impl Path {
    /// Whether it is a path of tls-cork.
    pub(crate) fn is_ours(self) -> bool {
        !matches!(self, Self::Rustls | Self::RustlsBuf)
    }
}

/// A session after its handshake.
pub(crate) trait Session: Sized {
    fn connect() -> Result<Self, Box<dyn Error>>;

    fn peer(&mut self) -> &mut Peer;

    /// One piece; more of the message follows, or none.
    fn send(&mut self, piece: &[u8], more: bool) -> io::Result<()>;

    /// Plaintext, in one step; `WouldBlock` if the peer has sent nothing.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize>;
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a valid name")
}

pub(crate) struct Rustls(ClientConnection, Peer);

impl Rustls {
    fn receive(&mut self) -> io::Result<()> {
        self.0.read_tls(&mut self.1)?;
        self.0.process_new_packets().map_err(io::Error::other)?;
        Ok(())
    }

    fn transmit(&mut self) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(&mut self.1)?;
        }
        Ok(())
    }
}

impl Session for Rustls {
    fn connect() -> Result<Self, Box<dyn Error>> {
        let (peer, config) = Peer::new()?;
        let mut this = Self(ClientConnection::new(config, name())?, peer);
        this.0.set_buffer_limit(None);
        while this.0.is_handshaking() || this.1.is_handshaking() {
            this.transmit()?;
            if this.0.is_handshaking() {
                this.receive()?;
            }
        }
        Ok(this)
    }

    fn peer(&mut self) -> &mut Peer {
        &mut self.1
    }

    #[inline]
    fn send(&mut self, piece: &[u8], more: bool) -> io::Result<()> {
        self.0.writer().write_all(piece)?;
        if more { Ok(()) } else { self.transmit() }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive()?,
                done => return done,
            }
        }
    }
}

pub(crate) struct RustlsBuf(BufWriter<Rustls>);

impl Session for RustlsBuf {
    fn connect() -> Result<Self, Box<dyn Error>> {
        Ok(Self(BufWriter::with_capacity(MAX_RECORD_SIZE, Rustls::connect()?)))
    }

    fn peer(&mut self) -> &mut Peer {
        self.0.get_mut().peer()
    }

    #[inline]
    fn send(&mut self, piece: &[u8], more: bool) -> io::Result<()> {
        self.0.write_all(piece)?;
        if more { Ok(()) } else { self.0.flush() }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.get_mut().read(buf)
    }
}

/// As `rustls::Stream`: a write leaves at once.
impl Write for Rustls {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = self.0.writer().write(buf)?;
        self.transmit()?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.transmit()
    }
}

pub(crate) struct Core(Connection, Peer, Instant);

impl Core {
    fn transmit(&mut self) -> io::Result<()> {
        let peer = &mut self.1;
        let _ = self.0.transmit_with(|bufs, _more| Write::write_vectored(peer, bufs))?;
        Ok(())
    }
}

impl Session for Core {
    fn connect() -> Result<Self, Box<dyn Error>> {
        let (peer, config) = Peer::new()?;
        let mut this = Self(Connection::client(config, name(), CorkConfig::default())?, peer, Instant::now());
        while this.0.is_handshaking() || this.1.is_handshaking() {
            this.transmit()?;
            if this.0.is_handshaking() {
                let _ = this.0.receive_from(this.2, &mut this.1)?;
            }
        }
        Ok(this)
    }

    fn peer(&mut self) -> &mut Peer {
        &mut self.1
    }

    #[inline]
    fn send(&mut self, piece: &[u8], more: bool) -> io::Result<()> {
        let mut rest = piece;
        while !rest.is_empty() {
            let written = self.0.write(self.2, &[IoSlice::new(rest)], SendFlags::more_if(more))?;
            rest = &rest[written.accepted..];
            if written.decision.is_flush() {
                self.transmit()?;
            }
        }
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = self.0.receive_from(self.2, &mut self.1)?;
                }
                done => return done,
            }
        }
    }
}

pub(crate) struct Mio(TlsStream<Peer>);

impl Session for Mio {
    fn connect() -> Result<Self, Box<dyn Error>> {
        let (peer, config) = Peer::new()?;
        let mut stream = TlsStream::client_with(peer, config, name(), CorkConfig::default())?;
        while stream.is_handshaking() || stream.get_ref().is_handshaking() {
            stream.before_poll()?;
        }
        Ok(Self(stream))
    }

    fn peer(&mut self) -> &mut Peer {
        self.0.get_mut()
    }

    #[inline]
    fn send(&mut self, piece: &[u8], more: bool) -> io::Result<()> {
        let mut rest = piece;
        while !rest.is_empty() {
            let accepted = self.0.send(rest, SendFlags::more_if(more))?;
            rest = &rest[accepted..];
        }
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

pub(crate) struct AsyncStd(tls_cork_async_std::client::TlsStream<Peer>);

impl Session for AsyncStd {
    fn connect() -> Result<Self, Box<dyn Error>> {
        let (peer, config) = Peer::new()?;
        let connected = TlsConnector::from(config).connect(name(), peer).now_or_never();
        let mut stream = connected.ok_or("the peer left the handshake waiting")??;
        stream.flush().now_or_never().ok_or("the peer took nothing")??;
        Ok(Self(stream))
    }

    fn peer(&mut self) -> &mut Peer {
        self.0.get_mut().0
    }

    #[inline]
    fn send(&mut self, piece: &[u8], more: bool) -> io::Result<()> {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut rest = piece;
        while !rest.is_empty() {
            let accepted = ready(self.0.poll_send(cx, rest, SendFlags::more_if(more)))?;
            rest = &rest[accepted..];
        }
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        ready(Pin::new(&mut self.0).poll_read(&mut Context::from_waker(Waker::noop()), buf))
    }
}

/// Within a runtime, as programs for tokio are. It runs nothing, so that no task is counted.
pub(crate) struct Tokio {
    stream: tls_cork_tokio::client::TlsStream<Peer>,
    _inside: EnterGuard<'static>,
}

impl Session for Tokio {
    fn connect() -> Result<Self, Box<dyn Error>> {
        let (peer, config) = Peer::new()?;
        let runtime: &Runtime = Box::leak(Box::new(Builder::new_current_thread().enable_time().build()?));
        let connector = tls_cork_tokio::TlsConnector::from(config);
        let stream = runtime.block_on(connector.connect(name(), peer))?;
        Ok(Self { stream, _inside: runtime.enter() })
    }

    fn peer(&mut self) -> &mut Peer {
        self.stream.get_mut().0
    }

    #[inline]
    fn send(&mut self, piece: &[u8], more: bool) -> io::Result<()> {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut rest = piece;
        while !rest.is_empty() {
            let accepted = ready(self.stream.poll_send(cx, rest, SendFlags::more_if(more)))?;
            rest = &rest[accepted..];
        }
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        let read = Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
        ready(read).map(|()| buf.filled().len())
    }
}

fn ready<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(done) => done,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}
