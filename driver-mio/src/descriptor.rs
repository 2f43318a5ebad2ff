//! A stream's descriptor or socket, for options and for other pollers.

#[cfg(any(unix, target_os = "hermit", target_os = "wasi"))]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
#[cfg(windows)]
use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, RawSocket};

use crate::{PlainTransport, TlsStream};

/// The transport's descriptor. Reading from it or writing to it breaks the TLS stream.
#[cfg(any(unix, target_os = "hermit", target_os = "wasi"))]
impl<T: AsFd> AsFd for TlsStream<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }
}

/// The transport's descriptor. Reading from it or writing to it breaks the TLS stream.
#[cfg(any(unix, target_os = "hermit", target_os = "wasi"))]
impl<T: AsRawFd> AsRawFd for TlsStream<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.get_ref().as_raw_fd()
    }
}

#[cfg(any(unix, target_os = "hermit", target_os = "wasi"))]
impl<T: AsFd> AsFd for PlainTransport<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(any(unix, target_os = "hermit", target_os = "wasi"))]
impl<T: AsRawFd> AsRawFd for PlainTransport<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The transport's socket. Reading from it or writing to it breaks the TLS stream.
#[cfg(windows)]
impl<T: AsSocket> AsSocket for TlsStream<T> {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.get_ref().as_socket()
    }
}

/// The transport's socket. Reading from it or writing to it breaks the TLS stream.
#[cfg(windows)]
impl<T: AsRawSocket> AsRawSocket for TlsStream<T> {
    fn as_raw_socket(&self) -> RawSocket {
        self.get_ref().as_raw_socket()
    }
}

#[cfg(windows)]
impl<T: AsSocket> AsSocket for PlainTransport<T> {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.0.as_socket()
    }
}

#[cfg(windows)]
impl<T: AsRawSocket> AsRawSocket for PlainTransport<T> {
    fn as_raw_socket(&self) -> RawSocket {
        self.0.as_raw_socket()
    }
}
