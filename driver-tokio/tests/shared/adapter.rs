//! The API of `tls-cork-async-std` on streams of `tls-cork-tokio`.
//!
//! Transports and streams change sides between the traits of futures-io and those of tokio. Each
//! poll is within a tokio runtime, on whatever executor. Streams are local ones: the tests say when
//! nothing may leave unpolled.
#![allow(missing_docs, unreachable_pub, dead_code, reason = "stands in for a crate, of which each test uses a part")]

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Sink;
use rustls::pki_types::ServerName;
use rustls::server::{Acceptor, ClientHello};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tls_cork_tokio as ours;
use tls_cork_tokio::tls_cork::{ConfigError, Connection};
use tokio::io::ReadBuf;
use tokio::runtime::{Builder, Runtime};

pub use tls_cork_tokio::{CorkConfig, SendFlags, Stats, bytes, pki_types, rustls, tls_cork};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime"));

fn inside<R>(f: impl FnOnce() -> R) -> R {
    let _entered = RUNTIME.enter();
    f()
}

/// A transport of futures-io for tokio.
#[derive(Debug)]
pub struct Io<IO>(pub IO);

impl<IO: futures_io::AsyncRead + Unpin> tokio::io::AsyncRead for Io<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let len = ready!(Pin::new(&mut self.0).poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<IO: futures_io::AsyncWrite + Unpin> tokio::io::AsyncWrite for Io<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// A future or a stream of tokio's driver, polled within the runtime.
#[derive(Debug)]
pub struct Inside<T>(T);

impl<T: tokio::io::AsyncRead + Unpin> futures_io::AsyncRead for Inside<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(inside(|| Pin::new(&mut self.0).poll_read(cx, &mut buf)))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<T: tokio::io::AsyncBufRead + Unpin> futures_io::AsyncBufRead for Inside<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        inside(|| Pin::new(&mut self.get_mut().0).poll_fill_buf(cx))
    }

    fn consume(mut self: Pin<&mut Self>, len: usize) {
        Pin::new(&mut self.0).consume(len);
    }
}

impl<T: tokio::io::AsyncWrite + Unpin> futures_io::AsyncWrite for Inside<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        inside(|| Pin::new(&mut self.0).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside(|| Pin::new(&mut self.0).poll_write_vectored(cx, bufs))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside(|| Pin::new(&mut self.0).poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside(|| Pin::new(&mut self.0).poll_shutdown(cx))
    }
}

impl<S> Sink<Bytes> for Inside<ours::MessageSink<S>>
where
    ours::MessageSink<S>: Sink<Bytes, Error = io::Error> + Unpin,
{
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside(|| Pin::new(&mut self.0).poll_ready(cx))
    }

    fn start_send(mut self: Pin<&mut Self>, piece: Bytes) -> io::Result<()> {
        inside(|| Pin::new(&mut self.0).start_send(piece))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside(|| Pin::new(&mut self.0).poll_flush(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside(|| Pin::new(&mut self.0).poll_close(cx))
    }
}

impl<S> Inside<ours::MessageSink<S>> {
    pub fn get_ref(&self) -> &S {
        self.0.get_ref()
    }

    pub fn get_mut(&mut self) -> Inside<&mut S> {
        Inside(self.0.get_mut())
    }

    pub fn into_inner(self) -> (Inside<S>, Bytes) {
        let (stream, rest) = self.0.into_inner();
        (Inside(stream), rest)
    }
}

/// What a handshake gives, in this API.
pub trait Adapt {
    type Adapted;
    fn adapt(self) -> Self::Adapted;
}

impl<H> Adapt for ours::Stream<H> {
    type Adapted = Inside<Self>;
    fn adapt(self) -> Inside<Self> {
        Inside(self)
    }
}

impl<IO> Adapt for (io::Error, Io<IO>) {
    type Adapted = (io::Error, IO);
    fn adapt(self) -> Self::Adapted {
        (self.0, self.1.0)
    }
}

impl Adapt for io::Error {
    type Adapted = Self;
    fn adapt(self) -> Self {
        self
    }
}

impl<T: Adapt, E: Adapt> Adapt for Result<T, E> {
    type Adapted = Result<T::Adapted, E::Adapted>;
    fn adapt(self) -> Self::Adapted {
        self.map(T::adapt).map_err(E::adapt)
    }
}

impl<F: Future<Output: Adapt> + Unpin> Future for Inside<F> {
    type Output = <F::Output as Adapt>::Adapted;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        inside(|| Pin::new(&mut self.0).poll(cx)).map(Adapt::adapt)
    }
}

pub mod client {
    pub type TlsStream<IO> = super::Inside<tls_cork_tokio::client::TlsStream<super::Io<IO>>>;
}

pub mod server {
    pub type TlsStream<IO> = super::Inside<tls_cork_tokio::server::TlsStream<super::Io<IO>>>;
}

pub type TlsStream<IO> = Inside<ours::TlsStream<Io<IO>>>;
pub type ReadHalf<IO> = Inside<ours::OwnedReadHalf<Io<IO>>>;
pub type WriteHalf<IO> = Inside<ours::OwnedWriteHalf<Io<IO>>>;
pub type Connect<IO> = Inside<ours::Connect<Io<IO>>>;
pub type Accept<IO> = Inside<ours::Accept<Io<IO>>>;

