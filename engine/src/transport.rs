//! What the engine needs of the transport and of the runtime's timers.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// A byte stream that is polled, and that may take a hint that more is coming.
///
/// A call that returns `Pending` wakes the task of its `cx` when it is worth another try. The
/// transport has to remember two wakers: the last one of [`poll_read`](Self::poll_read), and the
/// last one of the three other methods. The engine polls those with one and the same waker.
pub trait Transport {
    /// Reads into `buf` and returns how many bytes that were; zero is the end of the stream.
    ///
    /// # Errors
    ///
    /// Those of the transport; the engine tries again after `Interrupted`.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Sends from `bufs`, in order, and returns how many bytes were taken.
    ///
    /// `more` means `MSG_MORE` of send(2): more bytes follow at once. Ignoring it is always right.
    ///
    /// # Errors
    ///
    /// Those of the transport; the engine tries again after `Interrupted`.
    fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>>;

    /// Ready when the bytes taken so far are on their way.
    ///
    /// # Errors
    ///
    /// Those of the transport.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the sending direction, as shutdown(2) does with `SHUT_WR`.
    ///
    /// # Errors
    ///
    /// Those of the transport; the engine passes over `NotConnected`.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A timer of the runtime, armed for one point in time. Dropping it disarms it.
///
/// A stream without anything due has no timer. Let the type be a pointer, so that such a stream
/// stays small.
pub trait Timer: Sized {
    /// The clock by which the timer fires. Runtimes that can pause time have their own.
    fn now() -> Instant {
        Instant::now()
    }

    /// Arms a timer that wakes `waker` at `at`, once. `None` if `at` is past.
    fn arm(at: Instant, waker: &Waker) -> Option<Self>;

    /// The time for which it was armed.
    fn at(&self) -> Instant;
}
