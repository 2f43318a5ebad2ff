//! The outbound half: seals with rustls 0.23, which keeps sealed records in a queue of its own.

use std::error::Error;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use smallvec::SmallVec;

use super::Session;
use crate::gather::{self, Pieces, Slices};
use crate::{Seal, SealError};

/// The content type of alerts (RFC 8446, section 5.1). It is visible only in TLS 1.2, the one
/// version whose keys can be used up.
const ALERT: u8 = 21;
/// The plaintext bytes of an alert (RFC 5246, section 7.2).
const ALERT_LEN: usize = 2;
/// rustls offers at most this many records in one `write_tls`.
const SLICES_MAX: usize = 64;
/// Only a list of at most this many slices is left to rustls to cut into several records (R16).
const SLICES_FOR_RUSTLS: usize = 16;

impl Seal for Session {
    fn is_ready(&self) -> bool {
        !self.conn.is_handshaking()
    }

    fn max_record_size(&self) -> usize {
        self.max_record_size
    }

    #[inline]
    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        self.may_have_control = false; // the next record brings it along
        if let [one] = plaintext
            && one.len() <= record_size
            && self.tls13
        {
            // Fast path: one record.
            gather::count_steps(1);
            let taken = self.conn.writer().write(one).map_err(failed)?;
            return Ok(usize::from(taken == one.len()));
        }
        self.seal_records(plaintext, record_size)
    }

    #[inline]
    fn has_output(&self) -> bool {
        self.last_bytes.map_or_else(|| self.conn.wants_write(), |bytes| bytes > 0)
    }

    #[inline]
    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        let most = self.last_bytes.unwrap_or(usize::MAX);
        let sent = self.conn.write_tls(&mut Offer { send, most })?;
        if let Some(bytes) = &mut self.last_bytes {
            *bytes -= sent;
        }
        if self.refreshing {
            self.refreshing = self.conn.wants_write();
        }
        Ok(sent)
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        self.conn.send_close_notify();
        Ok(())
    }

    fn has_control(&self) -> bool {
        self.may_have_control
    }

    fn queue_control(&mut self) {
        self.may_have_control = false;
        // rustls keeps its answer to a KeyUpdate until the next write; an empty write is enough. An
        // error here is one of the session, which was reported when it occurred.
        let _ = self.conn.writer().write(&[]);
    }
}

impl Session {
    /// As [`seal`](Seal::seal), of any plaintext.
    #[inline(never)]
    fn seal_records(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        let len = gather::total(plaintext);
        // R16: for each record that it cuts, rustls walks over all the slices.
        let few = plaintext.len() <= SLICES_FOR_RUSTLS;
        let rustls_cuts = record_size == self.max_record_size && self.tls13 && few;
        if rustls_cuts || len <= record_size {
            return self.write(plaintext, len, record_size);
        }
        let mut records = 0;
        let mut pieces = Pieces::new(plaintext);
        for offset in (0..len).step_by(record_size) {
            let take = record_size.min(len - offset);
            let mut record: Slices<'_> = SmallVec::new();
            pieces.take(take, |piece| record.push(IoSlice::new(piece)));
            match self.write(&record, take, record_size)? {
                0 => break,
                made => records += made,
            }
        }
        Ok(records)
    }

    /// Queues a KeyUpdate request behind earlier output, unless one waits already.
    pub(crate) fn refresh_traffic_keys(&mut self) -> Result<(), ::rustls::Error> {
        if !self.refreshing {
            self.conn.refresh_traffic_keys()?;
            self.refreshing = true;
        }
        Ok(())
    }

