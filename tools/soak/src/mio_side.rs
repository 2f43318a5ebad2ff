//! An end on the mio driver.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Interest, Token};
use socket2::SockRef;
use tls_cork::SendFlags;
use tls_cork_mio::TlsStream;

use super::Session;
use super::counted::Counted;
use super::ledger::{EndReport, Ledger, Told};
use super::operations::{Inbound, Next, Outbound, Receiver, Sender, is_of_the_transport};
use super::plan::{EndPlan, Fault, FaultPlan, Side};

/// Longer than the watchdog's patience: an event that is missed is one that is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(120);
/// How long an abort may take to bring out what was sealed.
const ABORT_LIMIT: Duration = Duration::from_secs(2);

/// Runs an end until its stream is over. `leaves` is the fault that it is to cause itself.
///
/// # Errors
///
/// When there is nothing to run it with: a poll, a socket's options.
pub(crate) fn run(
    side: Side,
    plan: &EndPlan,
    content: u64,
    session: Session,
    socket: TcpStream,
    leaves: Option<FaultPlan>,
    ledger: &Arc<Ledger>,
) -> io::Result<EndReport> {
    socket.set_nonblocking(true)?;
    let socket = Counted::new(mio::net::TcpStream::from_std(socket), side, ledger);
    let stream = match session {
        Session::Client(config, name) => Stream::client_with(socket, config, name, plan.cork.clone())?,
        Session::Server(config) => Stream::server_with(socket, config, plan.cork.clone())?,
    };
    let poll = mio::Poll::new()?;
    let mut end = End { stream, poll, events: Events::with_capacity(8), sending: None, receiving: None };
    end.poll.registry().register(&mut end.stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    let mut sender = Sender::new(side, plan, content, false, ledger);
    let mut receiver = Receiver::new(side, plan, content, ledger);
    loop {
        if let Some(leaves) = leaves.filter(|leaves| ledger.accepted(side) >= leaves.at) {
            return end.leave(leaves.fault, side, ledger);
        }
        let now = Instant::now();
        let mut sleep = LONGEST_SLEEP;
        if end.sending.is_none() {
            match sender.step(&mut end.stream, now) {
                Ok(next) => end.sending = wait(next, now, &mut sleep).then_some(Ok(())),
                Err(error) => end.sending_failed(error),
            }
        }
        if end.receiving.is_none() {
            match receiver.step(&mut end.stream, now) {
                Ok(next) => end.receiving = wait(next, now, &mut sleep).then_some(Ok(())),
                Err(error) => end.receiving = Some(Err(error.into())),
            }
        }
        if !matches!((&end.sending, &end.receiving), (_, Some(Err(_))) | (Some(_), Some(_))) {
            end.sleep(sleep)?;
        }
        if matches!((&end.sending, &end.receiving), (_, Some(Err(_))) | (Some(_), Some(_))) {
            // The alert, if there is one.
            let _ = end.stream.before_poll();
            return Ok(end.report(false));
        }
    }
}

/// Shortens `sleep` to when a half is to go on; true if it is done.
fn wait(next: Next, now: Instant, sleep: &mut Duration) -> bool {
    match next {
        Next::Again => *sleep = Duration::ZERO,
        Next::At(at) => *sleep = (*sleep).min(at.saturating_duration_since(now)),
        Next::Blocked => {}
        Next::Done => return true,
    }
    false
}

type Stream = TlsStream<Counted<mio::net::TcpStream>>;

struct End {
    stream: Stream,
    poll: mio::Poll,
    events: Events,
    sending: Option<Result<(), Told>>,
    receiving: Option<Result<(), Told>>,
}

impl End {
    /// One turn of the loop, as the driver's documentation has it.
    fn sleep(&mut self, mut longest: Duration) -> io::Result<()> {
        // What the peer said last can still be read when sending fails.
        if !matches!(self.sending, Some(Err(_))) {
            match self.stream.before_poll() {
                Ok(timeout) => longest = timeout.map_or(longest, |timeout| timeout.min(longest)),
                Err(error) => self.sending_failed(error),
            }
        }
        match self.poll.poll(&mut self.events, Some(longest)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            if let Err(error) = self.stream.handle_event(event) {
                self.receiving = Some(Err(error.into()));
            }
        }
        Ok(())
    }

    fn sending_failed(&mut self, error: io::Error) {
        if !is_of_the_transport(&error) {
            self.receiving = Some(Err(Told::from(error)));
        } else {
            self.sending = Some(Err(error.into()));
        }
    }

    fn leave(mut self, fault: Fault, side: Side, ledger: &Ledger) -> io::Result<EndReport> {
        ledger.happen(fault);
        match fault {
            Fault::EndReset => SockRef::from(&self.stream.get_ref().socket).set_linger(Some(Duration::ZERO))?,
            Fault::Abort => {
                ledger.set_closed(side);
                let waiting = self.stream.connection().waiting();
                if let Err(error) = self.stream.abort().map(|discarded| {
                    ledger.discard(side, discarded);
                    if discarded != waiting {
                        let why = format!("abort gave up {discarded} bytes of {waiting} that waited");
                        self.sending = Some(Err(io::Error::other(why).into()));
                    }
                }) {
                    self.sending_failed(error);
                }
                let end = Instant::now() + ABORT_LIMIT;
                while self.sending.is_none() && !self.stream.is_finished() && Instant::now() < end {
                    self.sleep(Duration::from_millis(10))?;
                }
            }
            _ => {}
        }
        Ok(self.report(true))
    }

    fn report(self, left: bool) -> EndReport {
        EndReport {
            stats: self.stream.stats(),
            sending: self.sending.unwrap_or(Ok(())),
            receiving: self.receiving.unwrap_or(Ok(())),
            left,
        }
    }
}

fn poll<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl Outbound for Stream {
    fn send(&mut self, data: &[u8], flags: SendFlags) -> Poll<io::Result<usize>> {
        poll(TlsStream::send(self, data, flags))
    }

    fn send_vectored(&mut self, bufs: &[IoSlice<'_>], flags: SendFlags) -> Poll<io::Result<usize>> {
        poll(TlsStream::send_vectored(self, bufs, flags))
    }

    fn send_bytes(&mut self, data: &mut Bytes, flags: SendFlags) -> Poll<io::Result<usize>> {
        poll(TlsStream::send_bytes(self, data, flags))
    }

    fn write(&mut self, data: &[u8]) -> Poll<io::Result<usize>> {
        poll(Write::write(self, data))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        poll(Write::write_vectored(self, bufs))
    }

    fn cork(&mut self) {
        TlsStream::cork(self);
    }

    fn uncork(&mut self) -> Poll<io::Result<()>> {
        poll(TlsStream::uncork(self))
    }

    fn flush(&mut self) -> Poll<io::Result<()>> {
        poll(Write::flush(self))
    }

    fn close(&mut self) -> Poll<io::Result<()>> {
        match TlsStream::close(self) {
            Ok(()) if !self.is_finished() => Poll::Pending,
            done => Poll::Ready(done),
        }
    }
}

impl Inbound for Stream {
    fn read(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll(Read::read(self, buf))
    }
}
