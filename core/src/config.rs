//! The configuration of a policy: limits, sizes and their defaults.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ConfigError;

/// The largest plaintext of one TLS record, in bytes (RFC 8446, section 5.1).
pub const MAX_RECORD_SIZE: usize = 16 * 1024;
/// The default of `hold_limit`, in bytes, where the other limits allow it.
const HOLD_LIMIT: usize = 64 * 1024;
/// The smallest `record_size`, in bytes.
const MIN_RECORD_SIZE: usize = 16;
/// The longest `max_hold` and `idle_reset`.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The largest `send_buffer_limit` and batch, in bytes.
const MAX_BUFFER: usize = usize::MAX / 4;

/// The limits and sizes of a [`CorkPolicy`](crate::CorkPolicy).
///
/// The defaults suit storage, RPC and message protocols alike. Values are checked when a policy is
/// created from them, or by [`validate`](Self::validate).
///
/// `record_size(…)` sets a field and `get_record_size()` reads it, as with
/// [`std::process::Command`].
///
/// ```
/// # use std::time::Duration;
/// use tls_cork::CorkConfig;
///
/// let config = CorkConfig::default()
///     .max_hold(Duration::from_millis(2))
///     .send_buffer_limit(1024 * 1024);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CorkConfig {
    pub(crate) record_size: usize,
    pub(crate) hold_limit: Option<usize>,
    pub(crate) max_hold: Duration,
    pub(crate) send_buffer_limit: usize,
    pub(crate) batch_min: usize,
    pub(crate) batch_max: usize,
    pub(crate) flush_on_read_wait: bool,
    pub(crate) corked: bool,
    pub(crate) dynamic_records: Option<DynamicRecords>,
}

impl Default for CorkConfig {
    fn default() -> Self {
        Self {
            record_size: MAX_RECORD_SIZE,
            hold_limit: None,
            max_hold: Duration::from_millis(10),
            send_buffer_limit: 256 * 1024,
            batch_min: 64 * 1024,
            batch_max: 96 * 1024,
            flush_on_read_wait: true,
            corked: false,
            dynamic_records: None,
        }
    }
}

impl CorkConfig {
    /// Sets the plaintext bytes of a full record (R13): 16 to 16,384, which is the default.
    ///
    /// A session with a smaller `max_fragment_size` uses that size less 5 bytes instead.
    pub fn record_size(mut self, bytes: usize) -> Self {
        self.record_size = bytes;
        self
    }

    /// Sets the most plaintext bytes that are held (R1): 1 to half of `send_buffer_limit`, or to
    /// `record_size` if that is more. By default 64 KiB, or less if that range has less; with
    /// [`dynamic_records`](Self::dynamic_records), `record_size`.
    ///
    /// Over `record_size`, writes with `MORE` of less than 32 KiB gather several records: these leave
    /// together, in one send where [`batch_size`](Self::batch_size) allows, when more than
    /// `hold_limit` bytes are held. That saves sends of a burst, and delays its first byte by at most
    /// [`max_hold`](Self::max_hold). A write that fills a record 1 ms or more after the write before
    /// does not gather: its producer takes its time. Up to `record_size` it limits the held tail, and
    /// full records never wait.
    pub fn hold_limit(mut self, bytes: usize) -> Self {
        self.hold_limit = Some(bytes);
        self
    }

    /// Sets how long the first held byte may wait (R5): more than zero, up to 60 s; 10 ms by
    /// default.
    ///
    /// The limit holds if the driver calls [`handle_timeout`](crate::CorkPolicy::handle_timeout) at
    /// the time that [`poll_timeout`](crate::CorkPolicy::poll_timeout) returns.
    pub fn max_hold(mut self, time: Duration) -> Self {
        self.max_hold = time;
        self
    }

    /// Sets the most plaintext bytes that wait, held or released, copied or shared (R9): at least
    /// `record_size`, 256 KiB by default.
    pub fn send_buffer_limit(mut self, bytes: usize) -> Self {
        self.send_buffer_limit = bytes;
        self
    }

    /// Sets the plaintext bytes that are sealed at a time (R7): both ends at least `record_size`,
    /// 64 KiB to 96 KiB by default.
    ///
    /// The size starts at the lower end, doubles up to the upper end while the transport takes
    /// whole batches, and falls back to the lower end when the transport pushes back. At most one
    /// sealed batch waits for a receiver that stalls. Batches over 128 KiB save sends, but glibc
    /// then returns their memory to the system each time (`M_TRIM_THRESHOLD` of mallopt(3)), which
    /// costs more.
    pub fn batch_size(mut self, bytes: RangeInclusive<usize>) -> Self {
        (self.batch_min, self.batch_max) = bytes.into_inner();
        self
    }

