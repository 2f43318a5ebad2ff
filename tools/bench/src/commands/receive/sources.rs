//! The stacks, each read from as its users read.

use std::io::{self, Read};

use futures_util::AsyncReadExt as _;
use tokio::io::AsyncReadExt as _;

use super::message::Job;
use super::taking::{Source, Taken, serve};
use crate::commands::peers::seat::Seat;
use crate::commands::peers::stacks::{
    Link, StackName, futures, now, ours_async, ours_mio, ours_tokio, std_rustls, tokio as on_tokio,
};
use crate::shared::socket::Counters;
use tls_cork_programs::Failure;

/// Connects `name`, and does the jobs of `seat`.
///
/// # Errors
///
/// When it does not take part, or the connection fails.
pub(super) fn run(name: StackName, link: &Link, seat: Seat<Job, Taken>) -> Result<(), Failure> {
    let served = match name {
        StackName::Rustls => std_rustls::connect(link).and_then(|stream| now(serve(seat, stream))),
        StackName::OursMio => ours_mio::connect(link).and_then(|ours| now(serve(seat, ours))),
        StackName::Futures => async_io::block_on(async {
            let stream = futures::connect(link).await?;
            serve(seat, Futures { stream, counters: |stream| stream.get_ref().0.counters() }).await
        }),
        StackName::OursAsync => async_io::block_on(async {
            let stream = ours_async::connect(link).await?;
            serve(seat, Futures { stream, counters: |stream| stream.get_ref().0.counters() }).await
        }),
        StackName::Tokio => on_tokio::block_on(async {
            let stream = on_tokio::connect(link).await?;
            serve(seat, Tokio { stream, counters: |stream| stream.get_ref().0.counters() }).await
        }),
        StackName::OursTokio => on_tokio::block_on(async {
            let stream = ours_tokio::connect(link).await?;
            serve(seat, Tokio { stream, counters: ours_tokio::counters }).await
        }),
        _ => return Err(Failure::usage("--stack", format!("{name} does not receive"))),
    };
    served.map_err(|e| Failure::new(format!("receive with {name}"), &link.endpoint, e))
}

/// Over a blocking socket.
impl Source for std_rustls::TlsStream {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buf)
    }

    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        Read::read_exact(self, buf)
    }

    fn counters(&self) -> Counters {
        self.sock.counters()
    }
}

/// Polls only when the stream has no more.
impl Source for ours_mio::Ours {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                done => return done,
            }
        }
    }

    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read(&mut buf[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        self.stream.get_ref().counters()
    }
}

/// A stream with the traits of futures-io.
struct Futures<S> {
    stream: S,
    counters: fn(&S) -> Counters,
}

impl<S: futures_util::AsyncRead + Unpin> Source for Futures<S> {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf).await
    }

    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(buf).await
    }

    fn counters(&self) -> Counters {
        (self.counters)(&self.stream)
    }
}

/// A stream with the traits of tokio.
struct Tokio<S> {
    stream: S,
    counters: fn(&S) -> Counters,
}

impl<S: tokio::io::AsyncRead + Unpin> Source for Tokio<S> {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf).await
    }

    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(buf).await.map(drop)
    }

    fn counters(&self) -> Counters {
        (self.counters)(&self.stream)
    }
}
