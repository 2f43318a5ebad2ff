//! Requests that have been submitted and are not sent yet.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use tls_cork_nbd::REQUEST_LEN;

/// A message to send: a short header and, behind it, a payload that may be empty.
#[derive(Debug, Clone)]
pub struct Outgoing {
    header: [u8; REQUEST_LEN],
    header_sent: usize,
    header_len: usize,
    payload: Bytes,
}

impl Outgoing {
    /// A request of the transmission phase.
    pub fn request(header: [u8; REQUEST_LEN], payload: Bytes) -> Self {
        Self { header, header_sent: 0, header_len: REQUEST_LEN, payload }
    }

    /// A message without a header of its own.
    pub fn message(message: Bytes) -> Self {
        Self { header: [0; REQUEST_LEN], header_sent: 0, header_len: 0, payload: message }
    }

    /// What is left of the header.
    pub(super) fn header(&self) -> &[u8] {
        &self.header[self.header_sent..self.header_len]
    }

    /// What is left of the payload.
    pub(super) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What is left of the payload, to take pieces from.
    pub(super) fn payload_mut(&mut self) -> &mut Bytes {
        &mut self.payload
    }

    /// What is left of header and payload, for one vectored write.
    pub(super) fn slices(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(self.header()), IoSlice::new(&self.payload)]
    }

    /// Drops the first `n` bytes of what is left.
    pub(super) fn advance(&mut self, n: usize) {
        let of_header = n.min(self.header().len());
        self.header_sent += of_header;
        self.payload.advance(n - of_header);
    }

    pub(super) fn is_done(&self) -> bool {
        self.header().is_empty() && self.payload.is_empty()
    }
}

/// Requests in order, with the place where the turn ends.
#[derive(Debug, Default)]
pub(super) struct RequestQueue {
    requests: VecDeque<Outgoing>,
    /// The newest request is the last one of its turn.
    turn_complete: bool,
}

impl RequestQueue {
    pub(super) fn push(&mut self, request: Outgoing, last: bool) {
        self.requests.push_back(request);
        self.turn_complete = last;
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Outgoing> {
        self.requests.front_mut()
    }

    /// True when nothing will follow the front request in this turn. A request that once was the
    /// last of a turn, and had to wait until others queued up behind it, no longer is.
    pub(super) fn front_is_last(&self) -> bool {
        self.turn_complete && self.requests.len() == 1
    }

    pub(super) fn pop(&mut self) {
        self.requests.pop_front();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advance_crosses_from_header_to_payload() {
        let mut request = Outgoing::request([7; REQUEST_LEN], Bytes::from_static(b"abc"));
        request.advance(REQUEST_LEN - 1);
        assert_eq!(request.header(), [7]);
        request.advance(2);
        assert!(request.header().is_empty());
        assert_eq!(&request.payload()[..], b"bc");
        assert!(!request.is_done());
        request.advance(2);
        assert!(request.is_done());
    }

    #[test]
    fn only_the_end_of_the_newest_turn_is_last() {
        let request = || Outgoing::message(Bytes::from_static(b"x"));
        let mut queue = RequestQueue::default();
        queue.push(request(), false);
        assert!(!queue.front_is_last());
        queue.push(request(), true);
        assert!(!queue.front_is_last());
        queue.pop();
        assert!(queue.front_is_last());
        queue.push(request(), true);
        assert!(!queue.front_is_last());
        queue.pop();
        assert!(queue.front_is_last());
    }
}
