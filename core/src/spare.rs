//! Memory that an idle policy keeps for the next write, and when it gives it back.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::queue::Queue;

/// After how long without a write an idle policy gives its buffers back.
const IDLE: Duration = Duration::from_secs(1);

/// The buffer of the last output that was taken whole, to be filled again once that output has
/// been dropped.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    output: Option<BytesMut>,
}

impl Spare {
    /// A buffer for output, the last one if there is one.
    pub(crate) fn take(&mut self) -> BytesMut {
        self.output.take().unwrap_or_default()
    }

    /// What `buffer` holds; the rest of it is kept.
    pub(crate) fn freeze(&mut self, mut buffer: BytesMut) -> Bytes {
        let output = buffer.split().freeze();
        self.output = Some(buffer);
        output
    }

    /// When the buffers are due to be given back; `None` if there are none to give.
    pub(crate) fn due(&self, queue: &Queue, last_write: Option<Instant>) -> Option<Instant> {
        let last = last_write?;
        let spare = queue.has_spare() || (self.output.is_some() && queue.len() == 0);
        spare.then(|| last + IDLE)
    }

    pub(crate) fn give_back(&mut self, queue: &mut Queue) {
        queue.clear();
        self.output = None;
    }
}
