//! Our side of a connection: one trait in front of all drivers, whose streams count the records on the wire.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_std::task::block_on;
use bytes::{Buf, Bytes};
use futures_util::{AsyncRead, AsyncWrite};
use mio::{Events, Interest, Registry, Token, event};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tls_cork_async_std::tls_cork::{Connection, CorkConfig, SendFlags};
use tls_cork_async_std::{TlsAcceptor, TlsConnector};
use tls_cork_mio::Transport;
use tls_cork_testing::RecordCounter;

use crate::on_tokio;
use crate::table::Driver;

/// No step takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Pieces below this are sent from borrowed slices, others as shared bytes.
const SMALL: usize = 4096;

/// One write.
pub(crate) struct Piece {
    pub(crate) data: Bytes,
    pub(crate) flags: SendFlags,
}

/// When to stop reading.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// This many bytes are there; not one more is read.
    Bytes(usize),
    /// The last bytes are these.
    Suffix(&'static [u8]),
    /// `close_notify`.
    End,
}

impl Until {
    /// How much more to read at most; zero when it is enough.
    fn missing(self, got: &[u8], ended: bool) -> usize {
        match self {
            Self::Bytes(n) => n - got.len(),
            Self::Suffix(suffix) => usize::from(!got.ends_with(suffix)),
            Self::End if ended => 0,
            Self::End => 16 * 1024,
        }
    }
}

/// Records and bytes of every kind, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Counts {
    fn of(counter: &RecordCounter) -> Self {
        Self { records: counter.records(), bytes: counter.bytes() }
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { records: self.records - earlier.records, bytes: self.bytes - earlier.bytes }
    }
}

/// A stream of one of the drivers, shaken hands.
pub(crate) trait Ours {
    /// Sends `pieces` and reads, both at a time. At the end all that may leave has left; after [`SendFlags::MORE`] the tail is held.
    fn exchange(&mut self, pieces: Vec<Piece>, until: Until) -> io::Result<Vec<u8>>;
    /// Sends `close_notify`; reading can go on.
    fn close(&mut self) -> io::Result<()>;
    fn connection(&self) -> &Connection;
    /// What the wire has taken from us, and what has come, since the connection began.
    fn wire(&self) -> (Counts, Counts);
    /// What the wire had taken when the handshake was done, tickets included.
    fn shaken(&self) -> Counts;
}

impl Driver {
    /// Shakes hands as a client.
    pub(crate) fn client(
        self,
        tcp: TcpStream,
        config: Arc<ClientConfig>,
        cork: CorkConfig,
    ) -> io::Result<Box<dyn Ours>> {
        let name = ServerName::try_from("localhost").expect("a name");
        match self {
            Self::Mio => {
                Ok(Box::new(OnMio::shake_hands(tls_cork_mio::TlsStream::client_with(mio(tcp)?, config, name, cork)?)?))
            }
            Self::AsyncStd => {
                let connector = TlsConnector::from(config).with_cork(cork).map_err(io::Error::other)?;
                Ok(Box::new(OnPolls::<AsyncStd>::new(AsyncStd::in_time(connector.connect(name, async_std(tcp)?))?)))
            }
            Self::Tokio => Ok(Box::new(OnPolls::<on_tokio::Stream>::new(on_tokio::client(tcp, name, config, cork)?))),
        }
    }

    /// Shakes hands as a server.
    pub(crate) fn server(
        self,
        tcp: TcpStream,
        config: Arc<ServerConfig>,
        cork: CorkConfig,
    ) -> io::Result<Box<dyn Ours>> {
        match self {
            Self::Mio => {
                Ok(Box::new(OnMio::shake_hands(tls_cork_mio::TlsStream::server_with(mio(tcp)?, config, cork)?)?))
            }
            Self::AsyncStd => {
                let acceptor = TlsAcceptor::from(config).with_cork(cork).map_err(io::Error::other)?;
                Ok(Box::new(OnPolls::<AsyncStd>::new(AsyncStd::in_time(acceptor.accept(async_std(tcp)?))?)))
            }
            Self::Tokio => Ok(Box::new(OnPolls::<on_tokio::Stream>::new(on_tokio::server(tcp, config, cork)?))),
        }
    }
}

fn mio(tcp: TcpStream) -> io::Result<Tapped<mio::net::TcpStream>> {
    tcp.set_nonblocking(true)?;
    Ok(Tapped::new(mio::net::TcpStream::from_std(tcp)))
}

