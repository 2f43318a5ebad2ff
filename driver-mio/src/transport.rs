//! `Transport`: what a stream needs of the transport below it.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token, event};

/// A non-blocking byte stream, with a hint on each send that more bytes follow.
pub trait Transport: Read {
    /// Sends from `bufs`, in order, and returns the number of bytes taken.
    ///
    /// `more` means `MSG_MORE` of send(2): more bytes follow at once (R8). A transport may ignore
    /// the hint.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if no byte could be taken; otherwise those of the transport.
    fn send(&mut self, bufs: &[IoSlice<'_>], more: bool) -> io::Result<usize>;

    /// Prepares the transport. A stream calls it once, when it is created. Does nothing by default.
    ///
    /// # Errors
    ///
    /// Those of setting socket options.
    fn prepare(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends the sending direction, as shutdown(2) does with `SHUT_WR`.
    /// [`close_gracefully`](crate::TlsStream::close_gracefully) calls it once, when everything has
    /// been sent.
    ///
    /// Does nothing by default: the `close_notify` has already ended the TLS stream.
    ///
    /// # Errors
    ///
    /// Those of shutdown(2); the stream ignores `NotConnected`.
    fn close_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether a read that fills only a part of its buffer has drained the transport, so that a new
    /// event announces further bytes.
    ///
    /// epoll(7) guarantees this for stream sockets. True saves the read that would return
    /// `WouldBlock`. The default, false, is correct for every transport.
    fn is_drained_by_short_read(&self) -> bool {
        false
    }
}

impl Transport for TcpStream {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn send(&mut self, bufs: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        let socket = socket2::SockRef::from(&*self);
        match bufs {
            // send(2) costs the kernel less than sendmsg(2).
            [one] => socket.send_with_flags(one, flags),
            many => socket.send_vectored_with_flags(many, flags),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn send(&mut self, bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
        self.write_vectored(bufs)
    }

    /// Sets `TCP_NODELAY` of tcp(7): Nagle's algorithm would add a delay.
    fn prepare(&mut self) -> io::Result<()> {
        self.set_nodelay(true)
    }

    fn close_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    /// True where mio uses epoll.
    fn is_drained_by_short_read(&self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android"))
    }
}

/// Limits the unsent bytes in the kernel's buffer to `bytes`, by the socket option
/// `TCP_NOTSENT_LOWAT`.
///
/// Beyond the limit the socket pushes back. Plaintext then waits in the stream, where later writes
/// can join its records (R7). Does nothing on platforms other than Linux and Android.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_notsent_lowat(socket: &TcpStream, bytes: u32) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return socket2::SockRef::from(socket).set_tcp_notsent_lowat(bytes);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (socket, bytes);
        Ok(())
    }
}

/// Adapts any `Read + Write` to [`Transport`]. It ignores the hint `more`.
#[derive(Debug)]
pub struct PlainTransport<T>(pub T);

impl<T: Read> Read for PlainTransport<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<T: Read + Write> Transport for PlainTransport<T> {
    fn send(&mut self, bufs: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
        self.0.write_vectored(bufs)
    }
}

impl<T: event::Source> event::Source for PlainTransport<T> {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.0.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.0.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.deregister(registry)
    }
}