/// In the place of a `DeadlineTask`: does nothing.
#[derive(Debug)]
pub struct DeadlineTask<IO>(PhantomData<fn() -> IO>);

impl<IO> Future for DeadlineTask<IO> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl<IO> From<client::TlsStream<IO>> for TlsStream<IO> {
    fn from(stream: client::TlsStream<IO>) -> Self {
        Inside(stream.0.into())
    }
}

impl<IO> From<server::TlsStream<IO>> for TlsStream<IO> {
    fn from(stream: server::TlsStream<IO>) -> Self {
        Inside(stream.0.into())
    }
}

macro_rules! writes {
    ($($stream:ident),*) => {$(
        impl<IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin> Inside<ours::$stream<Io<IO>>> {
            writes!(@ $stream);
        }
    )*};
    (@ $($side:ident)::*) => {
        pub fn into_message_sink(self) -> Inside<ours::MessageSink<ours::$($side)::*<Io<IO>>>> {
            Inside(self.0.into_message_sink())
        }

        pub async fn send(&mut self, data: &[u8], flags: SendFlags) -> io::Result<usize> {
            std::future::poll_fn(|cx| self.poll_send(cx, data, flags)).await
        }

        pub async fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
            std::future::poll_fn(|cx| self.poll_send_vectored(cx, bufs, flags)).await
        }

        pub async fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<usize> {
            std::future::poll_fn(|cx| self.poll_send_bytes(cx, data, flags)).await
        }

        pub async fn send_all(&mut self, data: &[u8], flags: SendFlags) -> io::Result<()> {
            let mut send = std::pin::pin!(self.0.send_all(data, flags));
            std::future::poll_fn(|cx| inside(|| send.as_mut().poll(cx))).await
        }

        pub async fn send_all_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> io::Result<()> {
            let mut send = std::pin::pin!(self.0.send_all_bytes(data, flags));
            std::future::poll_fn(|cx| inside(|| send.as_mut().poll(cx))).await
        }

        pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
            inside(|| self.0.poll_send(cx, data, flags))
        }

        pub fn poll_send_vectored(
            &mut self,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
            flags: SendFlags,
        ) -> Poll<io::Result<usize>> {
            inside(|| self.0.poll_send_vectored(cx, bufs, flags))
        }

        pub fn poll_send_bytes(
            &mut self,
            cx: &mut Context<'_>,
            data: &mut Bytes,
            flags: SendFlags,
        ) -> Poll<io::Result<usize>> {
            inside(|| self.0.poll_send_bytes(cx, data, flags))
        }

        pub fn cork(&mut self) {
            self.0.cork();
        }

        pub async fn uncork(&mut self) -> io::Result<()> {
            let mut done = std::pin::pin!(self.0.uncork());
            std::future::poll_fn(|cx| inside(|| done.as_mut().poll(cx))).await
        }

        pub async fn abort(&mut self) -> io::Result<usize> {
            let mut done = std::pin::pin!(self.0.abort());
            std::future::poll_fn(|cx| inside(|| done.as_mut().poll(cx))).await
        }

        pub fn stats(&self) -> Stats {
            self.0.stats()
        }
    };
}

macro_rules! streams {
    ($($side:ident)::* ) => {
        impl<IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin> Inside<ours::$($side)::*<Io<IO>>> {
            writes!(@ $($side)::*);

            pub async fn close_gracefully(&mut self) -> io::Result<()> {
                let mut done = std::pin::pin!(self.0.close_gracefully());
                std::future::poll_fn(|cx| inside(|| done.as_mut().poll(cx))).await
            }
        }

        impl<IO> Inside<ours::$($side)::*<Io<IO>>> {
            pub fn get_ref(&self) -> (&IO, &Connection) {
                let (io, session) = inside(|| self.0.get_ref());
                (&io.0, session)
            }

            pub fn get_mut(&mut self) -> (&mut IO, &Connection) {
                let (io, session) = inside(|| self.0.get_mut());
                (&mut io.0, session)
            }

            pub fn into_inner(self) -> (IO, Connection) {
                let (io, session) = self.0.into_inner();
                (io.0, session)
            }

            pub fn into_split(self) -> (ReadHalf<IO>, WriteHalf<IO>) {
                let (reader, writer) = self.0.into_split();
                (Inside(reader), Inside(writer))
            }

            /// A stream with its engine under a lock. The task is that of the driver, if any.
            pub fn with_deadline_task(self) -> (TlsStream<IO>, DeadlineTask<IO>) {
                let (reader, writer) = self.0.into_split();
                (Inside(reader.reunite(writer).expect("both halves")), DeadlineTask(PhantomData))
            }

            /// tokio's sockets are told by themselves, these are none.
            pub fn with_msg_more(self) -> Self {
                self
            }
        }
    };
}

writes!(OwnedWriteHalf);
streams!(TlsStream);
streams!(client::TlsStream);
streams!(server::TlsStream);

