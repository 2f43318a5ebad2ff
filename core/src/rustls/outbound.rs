//! Sealing with rustls 0.23, which keeps sealed records in a queue of its own.

use std::io::{self, IoSlice, Write};

use smallvec::SmallVec;

use super::Session;
use crate::gather::{self, Slices};
use crate::{Seal, SealError};

/// The content type of protected application data (RFC 8446, section 5.1).
const APPLICATION_DATA: u8 = 23;
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
        let len = gather::total(plaintext);
        let records = len.div_ceil(record_size);
        let before = self.application_records()?;
        if record_size == self.max_record_size || len <= record_size {
            self.write(plaintext, len)?;
        } else {
            let mut offset = 0;
            while offset < len {
                let take = record_size.min(len - offset);
                let mut record: Slices<'_> = SmallVec::new();
                gather::pieces(plaintext, offset, take, |piece| record.push(IoSlice::new(piece)));
                self.write(&record, take)?;
                offset += take;
            }
        }
        // With its keys used up, rustls drops plaintext and reports it as taken: only the output tells.
        if self.application_records()? - before < records {
            return Err(SealError::KeysExhausted);
        }
        Ok(records)
    }

    fn has_output(&self) -> bool {
        self.conn.wants_write()
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        self.conn.write_tls(&mut Offer { send })
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
    fn write(&mut self, plaintext: &[IoSlice<'_>], len: usize) -> Result<(), SealError> {
        let mut writer = self.conn.writer();
        let taken = match plaintext {
            [one] => writer.write(one),
            many => writer.write_vectored(many),
        };
        match taken {
            Ok(n) if n == len => Ok(()),
            Ok(_) => Err(SealError::KeysExhausted),
            Err(error) => Err(SealError::Session(error.to_string())),
        }
    }

    /// How many of the records that wait are application data. Looks at the output without taking any.
    fn application_records(&mut self) -> Result<usize, SealError> {
        let mut count = 0;
        let looked = self.conn.write_tls(&mut Offer {
            send: &mut |bufs, _rest| {
                count = bufs.iter().filter(|buf| buf.first() == Some(&APPLICATION_DATA)).count();
                Ok(0)
            },
        });
        match looked {
            Ok(_) => Ok(count),
            Err(error) => Err(SealError::Session(error.to_string())),
        }
    }
}

/// Gives rustls's records to a closure instead of a writer.
struct Offer<'a> {
    send: &'a mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
}

impl Write for Offer<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // A full list may not be all.
        (self.send)(bufs, bufs.len() == SLICES_MAX)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
