//! Sockets whose sends can carry `MSG_MORE`.

use std::io::{self, IoSlice};
use std::net::TcpStream;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_io::Async;
use futures_io::{AsyncRead, AsyncWrite};

/// A socket of the operating system whose sends can carry `MSG_MORE` of send(2).
///
/// The trait is sealed; its types are a closed list. A descriptor alone does not make a socket: a
/// TLS stream has the descriptor of its transport, and bytes sent to that would not be encrypted.
///
/// The list: `TcpStream` and `UnixStream` in async-io's [`Async`], and with the feature `async-net`
/// those of async-net, which smol re-exports. The sockets of async-std are not in it.
///
/// ```compile_fail
/// # use std::net::TcpStream;
/// # use tls_cork_async_std::{Socket, client};
/// fn is_socket<T: Socket>() {}
/// is_socket::<client::TlsStream<async_io::Async<TcpStream>>>();
/// ```
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Sealed {}

#[cfg(unix)]
pub trait Sealed: std::os::fd::AsFd {}

#[cfg(not(unix))]
pub trait Sealed {}

impl Socket for Async<TcpStream> {}
impl Sealed for Async<TcpStream> {}

#[cfg(unix)]
impl Socket for Async<UnixStream> {}
#[cfg(unix)]
impl Sealed for Async<UnixStream> {}

#[cfg(feature = "async-net")]
impl Socket for async_net::TcpStream {}
#[cfg(feature = "async-net")]
impl Sealed for async_net::TcpStream {}

#[cfg(all(feature = "async-net", unix))]
impl Socket for async_net::unix::UnixStream {}
#[cfg(all(feature = "async-net", unix))]
impl Sealed for async_net::unix::UnixStream {}

/// One sendmsg(2) with `MSG_MORE`, where the platform has it.
pub(crate) fn poll_send_more<IO: Socket>(
    io: &mut IO,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::io::Errno;
        use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        match sendmsg(&*io, bufs, &mut SendAncillaryBuffer::default(), flags) {
            // The write below tries once more and registers the task's waker.
            Err(Errno::AGAIN) => {}
            sent => return Poll::Ready(sent.map_err(io::Error::from)),
        }
    }
    Pin::new(io).poll_write_vectored(cx, bufs)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;

    /// The kernel keeps bytes sent with the hint for 200 ms, or until more bytes are sent.
    #[test]
    fn the_hint_reaches_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        sender.set_nodelay(true).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        let mut sender = Async::new(sender).unwrap();
        let bufs = [IoSlice::new(b"one"), IoSlice::new(b"two")];
        let mut got = [0; 100];
        loop {
            let start = Instant::now();
            assert_eq!(async_io::block_on(poll_fn(|cx| poll_send_more(&mut sender, cx, &bufs))).unwrap(), 6);
            receiver.set_nonblocking(true).unwrap();
            let arrived = receiver.peek(&mut got);
            let in_time = start.elapsed() < Duration::from_millis(150);
            receiver.set_nonblocking(false).unwrap();
            assert_eq!(sender.get_ref().write_vectored(&bufs).unwrap(), 6);
            io::Read::read_exact(&mut &receiver, &mut got[..12]).unwrap();
            assert_eq!(&got[..12], b"onetwoonetwo");
            // If the test was delayed for so long, the kernel has sent the bytes.
            if in_time {
                assert_eq!(arrived.unwrap_err().kind(), io::ErrorKind::WouldBlock);
                return;
            }
        }
    }
}
