//! [`tls_cork`] for tokio: TLS streams whose writes take the flag `MORE` ("more is coming").
//!
//! [`TlsConnector`], [`TlsAcceptor`], [`LazyConfigAcceptor`] and [`TlsStream`] have the shape of
//! tokio-rustls 0.26: a program moves over by changing its `use` lines. Its writes leave as before,
//! and gain the core's batches. On top, each write takes flags:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # async fn example(
//! #     config: Arc<rustls::ClientConfig>, header: &[u8], mut body: bytes::Bytes, mut buf: [u8; 100],
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use tls_cork_tokio::{SendFlags, TlsConnector}; // was: use tokio_rustls::TlsConnector;
//!
//! let tcp = tokio::net::TcpStream::connect("example.org:443").await?;
//! tcp.set_nodelay(true)?;
//! let mut stream = TlsConnector::from(config).connect("example.org".try_into()?, tcp).await?;
//! stream.send_all(&header, SendFlags::MORE).await?; // held: more is coming, within 10 ms
//! stream.send_all_bytes(&mut body, SendFlags::NONE).await?; // both leave in one record; `body` was not copied
//! stream.write_all(b"as before").await?; // leaves without a flush
//! let n = stream.read(&mut buf).await?; // if it has to wait, what this task holds leaves first
//! let (reader, writer) = stream.into_split(); // for two tasks; `reader.reunite(writer)` joins them
//! # Ok(())
//! # }
//! ```
//!
//! # When bytes leave
//!
//! - A write without flags keeps a socket's promise: it leaves without a flush, in the call, as far
//!   as the transport takes it. What the transport did not take leaves when any operation is polled
//!   after the transport has woken the task, reads included.
//! - `AsyncWrite` accepts nothing while the transport pushes back and bytes wait. A caller that
//!   polls its stream only to write, such as `copy_bidirectional`, leaves behind the end of one
//!   write at most, and 64 KiB. `send` and its like accept up to
//!   [`send_buffer_limit`](tls_cork::CorkConfig::send_buffer_limit), so that small writes share
//!   records.
//! - One poll accepts and transmits about 256 KiB at most. Calls that are ready take from tokio's
//!   cooperative budget, so that a task that always finds plaintext does not starve others.
//! - What [`MORE`](SendFlags::MORE) holds leaves with the last piece, by `flush` or `shutdown`, or
//!   at its deadline ([`max_hold`](tls_cork::CorkConfig::max_hold)). A read that has to wait
//!   releases what *the same task* holds
//!   ([`flush_on_read_wait`](tls_cork::CorkConfig::flush_on_read_wait)): its answer cannot come
//!   otherwise. Tasks are told apart by their wakers. Within `FuturesUnordered` and its like each
//!   future counts as a task.
//! - Dropping a stream discards what is held and what the transport has not taken. A stream that is
//!   shut down and dropped can still lose what the transport has taken: end it with
//!   `close_gracefully`, which waits for the peer's end.
//!
//! # The deadline
//!
//! The first call that may hold (a send with `MORE`, or a write while corked) spawns a task on the
//! runtime of its caller. From then on held bytes leave within `max_hold`, and so does what the
//! transport did not take at once, while nothing of the stream is polled. A stream that never holds
//! has no task, no timer and no lock.
//!
//! - Such a call needs a tokio runtime with timers. Outside of one, it returns an error and accepts
//!   nothing; on a runtime without `enable_time` it panics, as tokio's timers do. Everything else
//!   works on any executor, if the transport does.
//! - The task is dropped with its runtime. The next call that may hold spawns another one.
//! - [`get_ref`](Stream::get_ref) and [`get_mut`](Stream::get_mut) give plain references, for which
//!   the task cannot have the stream meanwhile: they release what is held.
//!   [`with_ref`](Stream::with_ref) does not.
//! - [`connect_local`](TlsConnector::connect_local), [`accept_local`](TlsAcceptor::accept_local)
//!   and [`into_stream_local`](StartHandshake::into_stream_local) take transports that are not
//!   `Send + 'static`. Their deadlines fire when any operation is polled, and wake a read that
//!   waits.
//!
//! # What differs from tokio-rustls
//!
//! - The transport is `Send + 'static`, or the stream is made by the `local` constructors.
//! - The rustls connection is not handed out: it would accept plaintext behind the cork. `get_ref`
//!   and `into_inner` give a [`tls_cork::Connection`] in its place, with getters of the same names
//!   for what was agreed on (but not `tls13_tickets_received` and `ech_status`); `get_mut` gives it
//!   shared. Settings that need `&mut` go in the closure of
//!   [`connect_with`](TlsConnector::connect_with), [`accept_with`](TlsAcceptor::accept_with) and
//!   [`into_stream_with`](StartHandshake::into_stream_with), which are for settings alone: what
//!   they write leaves at the end of the handshake and is not counted, and a buffer limit is
//!   lifted.
//! - Early data is out of scope: a client offers none, and a server refuses it, so that the client
//!   sends it again. There is no `TlsConnector::early_data`.
//! - A KeyUpdate that asks for an answer is answered at once, and not with the next write.
//! - No crypto provider is enabled by default: choose the feature `aws-lc-rs` or `ring`, or one of
//!   rustls's own. TLS 1.2 is the feature `tls12`.
//! - Errors of the transport come through unchanged. Those of TLS hold the [`rustls::Error`], or,
//!   if accepted plaintext was lost with the connection, a [`tls_cork::ReceiveError`] or
//!   [`tls_cork::TransmitError`] that says how much. If the peer does not seem to speak TLS, it is
//!   a `ReceiveError` too, which says so.
//! - An end without `close_notify` is `UnexpectedEof` at every read, not only the first.
//! - `tokio::io::split` works; `into_split` gives halves that have `send` and its like.
//!
//! # Transports
//!
//! tokio's `TcpStream` and `UnixStream` get gathered sends, which say on Linux and Android when
//! more bytes follow at once (`MSG_MORE` of send(2)): the kernel then does not end a segment in the
//! middle of a large write. Held bytes do not count: what is to leave is not kept by the kernel. No
//! other type does so, also if it has a descriptor: a TLS stream may be the transport of another. A
//! transport should take vectored writes; with the default `poll_write_vectored` each record is a
//! write of its own. Set TCP_NODELAY on a socket, since Nagle's algorithm would be one more delay.
//!
//! # Features
//!
//! `aws-lc-rs`, `ring`, `fips`, `tls12`, `logging`: the features of rustls with these names. No
//! crypto provider is enabled by default.
//!
//! This crate re-exports [`rustls`], [`pki_types`], [`bytes`] and [`tls_cork`], and the types of
//! every program: [`SendFlags`], [`CorkConfig`], [`Stats`].

mod acceptor;
mod connector;
mod halves;
mod handle;
mod io;
mod keeper;
mod lazy;
mod polls;
mod sides;
mod socket;
mod stream;

pub use acceptor::{Accept, FallibleAccept, TlsAcceptor};
pub use bytes;
pub use connector::{Connect, FallibleConnect, TlsConnector, TlsConnectorWithAlpn};
pub use halves::{IntoInnerError, OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use lazy::{LazyConfigAcceptor, StartHandshake};
pub use rustls;
pub use rustls::pki_types;
pub use sides::{TlsStream, client, server};
pub use stream::Stream;
pub use tls_cork::{self, CorkConfig, SendFlags, Stats};
