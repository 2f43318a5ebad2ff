//! Limits and sizes, with defaults that need no thought.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ConfigError;

/// Largest plaintext of one TLS record, in bytes (RFC 8446, section 5.1).
pub const MAX_RECORD_SIZE: usize = 16 * 1024;
/// Smallest `record_size`, in bytes.
const MIN_RECORD_SIZE: usize = 16;
/// Longest `max_hold` and `idle_reset`.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Largest `send_buffer_limit` and batch, in bytes.
const MAX_BUFFER: usize = usize::MAX / 4;

/// How a [`CorkPolicy`](crate::CorkPolicy) holds, releases and seals.
///
/// The defaults suit storage, RPC and message protocols alike. Values are checked when a policy is made from them.
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
    /// Plaintext bytes of a full record, 16 to 16,384 (the default).
    ///
    /// A session whose `max_fragment_size` allows less than this uses what it allows.
    pub fn record_size(mut self, bytes: usize) -> Self {
        self.record_size = bytes;
        self
    }

    /// The most that is ever held, 1 to `record_size` (the default) bytes.
    pub fn hold_limit(mut self, bytes: usize) -> Self {
        self.hold_limit = Some(bytes);
        self
    }

    /// How long the first held byte waits at most, if the caller keeps to
    /// [`poll_timeout`](crate::CorkPolicy::poll_timeout): over zero to 60 s, 10 ms by default.
    pub fn max_hold(mut self, time: Duration) -> Self {
        self.max_hold = time;
        self
    }

    /// The most plaintext that waits, held or released, copied or shared: at least `record_size`, 256 KiB by default.
    pub fn send_buffer_limit(mut self, bytes: usize) -> Self {
        self.send_buffer_limit = bytes;
        self
    }

    /// Plaintext bytes sealed at a time; 64 KiB to 96 KiB by default, from `record_size` upwards.
    ///
    /// Sealing starts with the smaller, doubles up to the larger while the transport takes whole batches, and falls
    /// back when it pushes back. What waits, sealed, for a receiver that stalls is one batch at most. Batches over 128 KiB save sends,
    /// but glibc then returns their memory to the system each time (`M_TRIM_THRESHOLD` of mallopt(3)), which costs more.
    pub fn batch_size(mut self, bytes: RangeInclusive<usize>) -> Self {
        (self.batch_min, self.batch_max) = bytes.into_inner();
        self
    }

    /// Whether [`handle_read_wait`](crate::CorkPolicy::handle_read_wait) releases what is held; true by default.
    ///
    /// Turn it off where one task reads and another writes: the reader waits all the time, and would release every
    /// held byte at once.
    pub fn flush_on_read_wait(mut self, yes: bool) -> Self {
        self.flush_on_read_wait = yes;
        self
    }

    /// Whether the stream begins corked, so that every write holds its tail as if it had
    /// [`SendFlags::MORE`](crate::SendFlags::MORE); false by default.
    ///
    /// This stands in for a `BufWriter`: small writes wait for a flush
    /// ([`flush`](crate::CorkPolicy::flush), or that of a driver's stream), for a full record, or
    /// for [`max_hold`](Self::max_hold), whichever comes first.
    /// [`uncork`](crate::CorkPolicy::uncork) ends it.
    pub fn corked(mut self, yes: bool) -> Self {
        self.corked = yes;
        self
    }

    /// Starts with small records that a receiver can use before the congestion window has opened; off by default.
    pub fn dynamic_records(mut self, ramp: DynamicRecords) -> Self {
        self.dynamic_records = Some(ramp);
        self
    }

    /// The value of [`record_size`](Self::record_size), in bytes.
    pub fn get_record_size(&self) -> usize {
        self.record_size
    }

    /// The value of [`hold_limit`](Self::hold_limit), in bytes: `record_size` if it was not set.
    pub fn get_hold_limit(&self) -> usize {
        self.hold_limit.unwrap_or(self.record_size)
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

    /// The value of [`dynamic_records`](Self::dynamic_records), if it was set.
    pub fn get_dynamic_records(&self) -> Option<&DynamicRecords> {
        self.dynamic_records.as_ref()
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    ///
    /// Names the first field that is out of its range, and the range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        in_range("record_size", self.record_size, MIN_RECORD_SIZE, MAX_RECORD_SIZE)?;
        if let Some(limit) = self.hold_limit {
            in_range("hold_limit", limit, 1, self.record_size)?;
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

/// Small records at the start and after a pause: each fits one TCP segment, so that the receiver can decrypt it as soon as the
/// segment is there, instead of waiting for all of a 16 KiB record.
///
/// Good for web pages on slow or distant links, wrong for storage.
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
    /// Plaintext bytes of a small record, 16 to `record_size`; 1,369 by default, which fits an Ethernet frame with every
    /// cipher suite, IP version and the usual TCP options.
    pub fn segment_size(mut self, bytes: usize) -> Self {
        self.segment_size = bytes;
        self
    }

    /// How many plaintext bytes go out in small records, from 1; 54,760 (40 of them) by default.
    pub fn ramp_bytes(mut self, bytes: usize) -> Self {
        self.ramp_bytes = bytes;
        self
    }

    /// The value of [`segment_size`](Self::segment_size), in bytes.
    pub fn get_segment_size(&self) -> usize {
        self.segment_size
    }

    /// The value of [`ramp_bytes`](Self::ramp_bytes).
    pub fn get_ramp_bytes(&self) -> usize {
        self.ramp_bytes
    }

    /// The value of [`idle_reset`](Self::idle_reset).
    pub fn get_idle_reset(&self) -> Duration {
        self.idle_reset
    }

    /// After how long without a write the records are small again: over zero to 60 s, 1 s by default.
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
        assert_eq!((config.get_record_size(), config.get_hold_limit()), (200, 200), "no limit was set");
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
            (base().hold_limit(0), "hold_limit", "1 to 16384 bytes"),
            (base().record_size(100).hold_limit(101), "hold_limit", "1 to 100 bytes"),
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
