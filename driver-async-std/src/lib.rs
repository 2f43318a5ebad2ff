//! [`tls_cork`] for async-std, smol and every other program on [`futures_io`].
//!
//! [`TlsConnector`], [`TlsAcceptor`], [`LazyConfigAcceptor`] and [`TlsStream`] have the shape of
//! futures-rustls 0.26: a program moves over by changing its `use` lines. Its writes leave without
//! a flush, as before. In addition, each write takes flags:
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use futures_util::{AsyncReadExt, AsyncWriteExt};
//! # async fn example(
//! #     config: Arc<rustls::ClientConfig>, header: &[u8],
//! #     mut body: bytes::Bytes, mut buf: [u8; 100],
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use tls_cork_async_std::{SendFlags, TlsConnector}; // was: use futures_rustls::TlsConnector;
//!
//! let tcp = async_std::net::TcpStream::connect("example.org:443").await?;
//! let mut stream = TlsConnector::from(config).connect("example.org".try_into()?, tcp).await?;
//! stream.send_all(&header, SendFlags::MORE).await?; // held: more is coming
//! stream.send_all_bytes(&mut body, SendFlags::NONE).await?; // both leave in one record
//! stream.write_all(b"as before").await?; // leaves without a flush
//! let n = stream.read(&mut buf).await?; // before the read waits, held bytes leave
//! let (stream, deadlines) = stream.with_deadline_task(); // for tasks that hold and do not read:
//! async_std::task::spawn(deadlines); // held bytes leave after 10 ms while nothing polls
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
//!   the task. With a [`DeadlineTask`] it leaves without a poll.
//! - `AsyncWrite` accepts nothing while the transport pushes back and bytes wait. A caller that
//!   polls its stream only to write, such as `io::copy`, leaves at most the end of one write
//!   waiting: 64 KiB at most, or 96 KiB if the transport has just taken 256 KiB. The `send` methods
//!   accept up to [`send_buffer_limit`](tls_cork::CorkConfig::send_buffer_limit), so that small
//!   writes share records.
//! - One poll accepts and transmits about 256 KiB at most, so that other tasks can run.
//! - Bytes held by [`MORE`](tls_cork::SendFlags::MORE) leave with the last piece, by `flush` or
//!   `close`, or at their deadline ([`max_hold`](tls_cork::CorkConfig::max_hold)). The deadline
//!   fires when any operation is polled, and wakes a read that waits. A task that holds bytes and
//!   then awaits something else while no task reads needs a [`DeadlineTask`].
//! - Before a read waits, the bytes that *the same task* holds are released
//!   ([`flush_on_read_wait`](tls_cork::CorkConfig::flush_on_read_wait)), because the peer's answer
//!   may depend on them. Tasks are identified by their wakers. A reader in another task therefore
//!   does not release the bytes that a writer gathers. Each future in a `FuturesUnordered` or a
//!   similar collection counts as a task.
//! - A stream that is dropped discards held bytes and all others that the transport has not taken.
//!   A stream that is closed and dropped can still lose bytes that the transport has taken: end it
//!   with `close_gracefully`, which waits for the peer's end of the stream.
//!
//! # Differences from futures-rustls
//!
//! - The rustls connection is not accessible, because it would accept plaintext past the cork.
//!   `get_ref` and `into_inner` return a [`tls_cork::Connection`] in its place. It has getters of
//!   the same names for the negotiated parameters, except `tls13_tickets_received` and
//!   `ech_status`. `get_mut` returns it as a shared reference. Settings that need `&mut` go in the
//!   closure of [`connect_with`](TlsConnector::connect_with),
//!   [`accept_with`](TlsAcceptor::accept_with) and
//!   [`into_stream_with`](StartHandshake::into_stream_with).
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
//!
//! # Which runtime
//!
//! Any runtime. A stream takes every transport that implements the traits of `futures_io`: the
//! sockets of async-std, smol and async-net, and those of tokio behind `tokio_util::compat`. For
//! tokio, `tls-cork-tokio` is the better choice: it uses tokio's timers and sends `MSG_MORE`.
//! Timers here are those of async-io, whose one reactor thread serves the whole process. async-std
//! itself is no longer developed; its maintainers recommend smol.
//!
//! The transport should implement `poll_write_vectored`. With its default, and with tokio's
//! compatibility layer, each record is a write of its own. Only the sends of a [`Socket`] can carry
//! `MSG_MORE` ([`with_msg_more`](Stream::with_msg_more)). Set `TCP_NODELAY` of tcp(7) on a socket:
//! Nagle's algorithm would add a delay.
//!
//! # Features
//!
//! `aws-lc-rs`, `ring`, `fips`, `tls12`, `logging`: the features of rustls with these names. No
//! crypto provider is enabled by default. `async-net`: [`Socket`] for the sockets of async-net,
//! which are those of smol.
//!
//! This crate re-exports [`rustls`], [`pki_types`], [`bytes`] and [`tls_cork`], and three types of
//! the core: [`SendFlags`], [`CorkConfig`], [`Stats`].

mod acceptor;
mod connector;
mod handle;
mod io;
mod lazy;
mod shared;
mod sides;
mod sink;
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
pub use sink::MessageSink;
pub use socket::Socket;
pub use stream::Stream;
pub use tls_cork::{self, CorkConfig, SendFlags, Stats};
