//! `Shown`: a copy of received plaintext that can leave a lock.

use std::fmt;
use std::io;
use std::task::{Context, Poll};

use crate::{Engine, Session, Timer, Transport};

/// A copy of plaintext that the session still has, because a borrow cannot leave a lock.
///
/// The session keeps the bytes until they are taken, so a handle that is dropped loses none. The
/// copy is one record at most, and is freed when all of it has been taken.
#[derive(Default)]
pub struct Shown {
    copy: Vec<u8>,
    /// Bytes of `copy` that have been taken.
    taken: usize,
    /// [`Engine::taken`] at the first byte that is left of the copy. Other reads of the stream make
    /// the copy stale.
    at: u64,
}

impl Shown {
    /// As [`Engine::poll_fill_buf`], but returns a copy.
    ///
    /// # Errors
    ///
    /// As [`Engine::poll_read`].
    pub fn poll_fill_buf<IO: Transport, S: Session, T: Timer>(
        &mut self,
        engine: &mut Engine<IO, S, T>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<&[u8]>> {
        let taken = engine.taken();
        let plaintext = match engine.poll_fill_buf(cx) {
            Poll::Ready(Ok(plaintext)) => plaintext,
            other => {
                *self = Self::default();
                return other.map_ok(|_| &[][..]);
            }
        };
        if self.at != taken || self.copy.is_empty() {
            self.copy.clear();
            self.copy.extend_from_slice(plaintext);
            (self.taken, self.at) = (0, taken);
        }
        Poll::Ready(Ok(self.get()))
    }

    /// The part of the last [`poll_fill_buf`](Self::poll_fill_buf) that has not been taken.
    pub fn get(&self) -> &[u8] {
        &self.copy[self.taken..]
    }

    /// As [`Engine::consume`].
    pub fn consume<IO: Transport, S: Session, T: Timer>(&mut self, engine: &mut Engine<IO, S, T>, len: usize) {
        let before = engine.taken();
        engine.consume(len);
        let taken = self.taken + (engine.taken() - before) as usize;
        if self.at == before && taken < self.copy.len() {
            (self.taken, self.at) = (taken, engine.taken());
        } else {
            *self = Self::default();
        }
    }
}

/// Prints the number of bytes.
impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({} bytes)", self.get().len())
    }
}
