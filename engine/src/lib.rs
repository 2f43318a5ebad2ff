//! The part of tls-cork that drivers for poll-based runtimes share.
//!
//! An [`Engine`] is one [`tls_cork`] session over one transport. It moves bytes, wakes the tasks
//! that wait, and fires deadlines. It depends on no runtime. A driver crate, such as
//! `tls-cork-async-std` or `tls-cork-tokio`, adds four things:
//!
//! 1. its runtime's sockets or I/O traits as a [`Transport`],
//! 2. its runtime's timers as a [`Timer`],
//! 3. connectors and acceptors, whose futures poll a [`Handshake`],
//! 4. stream types, which implement the runtime's I/O traits by the engine's polls.
//!
//! ```
//! # use std::{io::{self, IoSlice}, task::{Context, Poll}};
//! # use tls_cork_engine::Transport;
//! struct Io<T>(T); // the transport of a driver for the runtime whose trait is `Stream`
//! # type Done<T> = Poll<io::Result<T>>;
//! # trait Stream {
//! #     fn poll_write_vectored(&mut self, cx: &mut Context, bufs: &[IoSlice]) -> Done<usize>;
//! # }
//!
//! impl<T: Stream> Transport for Io<T> {
//!     fn poll_send(
//!         &mut self,
//!         cx: &mut Context<'_>,
//!         bufs: &[IoSlice<'_>],
//!         _more: bool,
//!     ) -> Poll<io::Result<usize>> {
//!         self.0.poll_write_vectored(cx, bufs) // a socket passes `more` on as MSG_MORE
//!     }
//!     // …
//! #   fn poll_read(&mut self, _: &mut Context, _: &mut [u8]) -> Done<usize> { Poll::Pending }
//! #   fn poll_flush(&mut self, _: &mut Context) -> Done<()> { Poll::Ready(Ok(())) }
//! #   fn poll_close(&mut self, _: &mut Context) -> Done<()> { Poll::Ready(Ok(())) }
//! }
//! ```
//!
//! Programs use a driver; this crate is for authors of drivers. ARCHITECTURE.md in the repository
//! lists the duties of a driver.

mod adapt;
mod deadline;
mod engine;
mod handshake;
mod keeper;
mod session;
mod shared;
mod shown;
mod sink;
mod slices;
mod sync;
mod transport;
mod wakers;

#[cfg(all(test, tls_cork_loom))]
extern crate self as tls_cork_engine;
#[cfg(all(test, tls_cork_loom))]
#[path = "../tests/interleavings/mod.rs"]
mod interleavings;

pub use adapt::Reader;
pub use bytes;
pub use engine::Engine;
pub use handshake::{Handshake, Outcome, poll_alert};
pub use keeper::{Attend, Keeper, KeeperTask, Owner, Spawned};
pub use rustls;
pub use session::Session;
pub use shared::{DeadlineTask, Shared};
pub use shown::Shown;
pub use sink::Feed;
pub use tls_cork;
pub use transport::{Timer, Transport};
