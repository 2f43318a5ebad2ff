//! Buffers that an idle policy keeps for the next write, and the time at which it frees them.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::queue::Queue;

/// Time after the last write at which an idle policy frees its buffers.
const IDLE: Duration = Duration::from_secs(1);

/// The buffer of the last output that was taken whole. It is filled again once the caller has
/// dropped that output.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    output: Option<BytesMut>,
}

impl Spare {
    /// Returns a buffer for output: the last one if there is one.
    pub(crate) fn take(&mut self) -> BytesMut {
        self.output.take().unwrap_or_default()
    }

    /// Returns the contents of `buffer` and keeps the rest of its capacity.
    pub(crate) fn freeze(&mut self, mut buffer: BytesMut) -> Bytes {
        let output = buffer.split().freeze();
        self.output = Some(buffer);
        output
    }

    /// The time at which to free the buffers; `None` if there are none to free.
    pub(crate) fn due(&self, queue: &Queue, last_write: Option<Instant>) -> Option<Instant> {
        let last = last_write?;
        let spare = queue.has_spare() || (self.output.is_some() && queue.len() == 0);
        spare.then(|| last + IDLE)
    }

    pub(crate) fn give_back(&mut self, queue: &mut Queue) {
        queue.give_back();
        self.output = None;
    }
}
