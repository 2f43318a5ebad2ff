//! The strategies that need no cork of ours, over any [`Sink`].

use std::fmt;
use std::io::{self, IoSlice};

use mio::event::Event;
use mio::{Interest, Registry, Token};

use super::request_queue::{Outgoing, RequestQueue};
use super::{Strategy, Wire};
use crate::shared::socket::{Counters, CountingSocket};

/// Where plaintext goes: a TLS session with its socket, or a socket alone.
pub(super) trait Sink: fmt::Debug {
    fn socket(&self) -> &CountingSocket;
    fn socket_mut(&mut self) -> &mut CountingSocket;
    /// False while a handshake is under way.
    fn is_ready(&self) -> bool;
    /// Takes as much of `bufs` as there is room for, as one write; zero when there is none.
    fn put(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Hands everything taken to the socket; false when the socket has pushed back.
    fn flush(&mut self) -> io::Result<bool>;
    /// True while something taken has not reached the socket.
    fn has_unsent(&self) -> bool;
    /// Takes any amount from here on, as a corked session does.
    fn lift_limit(&mut self);
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    fn set_readiness(&mut self, readable: bool, writable: bool);
    fn send_close(&mut self) -> io::Result<()>;
}

#[derive(Debug)]
pub(super) struct PlainWire<S> {
    sink: S,
    strategy: Strategy,
    queue: RequestQueue,
    tcp_corked: bool,
    /// `FullCork`: what the turn has copied together. Its capacity is kept from turn to turn.
    held: Vec<u8>,
    held_sent: usize,
    closing: bool,
}

impl<S: Sink> PlainWire<S> {
    pub(super) fn new(mut sink: S, strategy: Strategy) -> Self {
        if strategy == Strategy::FullCork {
            sink.lift_limit();
        }
        Self {
            sink,
            strategy,
            queue: RequestQueue::default(),
            tcp_corked: false,
            held: Vec::new(),
            held_sent: 0,
            closing: false,
        }
    }

    /// Sends what waits until nothing does or the socket pushes back.
    fn drive(&mut self) -> io::Result<()> {
        if self.strategy == Strategy::FullCork {
            self.drive_held()?;
        } else {
            self.drive_queue()?;
        }
        self.sink.flush()?;
        if self.closing && self.queue.is_empty() && self.held.is_empty() {
            self.closing = false;
            self.sink.send_close()?;
        }
        Ok(())
    }

    fn drive_queue(&mut self) -> io::Result<()> {
        while let Some(request) = self.queue.front_mut() {
            if self.strategy == Strategy::TcpCork && !self.tcp_corked {
                self.sink.socket().set_cork(true)?;
                self.tcp_corked = true;
            }
            while !request.is_done() {
                let n = match self.strategy {
                    Strategy::Vectored => put(&mut self.sink, &request.slices())?,
                    _ if request.header().is_empty() => put(&mut self.sink, &[IoSlice::new(request.payload())])?,
                    _ => put(&mut self.sink, &[IoSlice::new(request.header())])?,
                };
                if n == 0 {
                    return Ok(());
                }
                request.advance(n);
            }
            if self.tcp_corked {
                // Uncorked before its data has reached the kernel, the cork would be for nothing.
                if !self.sink.flush()? {
                    return Ok(());
                }
                self.sink.socket().set_cork(false)?;
                self.tcp_corked = false;
            }
            self.queue.pop();
        }
        Ok(())
    }

    fn drive_held(&mut self) -> io::Result<()> {
        while self.held_sent < self.held.len() {
            let rest = [IoSlice::new(&self.held[self.held_sent..])];
            let n = put(&mut self.sink, &rest)?;
            if n == 0 {
                // Without TLS the socket may take the turn in parts; what is gone must not
                // pile up in front of what the next turns append.
                if self.held_sent > self.held.len() / 2 {
                    self.held.drain(..self.held_sent);
                    self.held_sent = 0;
                }
                return Ok(());
            }
            self.held_sent += n;
        }
        self.held.clear();
        self.held_sent = 0;
        Ok(())
    }
}

/// One write, flushed. Zero means that the socket has pushed back and there is no room.
fn put(sink: &mut impl Sink, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let n = sink.put(bufs)?;
    let drained = sink.flush()?;
    if n > 0 || !drained {
        return Ok(n);
    }
    // There was no room, and flushing made some.
    let n = sink.put(bufs)?;
    let drained = sink.flush()?;
    if n == 0 && drained {
        // No room although nothing waits: a session that refuses data for good.
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(n)
}

impl<S: Sink> Wire for PlainWire<S> {
    fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(self.sink.socket_mut(), Token(0), Interest::READABLE | Interest::WRITABLE)?;
        self.sink.flush().map(drop)
    }

    fn is_ready(&self) -> bool {
        self.sink.is_ready()
    }

    fn submit(&mut self, request: Outgoing, last: bool) -> io::Result<()> {
        if self.strategy == Strategy::FullCork {
            self.held.extend_from_slice(request.header());
            self.held.extend_from_slice(request.payload());
            return Ok(());
        }
        self.queue.push(request, last);
        self.drive_queue()
    }

    fn end_turn(&mut self) -> io::Result<()> {
        self.drive()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.sink.read(buffer)
    }

    fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
        let writable = event.is_writable() || event.is_write_closed();
        self.sink.set_readiness(readable, writable);
        if writable { self.drive() } else { Ok(()) }
    }

    fn close(&mut self) -> io::Result<()> {
        self.closing = true;
        self.drive()
    }

    fn has_unsent(&self) -> bool {
        self.closing || !self.queue.is_empty() || !self.held.is_empty() || self.sink.has_unsent()
    }

    fn counters(&self) -> Counters {
        self.sink.socket().counters()
    }
}
