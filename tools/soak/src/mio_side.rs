//! An end on the mio driver.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use tls_cork::Stats;
use tls_cork_mio::TlsStream;

use super::ledger::EndReport;
use super::operations::{Call, Halves, Inbound, Outbound, earlier};
use super::plan::Fault;
use super::session::Session;

/// Longer than the watchdog's patience: an event that is missed is one that is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(120);
/// How long an abort may take to bring out what was sealed.
const ABORT_LIMIT: Duration = Duration::from_secs(2);

type Stream = TlsStream<TcpStream>;

/// Runs an end until its stream is over.
///
/// # Errors
///
/// When there is nothing to run it with: a poll, a socket's options.
pub(crate) fn run(mut halves: Halves, session: Session, socket: std::net::TcpStream) -> io::Result<EndReport> {
    let cork = halves.plan.cork.clone();
    socket.set_nonblocking(true)?;
    let socket = TcpStream::from_std(socket);
    let mut stream = match session {
        Session::Client(config, name) => TlsStream::client_with(socket, config, name, cork)?,
        Session::Server(config) => TlsStream::server_with(socket, config, cork)?,
    };
    let mut poll = Poll::new()?;
    poll.registry().register(&mut stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    while !halves.are_over() {
        let now = Instant::now();
        let next = earlier(halves.send(&mut stream, now), halves.receive(&mut stream, now));
        if !halves.are_over() {
            let longest = next.map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(now));
            turn(&mut stream, &mut poll, &mut halves, longest)?;
        }
    }
    match halves.left.map(|plan| plan.fault) {
        None => {
            // The alert, if there is one.
            let _ = stream.before_poll();
        }
        Some(Fault::EndReset) => SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO))?,
        Some(Fault::Abort) => abort(&mut stream, &mut poll, &mut halves)?,
        Some(_) => {}
    }
    Ok(halves.report(stream.stats()))
}

/// One turn of the loop, as the driver's documentation has it.
fn turn(stream: &mut Stream, poll: &mut Poll, halves: &mut Halves, mut longest: Duration) -> io::Result<()> {
    if !matches!(halves.sending, Some(Err(_))) {
        match stream.before_poll() {
            Ok(timeout) => longest = timeout.map_or(longest, |timeout| timeout.min(longest)),
            Err(error) => halves.sending_failed(error),
        }
    }
    let mut events = Events::with_capacity(8);
    match poll.poll(&mut events, Some(longest)) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
        _ => {}
    }
    for event in &events {
        if let Err(error) = stream.handle_event(event) {
            halves.receiving = Some(Err(error));
        }
    }
    Ok(())
}

fn abort(stream: &mut Stream, poll: &mut Poll, halves: &mut Halves) -> io::Result<()> {
    halves.account().closed.set();
    let waiting = stream.connection().waiting();
    match stream.abort() {
        Ok(discarded) if discarded == waiting => halves.account().discarded.add(discarded),
        Ok(discarded) => {
            let why = format!("abort gave up {discarded} bytes of {waiting} that waited");
            halves.sending = Some(Err(io::Error::other(why)));
        }
        Err(error) => halves.sending_failed(error),
    }
    let end = Instant::now() + ABORT_LIMIT;
    while !matches!(halves.sending, Some(Err(_))) && !stream.is_finished() && Instant::now() < end {
        turn(stream, poll, halves, Duration::from_millis(10))?;
    }
    Ok(())
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        done => done.map(Some),
    }
}

impl Outbound for Stream {
    fn call(&mut self, call: Call<'_>) -> io::Result<Option<usize>> {
        unless_blocked(match call {
            Call::Send(data, flags) => self.send(data, flags),
            Call::SendVectored(bufs, flags) => self.send_vectored(bufs, flags),
            Call::SendBytes(data, flags) => self.send_bytes(data, flags),
            Call::Write(data) => self.write(data),
            Call::WriteVectored(bufs) => self.write_vectored(bufs),
            Call::Cork => {
                self.cork();
                Ok(0)
            }
            Call::Uncork => self.uncork().map(|()| 0),
            Call::Flush => self.flush().map(|()| 0),
            Call::Close => match self.close() {
                Ok(()) if !self.is_finished() => return Ok(None),
                done => done.map(|()| 0),
            },
        })
    }

    fn stats(&self) -> Stats {
        TlsStream::stats(self)
    }
}

impl Inbound for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        unless_blocked(Read::read(self, buf))
    }
}
