//! [`tls_cork`] for tokio: TLS streams whose writes take the flag `MORE` ("more is coming").
//!
//! [`TlsConnector`], [`TlsAcceptor`], [`LazyConfigAcceptor`] and [`TlsStream`] have the shape of
//! tokio-rustls 0.26: a program moves over by changing its `use` lines. Its writes leave without a
//! flush, as before. In addition, each write takes flags:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # async fn example(
//! #     config: Arc<rustls::ClientConfig>, header: &[u8],
//! #     mut body: bytes::Bytes, mut buf: [u8; 100],
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use tls_cork_tokio::{SendFlags, TlsConnector}; // was: use tokio_rustls::TlsConnector;
//!
//! let tcp = tokio::net::TcpStream::connect("example.org:443").await?;
//! tcp.set_nodelay(true)?;
//! let mut stream = TlsConnector::from(config).connect("example.org".try_into()?, tcp).await?;
//! stream.send_all(&header, SendFlags::MORE).await?; // held: more is coming, within 10 ms
//! stream.send_all_bytes(&mut body, SendFlags::NONE).await?; // both leave in one record
//! stream.write_all(b"as before").await?; // leaves without a flush
//! let n = stream.read(&mut buf).await?; // before the read waits, held bytes leave
//! let (reader, writer) = stream.into_split(); // for two tasks; `reunite` joins
//! # Ok(())
//! # }
//! ```
//!
//! [`MessageSink`] takes the pieces of messages as a `Sink` of futures-sink: `feed`, then `flush`.
//!
//! # When bytes leave
//!
//! - A write without flags leaves without a flush, in the call, as far as the transport takes it.
//!   The rest leaves when any operation, such as a read, is polled after the transport has woken
//!   the task.
//! - `AsyncWrite` accepts nothing while the transport pushes back and bytes wait. A caller that
//!   polls its stream only to write, such as `copy_bidirectional`, leaves at most the end of one
//!   write waiting: 64 KiB at most, or 96 KiB if the transport has just taken 256 KiB. The `send`
//!   methods accept up to [`send_buffer_limit`](tls_cork::CorkConfig::send_buffer_limit), so that
//!   small writes share records.
//! - One poll accepts and transmits about 256 KiB at most. Polls that are ready take from tokio's
//!   cooperative budget, so that a task that always finds plaintext does not starve others.
//! - Bytes held by [`MORE`](SendFlags::MORE) leave with the last piece, by `flush` or `shutdown`,
//!   or at their deadline ([`max_hold`](tls_cork::CorkConfig::max_hold)). Before a read waits, the
//!   bytes that *the same task* holds are released
//!   ([`flush_on_read_wait`](tls_cork::CorkConfig::flush_on_read_wait)), because the peer's answer
//!   may depend on them. Tasks are identified by their wakers. Each future in a `FuturesUnordered`
//!   or a similar collection counts as a task.
//! - A stream that is dropped discards held bytes and all others that the transport has not taken.
//!   A stream that is shut down and dropped can still lose bytes that the transport has taken: end
//!   it with `close_gracefully`, which waits for the peer's end of the stream.
//!
//! # The deadline
//!
//! The first call that may hold (a send with `MORE`, or a write while corked) spawns a task on the
//! runtime of its caller. From then on, held bytes leave after `max_hold` while nothing polls the
//! stream (R15). Bytes that the transport did not take at once leave when it has room. A stream
//! that never holds has no task, no timer and no lock.
//!
//! - Such a call needs a tokio runtime with timers. Outside of a runtime it returns an error and
//!   accepts nothing. On a runtime without `enable_time` it panics, as tokio's timers do. All other
//!   calls work on any executor, if the transport does.
//! - The task is dropped with its runtime. The next call that may hold spawns another one.
//! - [`get_ref`](Stream::get_ref) and [`get_mut`](Stream::get_mut) return plain references. The
//!   task cannot reach the stream while they exist, so both calls release held bytes.
//!   [`with_ref`](Stream::with_ref) does not.
//! - [`connect_local`](TlsConnector::connect_local), [`accept_local`](TlsAcceptor::accept_local)
//!   and [`into_stream_local`](StartHandshake::into_stream_local) take transports that are not
//!   `Send + 'static`. Their deadlines fire when any operation is polled, and wake a read that
//!   waits.
//!
//! # Differences from tokio-rustls
//!
//! - The transport is `Send + 'static`, or the stream is made by a `local` constructor.
//! - The rustls connection is not accessible, because it would accept plaintext past the cork.
//!   `get_ref` and `into_inner` return a [`tls_cork::Connection`] in its place. It has getters of
//!   the same names for the negotiated parameters, except `tls13_tickets_received` and
//!   `ech_status`. `get_mut` returns it as a shared reference. Settings that need `&mut` go in the
//!   closure of [`connect_with`](TlsConnector::connect_with),
//!   [`accept_with`](TlsAcceptor::accept_with) and
//!   [`into_stream_with`](StartHandshake::into_stream_with), which are for settings only: plaintext
//!   that they write leaves at the end of the handshake and is not counted, and a buffer limit that
//!   they set is replaced.
//! - Early data is not supported: a client offers none, and a server refuses it, so that the client
//!   sends it again. There is no `TlsConnector::early_data`.
//! - A KeyUpdate that requests an answer is answered at once, not with the next write (RFC 8446,
//!   section 4.6.3).
//! - No crypto provider is enabled by default: choose the feature `aws-lc-rs` or `ring`, or one of
//!   rustls's own. TLS 1.2 is the feature `tls12`.
//! - Errors of the transport are returned unchanged. Errors of TLS hold the [`rustls::Error`]. If
//!   accepted plaintext was lost with the connection, they hold a [`tls_cork::ReceiveError`] or
//!   [`tls_cork::TransmitError`] with the number of bytes. If the peer's bytes are not TLS, they
//!   hold a `ReceiveError`.
//! - An end without `close_notify` is `UnexpectedEof` at every read, not only the first.
//! - `tokio::io::split` works; `into_split` returns halves with the `send` methods.
//!
//! # Transports
//!
//! Sends on tokio's `TcpStream` and `UnixStream` carry `MSG_MORE` of send(2) on Linux and Android
//! when more bytes follow at once. The kernel then does not end a segment in the middle of a large
//! write. Held bytes do not set the flag (R8), so the kernel does not delay released bytes. No
//! other type gets the flag, even if it has a descriptor: a TLS stream may be the transport of
//! another.
//!
//! A transport should implement `poll_write_vectored`; with its default, each record is a write of
//! its own. Set `TCP_NODELAY` of tcp(7) on a socket: Nagle's algorithm would add a delay.
//!
//! # Features
//!
//! `aws-lc-rs`, `ring`, `fips`, `tls12`, `logging`: the features of rustls with these names. No
//! crypto provider is enabled by default.
//!
//! `hyper-util`: `HttpsConnector` for the client of hyper-util, and hyper-util's `Connection` for
//! client streams. hyper's server needs no feature: it takes a stream in a `TokioIo`.
//!
//! This crate re-exports [`rustls`], [`pki_types`], [`bytes`] and [`tls_cork`], and three types of
//! the core: [`SendFlags`], [`CorkConfig`], [`Stats`].

mod acceptor;
mod connector;
mod halves;
mod handle;
#[cfg(feature = "hyper-util")]
mod https;
mod io;
mod keeper;
mod lazy;
mod polls;
mod sides;
mod sink;
mod socket;
mod stream;

pub use acceptor::{Accept, FallibleAccept, TlsAcceptor};
pub use bytes;
pub use connector::{Connect, FallibleConnect, TlsConnector, TlsConnectorWithAlpn};
pub use halves::{IntoInnerError, OwnedReadHalf, OwnedWriteHalf, ReuniteError};
#[cfg(feature = "hyper-util")]
pub use https::HttpsConnector;
pub use lazy::{LazyConfigAcceptor, StartHandshake};
pub use rustls;
pub use rustls::pki_types;
pub use sides::{TlsStream, client, server};
pub use sink::MessageSink;
pub use stream::Stream;
pub use tls_cork::{self, CorkConfig, SendFlags, Stats};