fn async_std(tcp: TcpStream) -> io::Result<Tapped<async_std::net::TcpStream>> {
    tcp.set_nodelay(true)?;
    Ok(Tapped::new(tcp.into()))
}

/// The mio driver with a loop of its own.
struct OnMio {
    stream: tls_cork_mio::TlsStream<Tapped<mio::net::TcpStream>>,
    poll: mio::Poll,
    events: Events,
    shaken: Counts,
}

impl OnMio {
    fn shake_hands(mut stream: tls_cork_mio::TlsStream<Tapped<mio::net::TcpStream>>) -> io::Result<Self> {
        let poll = mio::Poll::new()?;
        poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
        let mut ours = Self { stream, poll, events: Events::with_capacity(8), shaken: Counts::default() };
        let end = Instant::now() + LIMIT;
        while ours.stream.is_handshaking() || ours.stream.wants_transmit() {
            ours.turn(end)?;
        }
        ours.shaken = ours.wire().0;
        Ok(ours)
    }

    fn turn(&mut self, end: Instant) -> io::Result<()> {
        let left = end.checked_duration_since(Instant::now()).ok_or(ErrorKind::TimedOut)?;
        let timeout = self.stream.before_poll()?.map_or(left, |timeout| timeout.min(left));
        self.poll.poll(&mut self.events, Some(timeout))?;
        self.events.iter().try_for_each(|event| self.stream.handle_event(event))
    }

    fn send(&mut self, piece: &mut Piece) -> io::Result<()> {
        if piece.data.len() >= SMALL {
            return self.stream.send_bytes(&mut piece.data, piece.flags).map(drop);
        }
        let sent = self.stream.send(&piece.data, piece.flags)?;
        piece.data.advance(sent);
        Ok(())
    }
}

