//! [`tls_cork`] for async-std, smol and every other program on [`futures_io`].
//!
//! [`TlsConnector`], [`TlsAcceptor`], [`LazyConfigAcceptor`] and [`TlsStream`] have the shape of
//! futures-rustls 0.26: a program moves over by changing its `use` lines. Its writes leave as
//! before, and gain the core's batches. On top, each write takes flags:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use futures_util::{AsyncReadExt, AsyncWriteExt};
//! # async fn example(
//! #     config: Arc<rustls::ClientConfig>, header: &[u8], mut body: bytes::Bytes, mut buf: [u8; 100],
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use tls_cork_async_std::{SendFlags, TlsConnector}; // was: use futures_rustls::TlsConnector;
//!
//! let tcp = async_std::net::TcpStream::connect("example.org:443").await?;
//! let mut stream = TlsConnector::from(config).connect("example.org".try_into()?, tcp).await?;
//! stream.send_all(&header, SendFlags::MORE).await?; // held: more is coming
//! stream.send_all_bytes(&mut body, SendFlags::NONE).await?; // both leave in one record; `body` was not copied
//! stream.write_all(b"as before").await?; // leaves without a flush
//! let n = stream.read(&mut buf).await?; // if it has to wait, what this task holds leaves first
//! let (stream, deadlines) = stream.with_deadline_task(); // for a task that holds, then does something else:
//! async_std::task::spawn(deadlines); // the 10 ms are kept though nobody polls
//! # Ok(())
//! # }
//! ```
//!
//! # When bytes leave
//!
//! - A write without flags keeps a socket's promise: it leaves without a flush, in the call, as far
//!   as the transport takes it. What the transport did not take leaves when any operation is polled
//!   after the transport has woken the task, reads included, or unpolled if there is a
//!   [`DeadlineTask`].
//! - `AsyncWrite` accepts nothing while the transport pushes back and bytes wait. A caller that
//!   polls its stream only to write, such as `io::copy`, leaves behind the end of one write at
//!   most, and 64 KiB. `send` and its like accept up to
//!   [`send_buffer_limit`](tls_cork::CorkConfig::send_buffer_limit), so that small writes share
//!   records.
//! - One poll accepts and transmits about 256 KiB at most, then lets others have their turn.
//! - What [`MORE`](tls_cork::SendFlags::MORE) holds leaves with the last piece, by `flush` or
//!   `close`, or at its deadline ([`max_hold`](tls_cork::CorkConfig::max_hold)). The deadline fires
//!   when any operation is polled, and wakes a read that waits. A task that holds, then does
//!   something else while nobody reads, needs a [`DeadlineTask`].
//! - A read that has to wait releases what *the same task* holds
//!   ([`flush_on_read_wait`](tls_cork::CorkConfig::flush_on_read_wait)): its answer cannot come
//!   otherwise. Tasks are told apart by their wakers, so that a reader in another task does not cut
//!   short what a writer gathers. Within `FuturesUnordered` and its like each future counts as a
//!   task.
//! - Dropping a stream discards what is held and what the transport has not taken. A stream that is
//!   closed and dropped can still lose what the transport has taken: end it with
//!   `close_gracefully`, which waits for the peer's end.
//!
//! # What differs from futures-rustls
//!
//! - The rustls connection is not handed out: it would accept plaintext behind the cork. `get_ref`
//!   and `into_inner` give a [`tls_cork::Connection`] in its place, with getters of the same names
//!   for what was agreed on (but not `tls13_tickets_received` and `ech_status`); `get_mut` gives it
//!   shared. Settings that need `&mut` go in the closure of
//!   [`connect_with`](TlsConnector::connect_with), [`accept_with`](TlsAcceptor::accept_with) and
//!   [`into_stream_with`](StartHandshake::into_stream_with).
//! - Early data is out of scope: a client offers none, and a server refuses it, so that the client
//!   sends it again. There is no `TlsConnector::early_data`.
//! - A KeyUpdate that asks for an answer is answered at once, and not with the next write.
//! - No crypto provider is enabled by default: choose the feature `aws-lc-rs` or `ring`, or one of
//!   rustls's own. TLS 1.2 is the feature `tls12`.
//! - Errors of the transport come through unchanged. Those of TLS hold the [`rustls::Error`], or,
//!   if accepted plaintext was lost with the connection, a [`tls_cork::ReceiveError`] or
//!   [`tls_cork::TransmitError`] that says how much. If the peer does not seem to speak TLS, it is a
//!   `ReceiveError` too, which says so.
//! - An end without `close_notify` is `UnexpectedEof` at every read, not only the first.
//!
//! # Which runtime
//!
//! Any. Streams are made of whatever implements the traits of `futures_io`: async-std's, smol's and
//! async-net's sockets do, and tokio's behind `tokio_util::compat`. Timers are those of async-io,
//! whose one reactor thread serves the whole process. async-std itself is no longer developed; its
//! maintainers point to smol.
//!
//! The transport should take vectored writes: with the default `poll_write_vectored`, and with
//! tokio's compatibility layer, each record is a write of its own. A [`Socket`] can be told that
//! more follows ([`with_msg_more`](Stream::with_msg_more)), other transports cannot. Set
//! TCP_NODELAY on a socket, since Nagle's algorithm would be one more delay.
//!
//! # Features
//!
//! `aws-lc-rs`, `ring`, `fips`, `tls12`, `logging`: the features of rustls with these names. No
//! crypto provider is enabled by default. `async-net`: [`Socket`] for the sockets of async-net, which
//! are those of smol.
//!
//! This crate re-exports [`rustls`], [`pki_types`], [`bytes`] and [`tls_cork`], and the types of every
//! program: [`SendFlags`], [`CorkConfig`], [`Stats`].

mod acceptor;
mod connector;
mod handle;
mod io;
mod lazy;
mod shared;
mod sides;
mod socket;
mod stream;

pub use acceptor::{Accept, FallibleAccept, TlsAcceptor};
pub use bytes;
pub use connector::{Connect, FallibleConnect, TlsConnector};
pub use lazy::{LazyConfigAcceptor, StartHandshake};
pub use rustls;
pub use rustls::pki_types;
pub use shared::{DeadlineTask, IntoInnerError, ReadHalf, ReuniteError, SharedStream, WriteHalf};
pub use sides::{TlsStream, client, server};
pub use socket::Socket;
pub use stream::Stream;
pub use tls_cork::{self, CorkConfig, SendFlags, Stats};
