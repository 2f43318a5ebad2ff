//! Accepting connections, for servers that go on after a failed `accept`.

use std::fmt;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// After a failure, which is reported. A lack of descriptors, the usual cause, lasts.
const PAUSE: Duration = Duration::from_secs(1);

/// A listener of a server that goes on after failures.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    name: &'static str,
}

impl Acceptor {
    /// `name` is the server's, for reports.
    pub(crate) fn new(listener: TcpListener, name: &'static str) -> Self {
        Self { listener, name }
    }

    /// Waits for the next connection. Returns `None` after a failure.
    pub(crate) fn try_accept(&mut self) -> Option<TcpStream> {
        match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            // The next connection in the backlog may be fine.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => self.failed(&error),
        }
    }

    /// Waits for the next connection, through any number of failures.
    pub(crate) fn accept(&mut self) -> TcpStream {
        loop {
            if let Some(stream) = self.try_accept() {
                return stream;
            }
        }
    }

    /// Runs `serve` in a thread of its own, unless none can be started.
    pub(crate) fn spawn<T: Send + 'static>(
        &mut self,
        serve: impl FnOnce() -> T + Send + 'static,
    ) -> Option<thread::JoinHandle<T>> {
        thread::Builder::new().spawn(serve).map_or_else(|error| self.failed(&error), Some)
    }

    fn failed<T>(&self, error: &dyn fmt::Display) -> Option<T> {
        let _ = io::stderr().write_all(format!("{}: accept: {error}\n", self.name).as_bytes());
        thread::sleep(PAUSE);
        None
    }
}