    /// Hands `plaintext` to rustls; returns the number of records made, zero if the keys are used
    /// up.
    ///
    /// In TLS 1.3, rustls updates its keys before they are used up (RFC 8446, section 5.5). In TLS
    /// 1.2 it then drops the plaintext, reports it as taken, and queues a `close_notify` in its
    /// place.
    fn write(&mut self, plaintext: &[IoSlice<'_>], len: usize, record_size: usize) -> Result<usize, SealError> {
        if self.tls13 {
            let records = len.div_ceil(record_size);
            gather::count_steps(plaintext.len() * records);
            return Ok(if self.hand_over(plaintext)? == len { records } else { 0 });
        }
        let before = self.output_bytes()?;
        let mut waiting = before;
        // If many records wait, an alert can only be recognised by its length. So no record may
        // have the length of an alert.
        let step = if len == ALERT_LEN && !self.look()?.is_all { 1 } else { len.max(1) };
        let mut pieces = Pieces::new(plaintext);
        for _ in (0..len).step_by(step) {
            let mut record: Slices<'_> = SmallVec::new();
            pieces.take(step, |piece| record.push(IoSlice::new(piece)));
            let added = self.write_record(&record, step, waiting)?;
            if added == 0 {
                // The `close_notify` must not leave: it would present the lost plaintext as a
                // proper end.
                self.last_bytes = Some(before);
                return Ok(0);
            }
            waiting += added;
        }
        Ok(len / step)
    }

    /// Makes one record of TLS 1.2 behind `waiting` wire bytes. Returns its wire bytes; zero if it
    /// was not sealed.
    fn write_record(&mut self, plaintext: &[IoSlice<'_>], len: usize, waiting: usize) -> Result<usize, SealError> {
        let taken = self.hand_over(plaintext)?;
        let added = self.output_bytes()?.saturating_sub(waiting);
        if taken < len || added <= len {
            return Ok(0);
        }
        let look = self.look()?;
        let sealed = if look.is_all {
            self.overhead = Some(added - len);
            look.last != Some(ALERT)
        } else {
            // The overhead is unknown only before the first record, for which the keys always
            // suffice.
            self.overhead.is_none_or(|overhead| added != ALERT_LEN + overhead)
        };
        Ok(if sealed { added } else { 0 })
    }

    /// Writes `plaintext` to rustls; returns the number of bytes it took.
    fn hand_over(&mut self, plaintext: &[IoSlice<'_>]) -> Result<usize, SealError> {
        let mut writer = self.conn.writer();
        match plaintext {
            [one] => writer.write(one),
            many => writer.write_vectored(many),
        }
        .map_err(failed)
    }

    /// The number of wire bytes that wait for the transport.
    fn output_bytes(&mut self) -> Result<usize, SealError> {
        // All received bytes have been processed, so this call only returns the state.
        self.conn.process_new_packets().map(|state| state.tls_bytes_to_write()).map_err(failed)
    }

    /// Looks at the records that wait, without taking any.
    fn look(&mut self) -> Result<Look, SealError> {
        let mut look = Look { last: None, is_all: true };
        self.conn.write_tls(&mut look).map_err(failed)?;
        Ok(look)
    }
}

fn failed(error: impl Error + Send + Sync + 'static) -> SealError {
    SealError::Session(Arc::new(error))
}

/// Gives the records of rustls to a closure instead of a writer.
struct Offer<'a> {
    send: &'a mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>,
    /// The most wire bytes that may leave.
    most: usize,
}

impl Write for Offer<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // R8: a full list may not be all. Without its last record, at least one waits behind the
        // others.
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

/// A writer that takes nothing from rustls.
struct Look {
    /// The content type of the last record offered.
    last: Option<u8>,
    /// Whether no record waits behind it.
    is_all: bool,
}

impl Write for Look {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.last = bufs.last().and_then(|buf| buf.first().copied());
        self.is_all = bufs.len() < SLICES_MAX;
        Ok(0)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ::rustls::pki_types::{PrivateKeyDer, ServerName};
    use ::rustls::{
        ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
        version,
    };

    use super::*;
    use crate::gather::tests::steps_of;

    /// A client's session after its handshake.
    fn session(version: &'static SupportedProtocolVersion, max_fragment_size: Option<usize>) -> Session {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let mut client = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.max_fragment_size = max_fragment_size;
        let server = ServerConfig::builder_with_protocol_versions(&[version])
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        Session::new(client.into(), max_fragment_size)
    }

    #[test]
    #[cfg_attr(miri, ignore = "the crypto provider is not Rust")]
    fn sealing_many_slices_into_small_records_looks_at_each_a_few_times() {
        // With neither record size is the last record as short as an alert.
        const SLICES: usize = 2003;
        for version in [&version::TLS12, &version::TLS13] {
            // Cut here; and cut by rustls if it were given so many slices.
            for (max_fragment_size, record_size) in [(None, 16), (Some(32), 27)] {
                let mut session = session(version, max_fragment_size);
                let bufs: Vec<_> = (0..SLICES).map(|_| IoSlice::new(b"a")).collect();
                let mut records = 0;
                let steps = steps_of(|| records = session.seal(&bufs, record_size).unwrap());
                assert_eq!(records, SLICES.div_ceil(record_size));
                assert!(steps <= 4 * SLICES, "{version:?}, records of {record_size}: {steps} steps");
            }
        }
    }
}
