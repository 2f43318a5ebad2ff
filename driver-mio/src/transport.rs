//! What a stream needs of the transport below it.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token, event};

/// A non-blocking byte stream that can be told that more is coming.
pub trait Transport: Read {
    /// Sends from `bufs`, in order, and returns how many bytes were taken; `more` as `MSG_MORE` of `send(2)`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if nothing could be taken.
    fn send(&mut self, bufs: &[IoSlice<'_>], more: bool) -> io::Result<usize>;

    /// Called once when a stream takes the transport over.
    ///
    /// # Errors
    ///
    /// Those of setting socket options.
    fn prepare(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends the sending direction, as shutdown(2) does with `SHUT_WR`. Called when everything has been sent and the stream is to end gracefully.
    ///
    /// Does nothing by default: `close_notify` has ended the stream already, for a peer that looks at it.
    ///
    /// # Errors
    ///
    /// Those of shutdown(2); `NotConnected` is passed over.
    fn close_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether a read that fills only a part of its buffer means that a new event will tell of further bytes, as epoll(7) has it
    /// for streams; saves the read that would say `WouldBlock`. False by default, which is always right.
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

    /// Sets TCP_NODELAY: Nagle's algorithm would be one more delay.
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

/// Limits the unsent bytes that the kernel takes before it pushes back (`TCP_NOTSENT_LOWAT` of tcp(7)).
///
/// With it, plaintext waits in the stream, where later writes can join its records, instead of in the kernel. Does nothing where the
/// platform has no such option.
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

/// Any other `Read + Write` as a transport; it cannot be told that more is coming.
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
