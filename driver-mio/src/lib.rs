//! [`tls_cork`] on mio event loops.
//!
//! [`TlsStream`] moves bytes and time between a non-blocking transport and a [`tls_cork::Connection`]; every decision about when plaintext leaves is
//! the core's. Register it once, for both directions, and in each turn of the loop: [`before_poll`](TlsStream::before_poll),
//! `Poll::poll` with the timeout that it gave, [`handle_event`](TlsStream::handle_event) for each of its events, then read until `WouldBlock`.

mod stream;
mod transport;

pub use stream::TlsStream;
pub use transport::{PlainTransport, Transport, set_notsent_lowat};