    /// Sets whether [`handle_read_wait`](crate::CorkPolicy::handle_read_wait) releases what is held
    /// (R12); true by default.
    ///
    /// A loop of your own over the core turns it off where one thread reads and another writes: the
    /// reader sleeps most of the time, and would release every held byte at once. With the drivers
    /// leave it on: a read releases nothing that another task holds.
    pub fn flush_on_read_wait(mut self, yes: bool) -> Self {
        self.flush_on_read_wait = yes;
        self
    }

    /// Sets whether the stream begins corked, so that every write holds its tail as if it had
    /// [`SendFlags::MORE`](crate::SendFlags::MORE) (R10); false by default.
    ///
    /// A corked stream replaces a `BufWriter`: small writes wait for a flush
    /// ([`flush`](crate::CorkPolicy::flush), or that of a driver's stream), for a full record, or
    /// for [`max_hold`](Self::max_hold), whichever comes first.
    /// [`uncork`](crate::CorkPolicy::uncork) ends it.
    pub fn corked(mut self, yes: bool) -> Self {
        self.corked = yes;
        self
    }

    /// Makes records small at the start and after a pause (R13), so that a receiver can use them
    /// before the congestion window has opened; off by default.
    pub fn dynamic_records(mut self, ramp: DynamicRecords) -> Self {
        self.dynamic_records = Some(ramp);
        self
    }

    /// The value of [`record_size`](Self::record_size), in bytes.
    pub fn get_record_size(&self) -> usize {
        self.record_size
    }

    /// The value of [`hold_limit`](Self::hold_limit), in bytes; its default if it was not set.
    pub fn get_hold_limit(&self) -> usize {
        let several = if self.dynamic_records.is_some() { 0 } else { HOLD_LIMIT.min(self.send_buffer_limit / 2) };
        self.hold_limit.unwrap_or(several.max(self.record_size))
    }

    /// The value of [`max_hold`](Self::max_hold).
    pub fn get_max_hold(&self) -> Duration {
        self.max_hold
    }

    /// The value of [`send_buffer_limit`](Self::send_buffer_limit), in bytes.
    pub fn get_send_buffer_limit(&self) -> usize {
        self.send_buffer_limit
    }

    /// The value of [`batch_size`](Self::batch_size), in bytes.
    pub fn get_batch_size(&self) -> RangeInclusive<usize> {
        self.batch_min..=self.batch_max
    }

    /// The value of [`flush_on_read_wait`](Self::flush_on_read_wait).
    pub fn get_flush_on_read_wait(&self) -> bool {
        self.flush_on_read_wait
    }

    /// The value of [`corked`](Self::corked).
    pub fn get_corked(&self) -> bool {
        self.corked
    }

    /// The value of [`dynamic_records`](Self::dynamic_records); `None` if it was not set.
    pub fn get_dynamic_records(&self) -> Option<&DynamicRecords> {
        self.dynamic_records.as_ref()
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the first field that is out of its range, its value and its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        in_range("record_size", self.record_size, MIN_RECORD_SIZE, MAX_RECORD_SIZE)?;
        if let Some(limit) = self.hold_limit {
            in_range("hold_limit", limit, 1, self.record_size.max(self.send_buffer_limit / 2))?;
        }
        wait("max_hold", self.max_hold)?;
        in_range("send_buffer_limit", self.send_buffer_limit, self.record_size, MAX_BUFFER)?;
        in_range("batch_size start", self.batch_min, self.record_size, MAX_BUFFER)?;
        in_range("batch_size end", self.batch_max, self.batch_min, MAX_BUFFER)?;
        if let Some(ramp) = &self.dynamic_records {
            in_range("segment_size", ramp.segment_size, MIN_RECORD_SIZE, self.record_size)?;
            in_range("ramp_bytes", ramp.ramp_bytes, 1, MAX_BUFFER)?;
            wait("idle_reset", ramp.idle_reset)?;
        }
        Ok(())
    }
}

/// Small records at the start of a stream and after a pause (R13).
///
/// Each small record fits one TCP segment. The receiver can decrypt it as soon as that segment has
/// arrived, instead of waiting for a whole record of 16 KiB. Useful for web pages over slow or
/// distant links; not for storage, where small records are only overhead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct DynamicRecords {
    pub(crate) segment_size: usize,
    pub(crate) ramp_bytes: usize,
    pub(crate) idle_reset: Duration,
}

impl Default for DynamicRecords {
    fn default() -> Self {
        Self { segment_size: 1369, ramp_bytes: 40 * 1369, idle_reset: Duration::from_secs(1) }
    }
}

impl DynamicRecords {
    /// Sets the plaintext bytes of a small record: 16 to `record_size`, 1,369 by default.
    ///
    /// A record of the default size fits an Ethernet frame with every cipher suite, both IP
    /// versions and the usual TCP options.
    pub fn segment_size(mut self, bytes: usize) -> Self {
        self.segment_size = bytes;
        self
    }

