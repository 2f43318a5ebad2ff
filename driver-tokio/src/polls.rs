//! The polls of streams, halves and the enum.
//!
//! Each is a poll of the engine within tokio's cooperative budget. A task that always finds
//! plaintext to read, or room to write, therefore lets other tasks run.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tls_cork::SendFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use crate::handle::{Handle, Reads};

/// Calls `f` if the task has budget left, and takes a unit of the budget if `f` is ready.
///
/// The transport takes from the same budget and must find some left. Otherwise a read would be
/// `Pending` for lack of budget, and would release held bytes as a read that waits for the peer
/// does (R12).
#[inline]
pub(crate) fn poll_in_budget<T>(cx: &mut Context<'_>, f: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    if !coop::has_budget_remaining() {
        // Arranges a wake-up for the next turn of the task.
        let _unit = ready!(coop::poll_proceed(cx));
    }
    let done = ready!(f(cx));
    if coop::has_budget_remaining()
        && let Poll::Ready(unit) = coop::poll_proceed(cx)
    {
        unit.made_progress();
    }
    Poll::Ready(done)
}

pub(crate) fn poll_read<H: Reads>(handle: &mut H, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    if buf.remaining() == 0 {
        return Poll::Ready(Ok(()));
    }
    poll_in_budget(cx, |cx| {
        // Not into `initialize_unfilled`: hyper's buffers are large, and zeroes for all of one cost
        // more than the rest of the read.
        handle.with(|engine| {
            engine.poll_read_with(cx, |received| {
                let len = received.len().min(buf.remaining());
                buf.put_slice(&received[..len]);
                len
            })
        })
    })
}

pub(crate) fn poll_fill_buf<'a, H: Reads>(handle: &'a mut H, cx: &mut Context<'_>) -> Poll<io::Result<&'a [u8]>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    poll_in_budget(cx, |cx| handle.poll_fill_buf(cx))
}

pub(crate) fn poll_send<H: Handle>(
    handle: &mut H,
    cx: &mut Context<'_>,
    data: &[u8],
    flags: SendFlags,
) -> Poll<io::Result<usize>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    // Takes nothing of the budget: it is a copy, and every sixteenth in a row is a send of another
    // kind. Sixteen cost no more than that one.
    if holds(flags) && handle.join(|engine| engine.join(cx, data, flags)) {
        return Poll::Ready(Ok(data.len()));
    }
    poll_in_budget(cx, |cx| handle.hold(holds(flags), |engine| engine.poll_send(cx, data, flags)))
}

pub(crate) fn poll_send_vectored<H: Handle>(
    handle: &mut H,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
    flags: SendFlags,
) -> Poll<io::Result<usize>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    poll_in_budget(cx, |cx| handle.hold(holds(flags), |engine| engine.poll_send_vectored(cx, bufs, flags)))
}

pub(crate) fn poll_send_bytes<H: Handle>(
    handle: &mut H,
    cx: &mut Context<'_>,
    data: &mut Bytes,
    flags: SendFlags,
) -> Poll<io::Result<usize>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    poll_in_budget(cx, |cx| handle.hold(holds(flags), |engine| engine.poll_send_bytes(cx, data, flags)))
}

pub(crate) fn poll_write<H: Handle>(handle: &mut H, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    poll_in_budget(cx, |cx| handle.hold(false, |engine| engine.poll_write(cx, data)))
}

pub(crate) fn poll_write_vectored<H: Handle>(
    handle: &mut H,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    poll_in_budget(cx, |cx| handle.hold(false, |engine| engine.poll_write_vectored(cx, bufs)))
}

pub(crate) fn poll_send_all<H: Handle>(
    handle: &mut H,
    cx: &mut Context<'_>,
    data: &mut &[u8],
    flags: SendFlags,
) -> Poll<io::Result<()>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    // As in `poll_send`.
    if holds(flags) && handle.join(|engine| engine.join(cx, data, flags)) {
        *data = &[];
        return Poll::Ready(Ok(()));
    }
    poll_in_budget(cx, |cx| handle.hold(holds(flags), |engine| engine.poll_send_all(cx, data, flags)))
}

pub(crate) fn poll_send_all_bytes<H: Handle>(
    handle: &mut H,
    cx: &mut Context<'_>,
    data: &mut Bytes,
    flags: SendFlags,
) -> Poll<io::Result<()>>
where
    H::Io: AsyncRead + AsyncWrite + Unpin,
{
    poll_in_budget(cx, |cx| handle.hold(holds(flags), |engine| engine.poll_send_all_bytes(cx, data, flags)))
}

fn holds(flags: SendFlags) -> bool {
    flags.contains(SendFlags::MORE)
}
