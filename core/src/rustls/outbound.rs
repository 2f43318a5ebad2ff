//! Sealing with rustls 0.23, which keeps sealed records in a queue of its own.

use std::io::{self, IoSlice, Write};

use smallvec::SmallVec;

use super::Session;
use crate::gather::{self, Slices};
use crate::{Seal, SealError};

/// The content type of alerts (RFC 8446, section 5.1); they show only in TLS 1.2, whose keys alone can be used up.
const ALERT: u8 = 21;
/// No encrypted alert is longer than this, in bytes.
const ALERT_MAX: usize = 128;
/// Plaintext bytes of an alert (RFC 5246, section 7.2).
const ALERT_LEN: usize = 2;
/// rustls offers at most this many records in one `write_tls`.
const SLICES_MAX: usize = 64;

impl Seal for Session {
    fn is_ready(&self) -> bool {
        !self.conn.is_handshaking()
    }

    fn max_record_size(&self) -> usize {
        self.max_record_size
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        self.may_have_control = false; // it comes along
        let len = gather::total(plaintext);
        if record_size == self.max_record_size || len <= record_size {
            return Ok(if self.write(plaintext, len)? { len.div_ceil(record_size) } else { 0 });
        }
        for (records, offset) in (0..len).step_by(record_size).enumerate() {
            let take = record_size.min(len - offset);
            let mut record: Slices<'_> = SmallVec::new();
            gather::pieces(plaintext, offset, take, |piece| record.push(IoSlice::new(piece)));
            if !self.write(&record, take)? {
                return Ok(records);
            }
        }
        Ok(len.div_ceil(record_size))
    }

    fn has_output(&self) -> bool {
        self.last_bytes.map_or_else(|| self.conn.wants_write(), |bytes| bytes > 0)
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        let most = self.last_bytes.unwrap_or(usize::MAX);
        let sent = self.conn.write_tls(&mut Offer { send, most })?;
        if let Some(bytes) = &mut self.last_bytes {
            *bytes -= sent;
        }
        Ok(sent)
    }

    fn close_notify(&mut self) {
        self.conn.send_close_notify();
    }

    fn has_control(&self) -> bool {
        self.may_have_control
    }

    fn queue_control(&mut self) {
        self.may_have_control = false;
        // rustls keeps its answer to a KeyUpdate until the next write, of which an empty one is enough. An error here is the
        // session's own, and was reported when it happened.
        let _ = self.conn.writer().write(&[]);
    }
}

impl Session {
    /// False if the keys are used up, and then nothing was sealed.
    fn write(&mut self, plaintext: &[IoSlice<'_>], len: usize) -> Result<bool, SealError> {
        // TLS 1.3 updates its keys before they are used up (RFC 8446, section 5.5): rustls does so unasked.
        let limited = !self.is_tls13();
        let before = if limited { self.output_bytes()? } else { 0 };
        let mut writer = self.conn.writer();
        let taken = match plaintext {
            [one] => writer.write(one),
            many => writer.write_vectored(many),
        };
        let taken = taken.map_err(failed)? == len;
        if !limited {
            return Ok(taken);
        }
        // With its keys used up, rustls drops plaintext and reports it as taken: only the output tells.
        let added = self.output_bytes()?.saturating_sub(before);
        let one = len <= self.max_record_size;
        let sealed = taken
            && match self.overhead {
                _ if len > ALERT_MAX => added >= len,
                Some(overhead) if one && len != ALERT_LEN => added == len + overhead,
                _ => self.last_content_type()? != Some(ALERT),
            };
        if sealed && one && len <= ALERT_MAX {
            self.overhead = added.checked_sub(len);
        }
        if !sealed {
            // rustls has queued a `close_notify` in its place, which would pass what is lost for a proper end.
            self.last_bytes = Some(before);
        }
        Ok(sealed)
    }

    /// How many bytes wait for the transport.
    fn output_bytes(&mut self) -> Result<usize, SealError> {
        // All that was received has been processed: this only looks.
        self.conn.process_new_packets().map(|state| state.tls_bytes_to_write()).map_err(failed)
    }

    /// Of the last record that waits, or of the last that rustls offers at a time. Takes none.
    fn last_content_type(&mut self) -> Result<Option<u8>, SealError> {
        let mut look = Look { last: None };
        self.conn.write_tls(&mut look).map_err(failed)?;
        Ok(look.last)
    }
}

fn failed(error: impl ToString) -> SealError {
    SealError::Session(error.to_string())
}

/// Gives rustls's records to a closure instead of a writer.
struct Offer<'a> {
    send: &'a mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    /// No more bytes than this are to leave.
    most: usize,
}

impl Write for Offer<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // A full list may not be all: without its last record there is surely one behind the others.
        let rest = bufs.len() == SLICES_MAX;
        let bufs = if rest { &bufs[..SLICES_MAX - 1] } else { bufs };
        if self.most == usize::MAX {
            return (self.send)(bufs, rest);
        }
        let mut first: Slices<'_> = SmallVec::new();
        gather::pieces(bufs, 0, self.most, |piece| first.push(IoSlice::new(piece)));
        (self.send)(&first, rest && gather::total(&first) < self.most)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes nothing from rustls.
struct Look {
    /// The content type of the last record offered.
    last: Option<u8>,
}

impl Write for Look {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.last = bufs.last().and_then(|buf| buf.first().copied());
        Ok(0)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
