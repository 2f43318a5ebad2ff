//! A session without TLS and without a handshake: what is written leaves as it is, by the same
//! rules.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test program uses a part")]

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::time::Instant;

use bytes::Bytes;
use tls_cork_engine::Session;
use tls_cork_engine::tls_cork::{
    CorkConfig, CorkPolicy, Passthrough, ReceiveError, SendFlags, TransmitError, Transmitted, WriteError,
};

#[derive(Debug)]
pub struct Plain {
    policy: CorkPolicy<Passthrough>,
    received: VecDeque<u8>,
    ended: bool,
}

impl Plain {
    pub fn new(config: CorkConfig) -> Self {
        let policy = CorkPolicy::new(Passthrough::new(), config).unwrap();
        Self { policy, received: VecDeque::new(), ended: false }
    }
}

impl Session for Plain {
    fn write(&mut self, now: Instant, bufs: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, WriteError> {
        self.policy.write(now, bufs, flags).map(|written| written.accepted)
    }

    fn join_held(&mut self, data: &[u8], flags: SendFlags) -> bool {
        self.policy.join_held(data, flags)
    }

    fn write_bytes(&mut self, now: Instant, data: &mut Bytes, flags: SendFlags) -> Result<usize, WriteError> {
        self.policy.write_bytes(now, data, flags).map(|written| written.accepted)
    }

    fn abort(&mut self) -> usize {
        self.policy.abort()
    }

    fn cork(&mut self, now: Instant) {
        self.policy.cork(now);
    }

    fn uncork(&mut self, now: Instant) {
        let _ = self.policy.uncork(now);
    }

    fn is_corked(&self) -> bool {
        self.policy.is_corked()
    }

    fn flush(&mut self, now: Instant) {
        let _ = self.policy.flush(now);
    }

    fn close(&mut self, now: Instant) {
        let _ = self.policy.close(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let _ = self.policy.handle_timeout(now);
    }

    fn handle_read_wait(&mut self, now: Instant) {
        let _ = self.policy.handle_read_wait(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.policy.poll_timeout()
    }

    fn wants_transmit(&self) -> bool {
        self.policy.wants_transmit()
    }

    fn transmit_up_to(
        &mut self,
        limit: usize,
        send: impl FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    ) -> Result<Transmitted, TransmitError> {
        self.policy.transmit_up_to(limit, send)
    }

    fn receive_from(&mut self, _now: Instant, reader: &mut dyn Read) -> Result<usize, ReceiveError> {
        let mut buf = [0; 4096];
        let n = reader.read(&mut buf).map_err(ReceiveError::Io)?;
        self.received.extend(&buf[..n]);
        self.ended |= n == 0;
        Ok(n)
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.received.read(buf)? {
            0 if !self.ended && !buf.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.received.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(self.received.as_slices().0)
    }

    fn consume(&mut self, len: usize) {
        self.received.drain(..len.min(self.received.as_slices().0.len()));
    }

    fn send_capacity(&self) -> usize {
        self.policy.send_capacity()
    }

    fn waiting(&self) -> usize {
        self.policy.waiting()
    }

    fn is_finished(&self) -> bool {
        self.policy.is_finished()
    }

    fn is_write_closed(&self) -> bool {
        self.policy.is_write_closed()
    }

    fn is_handshaking(&self) -> bool {
        false
    }

    fn lost_bytes(&self) -> usize {
        self.policy.lost_bytes()
    }
}
