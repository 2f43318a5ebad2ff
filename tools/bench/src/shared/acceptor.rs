//! Accepting connections, for servers that go on after a failed `accept`.

use std::fmt;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server waits after a failed `accept`. A lack of descriptors, the usual cause, lasts.
pub const PAUSE: Duration = Duration::from_millis(100);
/// No more than one report is printed in this time.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Prints failures to admit connections to standard error, at most one in a second.
#[derive(Debug)]
pub struct Reports {
    name: &'static str,
    last: Option<Instant>,
}

impl Reports {
    /// Each report starts with `name`, the server's.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, last: None }
    }

    /// Prints `failure`, unless another report was printed less than a second ago.
    pub fn report(&mut self, failure: &dyn fmt::Display) {
        if self.last.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            self.last = Some(Instant::now());
            let line = format!("{}: accept: {failure}\n", self.name);
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// A listener of a server that goes on after failures.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    reports: Reports,
}

impl Acceptor {
    /// `name` is the server's, for reports.
    pub(crate) fn new(listener: TcpListener, name: &'static str) -> Self {
        Self { listener, reports: Reports::new(name) }
    }

    /// Waits for the next connection. Returns `None` after a failure, once it has been reported
    /// and [`PAUSE`] is over.
    pub(crate) fn try_accept(&mut self) -> Option<TcpStream> {
        match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            // The next connection in the backlog may be fine.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => {
                self.reports.report(&error);
                thread::sleep(PAUSE);
                None
            }
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

    /// Runs `serve` in a thread of its own. If no thread can be started, reports that and drops
    /// `serve`.
    pub(crate) fn spawn<T: Send + 'static>(
        &mut self,
        serve: impl FnOnce() -> T + Send + 'static,
    ) -> Option<thread::JoinHandle<T>> {
        thread::Builder::new().spawn(serve).inspect_err(|error| self.reports.report(error)).ok()
    }
}
