//! `more` without TLS: the same policy and the same calls, with nothing encrypted.
//!
//! tls-cork-mio is TLS only, so this file is the small driver that the policy needs: it transmits
//! when told to, and comes back when a deadline says so.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use mio::event::{Event, Source};
use mio::{Interest, Registry, Token};
use tls_cork::{CorkConfig, CorkPolicy, FlushDecision, Passthrough, SendFlags, WriteError, Written};
use tls_cork_mio::Transport;

use super::Wire;
use super::request_queue::{Outgoing, RequestQueue};
use crate::shared::socket::{Counters, CountingSocket};

#[derive(Debug)]
pub(super) struct CleartextMore {
    policy: CorkPolicy<Passthrough>,
    socket: CountingSocket,
    queue: RequestQueue,
    readable: bool,
    writable: bool,
    /// The peer has closed: no further event will say so.
    ended: bool,
    closing: bool,
}

impl CleartextMore {
    pub(super) fn new(socket: CountingSocket, cork: CorkConfig) -> io::Result<Self> {
        Ok(Self {
            policy: CorkPolicy::new(Passthrough::new(), cork).map_err(io::Error::other)?,
            socket,
            queue: RequestQueue::default(),
            readable: true,
            writable: true,
            ended: false,
            closing: false,
        })
    }

    /// Writes what waits until nothing does or the policy takes no more for now.
    fn drive(&mut self) -> io::Result<()> {
        // `write` is asked first and transmits when told to; this is for what was told before.
        if self.writable && self.policy.wants_transmit() {
            self.transmit()?;
        }
        loop {
            let last = self.queue.front_is_last();
            let Some(request) = self.queue.front_mut() else {
                break;
            };
            match write(&mut self.policy, request, last) {
                Ok(written) => {
                    if request.is_done() {
                        self.queue.pop();
                    }
                    self.obey(written.decision)?;
                }
                Err(WriteError::Blocked) if !self.writable => return Ok(()),
                Err(WriteError::Blocked) => self.transmit()?,
                Err(error) => return Err(error.into()),
            }
        }
        if self.closing {
            let decision = self.policy.close(Instant::now());
            self.obey(decision)?;
            if !self.policy.wants_transmit() {
                self.closing = false;
                self.socket.shutdown_write()?;
            }
        }
        Ok(())
    }

    fn obey(&mut self, decision: FlushDecision) -> io::Result<()> {
        if decision.is_flush() && self.writable {
            self.transmit()?;
        }
        Ok(())
    }

    fn transmit(&mut self) -> io::Result<()> {
        let socket = &mut self.socket;
        let done = self.policy.transmit_with(|bufs, more| socket.send(bufs, more))?;
        self.writable = !done.blocked;
        Ok(())
    }
}

/// One write event: the header, or what the policy takes of the payload.
fn write(policy: &mut CorkPolicy<Passthrough>, request: &mut Outgoing, last: bool) -> Result<Written, WriteError> {
    let now = Instant::now();
    if request.header().is_empty() {
        return policy.write_bytes(now, request.payload_mut(), SendFlags::more_if(!last));
    }
    let more = !last || !request.payload().is_empty();
    let header = [io::IoSlice::new(request.header())];
    let written = policy.write(now, &header, SendFlags::more_if(more))?;
    request.advance(written.accepted);
    Ok(written)
}

impl Wire for CleartextMore {
    fn register(&mut self, registry: &Registry) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.socket.register(registry, Token(0), interest)
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn submit(&mut self, request: Outgoing, last: bool) -> io::Result<()> {
        self.queue.push(request, last);
        self.drive()
    }

    fn end_turn(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = loop {
            if !self.readable {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                result => break result?,
            }
        };
        // As tls-cork-mio does.
        let short = 0 < taken && taken < buffer.len() && !self.ended && self.socket.is_drained_by_short_read();
        self.readable &= !short;
        Ok(taken)
    }

    fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.ended |= event.is_read_closed() || event.is_error();
        if event.is_writable() || event.is_write_closed() {
            self.writable = true;
            self.drive()?;
        }
        Ok(())
    }

    fn before_poll(&mut self) -> io::Result<Option<Duration>> {
        let now = Instant::now();
        if self.policy.poll_timeout().is_some_and(|at| at <= now) {
            let decision = self.policy.handle_timeout(now);
            self.obey(decision)?;
        }
        let decision = self.policy.handle_read_wait(now);
        self.obey(decision)?;
        Ok(self.policy.poll_timeout().map(|at| at.saturating_duration_since(now)))
    }

    fn close(&mut self) -> io::Result<()> {
        self.closing = true;
        self.drive()
    }

    fn has_unsent(&self) -> bool {
        self.closing || !self.queue.is_empty() || self.policy.wants_transmit()
    }

    fn counters(&self) -> Counters {
        self.socket.counters()
    }
}
