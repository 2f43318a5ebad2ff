//! `more`: every piece marked MORE but the last of the turn, through tls-cork-mio.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Interest, Registry, Token};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tls_cork::{CorkConfig, SendFlags};
use tls_cork_mio::TlsStream;

use super::Wire;
use super::request_queue::{Outgoing, RequestQueue};
use crate::shared::socket::{Counters, CountingSocket};

#[derive(Debug)]
pub(super) struct CorkedWire {
    stream: TlsStream<CountingSocket>,
    queue: RequestQueue,
    closing: bool,
}

impl CorkedWire {
    pub(super) fn new(
        socket: CountingSocket,
        config: Arc<ClientConfig>,
        server_name: ServerName<'static>,
        cork: CorkConfig,
    ) -> io::Result<Self> {
        Ok(Self {
            stream: TlsStream::client_with(socket, config, server_name, cork)?,
            queue: RequestQueue::default(),
            closing: false,
        })
    }

    /// Hands over what waits until nothing does or the stream takes no more for now.
    fn drive(&mut self) -> io::Result<()> {
        loop {
            let last = self.queue.front_is_last();
            let Some(request) = self.queue.front_mut() else {
                break;
            };
            match send(&mut self.stream, request, last) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                result => result?,
            }
            self.queue.pop();
        }
        if self.closing {
            self.closing = false;
            self.stream.close()?;
        }
        Ok(())
    }
}

/// Sends what is left of `request`; what was accepted before an error has left `request`.
fn send(stream: &mut TlsStream<CountingSocket>, request: &mut Outgoing, last: bool) -> io::Result<()> {
    while !request.header().is_empty() {
        let more = !last || !request.payload().is_empty();
        let sent = stream.send(request.header(), SendFlags::more_if(more))?;
        request.advance(sent);
    }
    while !request.payload().is_empty() {
        stream.send_bytes(request.payload_mut(), SendFlags::more_if(!last))?;
    }
    Ok(())
}

impl Wire for CorkedWire {
    fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.stream, Token(0), Interest::READABLE | Interest::WRITABLE)
    }

    fn is_ready(&self) -> bool {
        !self.stream.is_handshaking()
    }

    fn submit(&mut self, request: Outgoing, last: bool) -> io::Result<()> {
        self.queue.push(request, last);
        self.drive()
    }

    fn end_turn(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    fn handle_event(&mut self, event: &Event) -> io::Result<()> {
        self.stream.handle_event(event)?;
        self.drive()
    }

    fn before_poll(&mut self) -> io::Result<Option<Duration>> {
        self.stream.before_poll()
    }

    fn close(&mut self) -> io::Result<()> {
        self.closing = true;
        self.drive()
    }

    fn has_unsent(&self) -> bool {
        self.closing || !self.queue.is_empty() || self.stream.wants_transmit()
    }

    fn counters(&self) -> Counters {
        self.stream.get_ref().counters()
    }
}
