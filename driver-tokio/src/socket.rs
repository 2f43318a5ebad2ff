//! Sockets that can be told that more bytes follow.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// One send of bytes behind which more wait.
pub(crate) type SendMore<IO> = fn(&mut IO, &mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

/// How `IO` is told that more follows, if it is of the closed list: tokio's `TcpStream` and
/// `UnixStream`.
///
/// A list of types, not of what has a descriptor: a TLS stream has the descriptor of its transport,
/// and bytes that are sent to that are not encrypted.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn send_more<IO: 'static>() -> Option<SendMore<IO>> {
    use std::any::TypeId;

    use tokio::net::{TcpStream, UnixStream};

    [TypeId::of::<TcpStream>(), TypeId::of::<UnixStream>()]
        .contains(&TypeId::of::<IO>())
        .then_some(linux::poll_send_more as SendMore<IO>)
}

/// Other platforms have no such flag.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn send_more<IO: 'static>() -> Option<SendMore<IO>> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::any::Any;
    use std::io::{self, IoSlice};
    use std::os::fd::AsFd;
    use std::task::{Context, Poll, ready};

    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    use tokio::io::Interest;
    use tokio::net::{TcpStream, UnixStream};

    /// One sendmsg(2) with `MSG_MORE`.
    pub(super) fn poll_send_more<IO: 'static>(
        io: &mut IO,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io: &dyn Any = io;
        loop {
            let sent = if let Some(tcp) = io.downcast_ref::<TcpStream>() {
                ready!(tcp.poll_write_ready(cx))?;
                tcp.try_io(Interest::WRITABLE, || send(tcp, bufs))
            } else if let Some(unix) = io.downcast_ref::<UnixStream>() {
                ready!(unix.poll_write_ready(cx))?;
                unix.try_io(Interest::WRITABLE, || send(unix, bufs))
            } else {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            };
            match sent {
                // `try_io` has noted it: the next look at readiness waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn send(socket: &impl AsFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        Ok(sendmsg(socket, bufs, &mut SendAncillaryBuffer::default(), flags)?)
    }
}