    /// Sets how many plaintext bytes leave in small records: at least 1, by default 54,760, which
    /// is 40 records.
    pub fn ramp_bytes(mut self, bytes: usize) -> Self {
        self.ramp_bytes = bytes;
        self
    }

    /// The value of [`segment_size`](Self::segment_size), in bytes.
    pub fn get_segment_size(&self) -> usize {
        self.segment_size
    }

    /// The value of [`ramp_bytes`](Self::ramp_bytes), in bytes.
    pub fn get_ramp_bytes(&self) -> usize {
        self.ramp_bytes
    }

    /// The value of [`idle_reset`](Self::idle_reset).
    pub fn get_idle_reset(&self) -> Duration {
        self.idle_reset
    }

    /// Sets after which time without a write, and with nothing waiting, the records are small
    /// again: more than zero, up to 60 s; 1 s by default.
    pub fn idle_reset(mut self, time: Duration) -> Self {
        self.idle_reset = time;
        self
    }
}

pub(crate) fn in_range(field: &'static str, value: usize, min: usize, max: usize) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError { field, value: format!("{value} bytes"), range: format!("{min} to {max} bytes") })
}

fn wait(field: &'static str, value: Duration) -> Result<(), ConfigError> {
    if value > Duration::ZERO && value <= MAX_WAIT {
        return Ok(());
    }
    Err(ConfigError { field, value: format!("{value:?}"), range: format!("more than 0 s and at most {MAX_WAIT:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(CorkConfig::default().validate(), Ok(()));
        let ramp = CorkConfig::default().dynamic_records(DynamicRecords::default());
        assert_eq!(ramp.validate(), Ok(()));
    }

    #[test]
    fn what_was_set_can_be_read() {
        let ms = Duration::from_millis;
        let ramp = DynamicRecords::default().segment_size(100).ramp_bytes(1000).idle_reset(ms(7));
        assert_eq!((ramp.get_segment_size(), ramp.get_ramp_bytes(), ramp.get_idle_reset()), (100, 1000, ms(7)));
        let config = CorkConfig::default().record_size(200);
        assert_eq!((config.get_record_size(), config.get_hold_limit()), (200, 65_536), "no limit was set");
        assert_eq!(config.clone().send_buffer_limit(5000).get_hold_limit(), 2500);
        assert_eq!(config.clone().send_buffer_limit(300).get_hold_limit(), 200);
        assert_eq!(config.clone().dynamic_records(ramp.clone()).get_hold_limit(), 200);
        let config = config.hold_limit(50).max_hold(ms(3)).send_buffer_limit(1000).batch_size(300..=400);
        assert_eq!((config.get_hold_limit(), config.get_max_hold()), (50, ms(3)));
        assert_eq!((config.get_send_buffer_limit(), config.get_batch_size()), (1000, 300..=400));
        assert_eq!((config.get_flush_on_read_wait(), config.get_corked()), (true, false));
        assert_eq!(config.get_dynamic_records(), None);
        let config = config.flush_on_read_wait(false).corked(true).dynamic_records(ramp.clone());
        assert_eq!((config.get_flush_on_read_wait(), config.get_corked()), (false, true));
        assert_eq!(config.get_dynamic_records(), Some(&ramp));
    }

    #[test]
    fn an_error_names_the_field_and_its_range() {
        let ms = Duration::from_millis;
        let base = CorkConfig::default;
        let ramp = DynamicRecords::default;
        let cases: [(CorkConfig, &str, &str); 13] = [
            (base().record_size(15), "record_size", "16 to 16384 bytes"),
            (base().record_size(16_385), "record_size", "16 to 16384 bytes"),
            (base().hold_limit(0), "hold_limit", "1 to 131072 bytes"),
            (base().record_size(100).send_buffer_limit(180).hold_limit(101), "hold_limit", "1 to 100 bytes"),
            (base().max_hold(ms(0)), "max_hold", "more than 0 s and at most 60s"),
            (base().max_hold(ms(60_001)), "max_hold", "more than 0 s and at most 60s"),
            (base().send_buffer_limit(16_383), "send_buffer_limit", "16384 to"),
            (base().batch_size(100..=200), "batch_size start", "16384 to"),
            (base().batch_size(RangeInclusive::new(65_536, 65_535)), "batch_size end", "65536 to"),
            (base().dynamic_records(ramp().segment_size(0)), "segment_size", "16 to 16384 bytes"),
            (base().dynamic_records(ramp().segment_size(16_385)), "segment_size", "16 to 16384 bytes"),
            (base().dynamic_records(ramp().ramp_bytes(0)), "ramp_bytes", "1 to"),
            (base().dynamic_records(ramp().idle_reset(ms(0))), "idle_reset", "more than 0 s"),
        ];
        for (config, field, range) in cases {
            let error = config.validate().expect_err(field);
            assert_eq!(error.field, field);
            let text = error.to_string();
            assert!(text.contains(field) && text.contains(range), "{text}");
        }
    }
}