macro_rules! halves {
    ($($half:ident),*) => {$(
        impl<IO> Inside<ours::$half<Io<IO>>> {
            pub fn with_ref<R>(&self, f: impl FnOnce(&IO, &Connection) -> R) -> R {
                self.0.with_ref(|io, session| f(&io.0, session))
            }

            pub fn into_inner(self) -> Result<(IO, Connection), ours::IntoInnerError<ours::$half<Io<IO>>>> {
                self.0.into_inner().map(|(io, session)| (io.0, session))
            }
        }
    )*};
}

halves!(OwnedReadHalf, OwnedWriteHalf);

impl<IO> WriteHalf<IO> {
    pub fn reunite(self, reader: ReadHalf<IO>) -> Result<TlsStream<IO>, ReuniteError<IO>> {
        self.0.reunite(reader.0).map(Inside).map_err(|error| {
            let text = error.to_string();
            ReuniteError(Inside(error.0), Inside(error.1), text)
        })
    }
}

/// The halves, and the text of the error.
#[derive(Debug)]
pub struct ReuniteError<IO>(pub ReadHalf<IO>, pub WriteHalf<IO>, String);

impl<IO> fmt::Display for ReuniteError<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.2)
    }
}

#[derive(Clone, Debug)]
pub struct TlsConnector(ours::TlsConnector, Arc<ClientConfig>, CorkConfig);

#[derive(Clone, Debug)]
pub struct TlsAcceptor(ours::TlsAcceptor, Arc<ServerConfig>, CorkConfig);

impl From<Arc<ClientConfig>> for TlsConnector {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(config.clone().into(), config, CorkConfig::default())
    }
}

impl From<Arc<ServerConfig>> for TlsAcceptor {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(config.clone().into(), config, CorkConfig::default())
    }
}

impl TlsConnector {
    pub fn with_cork(self, cork: CorkConfig) -> Result<Self, ConfigError> {
        Ok(Self(self.0.with_cork(cork.clone())?, self.1, cork))
    }

    pub fn connect<IO>(&self, name: ServerName<'static>, io: IO) -> Connect<IO>
    where
        IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin,
    {
        Inside(self.0.connect_local(name, Io(io)))
    }

    /// There is no local one of these.
    pub fn connect_with<IO, F>(&self, name: ServerName<'static>, io: IO, f: F) -> Connect<IO>
    where
        IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(&mut ClientConnection),
    {
        Inside(self.0.connect_with(name, Io(io), f))
    }
}

impl TlsAcceptor {
    pub fn with_cork(self, cork: CorkConfig) -> Result<Self, ConfigError> {
        Ok(Self(self.0.with_cork(cork.clone())?, self.1, cork))
    }

    pub fn accept<IO>(&self, io: IO) -> Accept<IO>
    where
        IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin,
    {
        Inside(self.0.accept_local(Io(io)))
    }

    /// There is no local one of these.
    pub fn accept_with<IO, F>(&self, io: IO, f: F) -> Accept<IO>
    where
        IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin + Send + 'static,
        F: FnOnce(&mut ServerConnection),
    {
        Inside(self.0.accept_with(Io(io), f))
    }
}

impl<IO> Connect<IO> {
    pub fn into_fallible(self) -> Inside<ours::FallibleConnect<Io<IO>>> {
        Inside(self.0.into_fallible())
    }

    pub fn get_ref(&self) -> Option<&IO> {
        self.0.get_ref().map(|io| &io.0)
    }
}

impl<IO> Accept<IO> {
    pub fn into_fallible(self) -> Inside<ours::FallibleAccept<Io<IO>>> {
        Inside(self.0.into_fallible())
    }

    pub fn get_ref(&self) -> Option<&IO> {
        self.0.get_ref().map(|io| &io.0)
    }
}

#[derive(Debug)]
pub struct LazyConfigAcceptor<IO>(ours::LazyConfigAcceptor<Io<IO>>);
#[derive(Debug)]
pub struct StartHandshake<IO>(ours::StartHandshake<Io<IO>>);

impl<IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin> LazyConfigAcceptor<IO> {
    pub fn new(acceptor: Acceptor, io: IO) -> Self {
        Self(ours::LazyConfigAcceptor::new(acceptor, Io(io)))
    }

    pub fn take_io(&mut self) -> Option<IO> {
        self.0.take_io().map(|io| io.0)
    }
}

impl<IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin> Future for LazyConfigAcceptor<IO> {
    type Output = io::Result<StartHandshake<IO>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        inside(|| Pin::new(&mut self.0).poll(cx)).map_ok(StartHandshake)
    }
}

impl<IO: futures_io::AsyncRead + futures_io::AsyncWrite + Unpin> StartHandshake<IO> {
    pub fn client_hello(&self) -> ClientHello<'_> {
        self.0.client_hello()
    }

    pub fn get_ref(&self) -> &IO {
        &self.0.io.0
    }

    pub fn with_cork(self, cork: CorkConfig) -> Result<Self, ConfigError> {
        self.0.with_cork(cork).map(Self)
    }

    pub fn into_stream(self, config: Arc<ServerConfig>) -> Accept<IO> {
        Inside(self.0.into_stream_local(config))
    }
}
