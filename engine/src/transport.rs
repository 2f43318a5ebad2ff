//! `Transport` and `Timer`: what the engine needs of a runtime.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// A byte stream that is polled, with a hint on each send that more bytes follow.
///
/// After a call has returned `Pending`, the transport wakes the task of its `cx` when the call is
/// worth repeating. It keeps two wakers: the last one of [`poll_read`](Self::poll_read), and the
/// last one of the three other methods, which the engine polls with one waker.
pub trait Transport {
    /// Reads into `buf` and returns the number of bytes; zero is the end of the stream.
    ///
    /// # Errors
    ///
    /// Those of the transport; the engine tries again after `Interrupted`.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Sends from `bufs`, in order, and returns the number of bytes taken.
    ///
    /// `more` means `MSG_MORE` of send(2): more bytes follow at once (R8). A transport may ignore
    /// the hint.
    ///
    /// # Errors
    ///
    /// Those of the transport; the engine tries again after `Interrupted`.
    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>>;

    /// Ready when the bytes taken so far wait in no buffer of the transport's own.
    ///
    /// # Errors
    ///
    /// Those of the transport.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the sending direction, as shutdown(2) does with `SHUT_WR`.
    ///
    /// # Errors
    ///
    /// Those of the transport; the engine ignores `NotConnected`.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A timer of the runtime, armed for one point in time. A timer that is dropped is disarmed.
///
/// A stream for which nothing is due has no timer. Make the type a pointer, so that such a stream
/// stays small.
pub trait Timer: Sized {
    /// The current time of the clock by which the timer fires. Override it for a runtime whose
    /// clock can be paused.
    fn now() -> Instant {
        Instant::now()
    }

    /// Arms a timer that wakes `waker` at `at`, once. `None` if `at` is past.
    fn arm(at: Instant, waker: &Waker) -> Option<Self>;

    /// The time for which the timer was armed.
    fn at(&self) -> Instant;
}