impl Ours for OnMio {
    fn exchange(&mut self, pieces: Vec<Piece>, until: Until) -> io::Result<Vec<u8>> {
        let mut pieces = VecDeque::from(pieces);
        let (mut got, mut ended, mut buf) = (Vec::new(), false, vec![0; 16 * 1024]);
        let end = Instant::now() + LIMIT;
        loop {
            while let Some(piece) = pieces.front_mut() {
                match self.send(piece) {
                    Ok(()) if piece.data.is_empty() => drop(pieces.pop_front()),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    Ok(()) => {}
                    Err(_) => break,
                }
            }
            loop {
                let missing = until.missing(&got, ended).min(buf.len());
                if missing == 0 {
                    break;
                }
                match self.stream.read(&mut buf[..missing]) {
                    Ok(0) if matches!(until, Until::End) => ended = true,
                    Ok(0) => return Err(cut(&got, until)),
                    Ok(n) => got.extend_from_slice(&buf[..n]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if pieces.is_empty() && !self.stream.wants_transmit() && until.missing(&got, ended) == 0 {
                return Ok(got);
            }
            self.turn(end)?;
        }
    }

    fn close(&mut self) -> io::Result<()> {
        self.stream.close()?;
        let end = Instant::now() + LIMIT;
        while !self.stream.is_finished() {
            self.turn(end)?;
        }
        Ok(())
    }

    fn connection(&self) -> &Connection {
        self.stream.connection()
    }

    fn wire(&self) -> (Counts, Counts) {
        self.stream.get_ref().counts()
    }

    fn shaken(&self) -> Counts {
        self.shaken
    }
}

type AsyncStd = tls_cork_async_std::TlsStream<Tapped<async_std::net::TcpStream>>;

/// A stream of a poll-based driver.
pub(crate) trait Polled {
    /// Runs `work` on the runtime of the stream.
    fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T>;
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>>;
    fn poll_send_bytes(&mut self, cx: &mut Context<'_>, data: &mut Bytes, flags: SendFlags) -> Poll<io::Result<usize>>;
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn connection(&self) -> &Connection;
    fn counts(&self) -> (Counts, Counts);
}

impl Polled for AsyncStd {
    fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        block_on(async_std::io::timeout(LIMIT, work))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        self.poll_send(cx, data, flags)
    }

    fn poll_send_bytes(&mut self, cx: &mut Context<'_>, data: &mut Bytes, flags: SendFlags) -> Poll<io::Result<usize>> {
        self.poll_send_bytes(cx, data, flags)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        AsyncRead::poll_read(Pin::new(self), cx, buf)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_close(Pin::new(self), cx)
    }

    fn connection(&self) -> &Connection {
        self.get_ref().1
    }

    fn counts(&self) -> (Counts, Counts) {
        self.get_ref().0.counts()
    }
}

/// A poll-based driver on a socket of its runtime, one operation at a time.
struct OnPolls<S> {
    stream: S,
    shaken: Counts,
}

impl<S: Polled> OnPolls<S> {
    fn new(stream: impl Into<S>) -> Self {
        let stream = stream.into();
        let shaken = stream.counts().0;
        Self { stream, shaken }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, piece: &mut Piece) -> Poll<io::Result<()>> {
        if piece.data.len() >= SMALL {
            return self.stream.poll_send_bytes(cx, &mut piece.data, piece.flags).map_ok(drop);
        }
        let sent = ready!(self.stream.poll_send(cx, &piece.data, piece.flags))?;
        piece.data.advance(sent);
        Poll::Ready(Ok(()))
    }
}

impl<S: Polled> Ours for OnPolls<S> {
    fn exchange(&mut self, pieces: Vec<Piece>, until: Until) -> io::Result<Vec<u8>> {
        let held = pieces.last().is_none_or(|piece| piece.flags.contains(SendFlags::MORE));
        let mut pieces = VecDeque::from(pieces);
        let (mut got, mut ended, mut buf) = (Vec::new(), false, vec![0; 16 * 1024]);
        S::in_time(poll_fn(|cx| {
            while let Some(piece) = pieces.front_mut() {
                match self.poll_send(cx, piece)? {
                    Poll::Ready(()) if piece.data.is_empty() => drop(pieces.pop_front()),
                    Poll::Ready(()) => {}
                    Poll::Pending => break,
                }
            }
            loop {
                let missing = until.missing(&got, ended).min(buf.len());
                if missing == 0 {
                    break;
                }
                match self.stream.poll_read(cx, &mut buf[..missing])? {
                    Poll::Ready(0) if matches!(until, Until::End) => ended = true,
                    Poll::Ready(0) => return Poll::Ready(Err(cut(&got, until))),
                    Poll::Ready(n) => got.extend_from_slice(&buf[..n]),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !pieces.is_empty() {
                return Poll::Pending;
            }
            // Flushing would release what is held.
            if held { Poll::Ready(Ok(())) } else { self.stream.poll_flush(cx) }
        }))?;
        Ok(got)
    }

    fn close(&mut self) -> io::Result<()> {
        S::in_time(poll_fn(|cx| self.stream.poll_close(cx)))
    }

    fn connection(&self) -> &Connection {
        self.stream.connection()
    }

    fn wire(&self) -> (Counts, Counts) {
        self.stream.counts()
    }

    fn shaken(&self) -> Counts {
        self.shaken
    }
}

fn cut(got: &[u8], until: Until) -> io::Error {
    io::Error::other(format!("the stream ended after {} bytes, waiting for {until:?}", got.len()))
}

/// A socket whose records are counted, both ways.
#[derive(Debug)]
pub(crate) struct Tapped<T> {
    pub(crate) socket: T,
    sent: RecordCounter,
    pub(crate) received: RecordCounter,
}

impl<T> Tapped<T> {
    pub(crate) fn new(socket: T) -> Self {
        Self { socket, sent: RecordCounter::default(), received: RecordCounter::default() }
    }

    pub(crate) fn counts(&self) -> (Counts, Counts) {
        (Counts::of(&self.sent), Counts::of(&self.received))
    }

    pub(crate) fn count_sent(&mut self, bufs: &[IoSlice<'_>], taken: usize) {
        self.sent.advance_slices(bufs, taken, |_, _| ());
    }
}

impl<T: Read> Read for Tapped<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.socket.read(buf)?;
        self.received.advance(&buf[..n]);
        Ok(n)
    }
}

impl Transport for Tapped<mio::net::TcpStream> {
    fn send(&mut self, bufs: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let n = self.socket.send(bufs, more)?;
        self.count_sent(bufs, n);
        Ok(n)
    }

    fn prepare(&mut self) -> io::Result<()> {
        self.socket.prepare()
    }

    fn is_drained_by_short_read(&self) -> bool {
        self.socket.is_drained_by_short_read()
    }
}

impl<T: event::Source> event::Source for Tapped<T> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.socket.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.socket.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tapped<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.received.advance(&buf[..n]);
        Poll::Ready(Ok(n))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tapped<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.count_sent(bufs, n);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
