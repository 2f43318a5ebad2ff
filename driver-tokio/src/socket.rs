//! Sockets whose sends can carry `MSG_MORE`.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// One send with the hint that more bytes follow.
pub(crate) type SendMore<IO> = fn(&mut IO, &mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

/// The send with `MSG_MORE` for `IO`, if its type is in the closed list: tokio's `TcpStream` and
/// `UnixStream`.
///
/// A descriptor alone is not enough: a TLS stream has the descriptor of its transport, and bytes
/// sent to that would not be encrypted.
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
                // `try_io` has cleared the readiness: the next poll for it waits.
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::future::poll_fn;
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpStream, UnixStream};

    use super::*;

    #[test]
    fn the_list_is_closed() {
        assert!(send_more::<TcpStream>().is_some());
        assert!(send_more::<UnixStream>().is_some());
        assert!(send_more::<crate::TlsStream<TcpStream>>().is_none());
        assert!(send_more::<crate::client::TlsStream<TcpStream>>().is_none());
        assert!(send_more::<Box<TcpStream>>().is_none());
        assert!(send_more::<tokio::io::DuplexStream>().is_none());
    }

    /// The kernel keeps bytes sent with the hint for 200 ms, or until more bytes are sent.
    #[tokio::test]
    async fn the_hint_reaches_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        sender.set_nodelay(true).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        let bufs = [IoSlice::new(b"one"), IoSlice::new(b"two")];
        let send = send_more::<TcpStream>().unwrap();
        let mut got = [0; 100];
        loop {
            let start = Instant::now();
            assert_eq!(poll_fn(|cx| send(&mut sender, cx, &bufs)).await.unwrap(), 6);
            receiver.set_nonblocking(true).unwrap();
            let arrived = receiver.peek(&mut got);
            let in_time = start.elapsed() < Duration::from_millis(150);
            receiver.set_nonblocking(false).unwrap();
            sender.write_all(b"three").await.unwrap();
            receiver.read_exact(&mut got[..11]).unwrap();
            assert_eq!(&got[..11], b"onetwothree");
            // If the test was delayed for so long, the kernel has sent the bytes.
            if in_time {
                assert_eq!(arrived.unwrap_err().kind(), ErrorKind::WouldBlock);
                return;
            }
        }
    }

    /// A send on a full socket waits until the socket has room.
    #[tokio::test]
    async fn a_full_socket_makes_room() {
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let send = send_more::<UnixStream>().unwrap();
        let data = vec![7; 100_000];
        let mut sent = 0;
        poll_fn(|cx| {
            loop {
                match send(&mut sender, cx, &[IoSlice::new(&data)]) {
                    Poll::Ready(taken) => sent += taken.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
            }
        })
        .await;
        let reads = tokio::spawn(async move {
            let mut receiver = receiver;
            tokio::io::copy(&mut receiver, &mut tokio::io::sink()).await.unwrap()
        });
        sent += poll_fn(|cx| send(&mut sender, cx, &[IoSlice::new(&data)])).await.unwrap();
        drop(sender);
        assert_eq!(reads.await.unwrap(), sent as u64);
    }
}
