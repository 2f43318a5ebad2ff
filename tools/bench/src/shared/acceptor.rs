//! Accepting connections, for servers that go on after a failed `accept`.

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

    /// Waits for the next connection, through any number of failures.
    pub(crate) fn accept(&self) -> TcpStream {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return stream,
                // The next connection in the backlog may be fine.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Runs `serve` in a thread of its own, unless none can be started.
    pub(crate) fn spawn(&self, serve: impl FnOnce() + Send + 'static) {
        if let Err(error) = thread::Builder::new().spawn(serve) {
            self.failed(&error);
        }
    }

    fn failed(&self, error: &io::Error) {
        let _ = io::stderr().write_all(format!("{}: accept: {error}\n", self.name).as_bytes());
        thread::sleep(PAUSE);
    }
}
