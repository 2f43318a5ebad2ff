//! `tls_cork_config`: the limits and sizes of a policy.

use std::ffi::c_int;
use std::ops::RangeInclusive;
use std::time::Duration;

use tls_cork::{CorkConfig, DynamicRecords};

use crate::error::Error;
use crate::guard::{caught, guard};

/// The limits and sizes of a policy. Made by tls_cork_config_new(), freed by
/// tls_cork_config_free(). A policy copies it, so one configuration serves any number of policies.
///
/// Threads: one at a time. While no thread sets a value, several may create policies from it.
#[derive(Debug)]
pub struct tls_cork_config(CorkConfig);

/// The configuration at `config`, or the defaults for NULL.
///
/// # Safety
///
/// `config` is NULL, or a configuration that is not freed, and that nothing changes meanwhile.
pub(crate) unsafe fn copy_of(config: *const tls_cork_config) -> CorkConfig {
    // SAFETY: by the contract of this function.
    unsafe { config.as_ref() }.map_or_else(CorkConfig::default, |config| config.0.clone())
}

/// Creates a configuration with the defaults that the setters state. Free it with
/// tls_cork_config_free(). Returns NULL after a fault in this library.
///
/// The setters return 0, or -EINVAL for NULL and for a negative time. All other values are checked
/// by tls_cork_policy_new(); the text of its error names the value and its range.
#[unsafe(no_mangle)]
pub extern "C" fn tls_cork_config_new() -> *mut tls_cork_config {
    caught(|| Ok(Box::into_raw(Box::new(tls_cork_config(CorkConfig::default()))))).unwrap_or_else(|error| {
        error.report();
        std::ptr::null_mut()
    })
}

/// Frees a configuration. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_free(config: *mut tls_cork_config) {
    guard(|| {
        if !config.is_null() {
            // SAFETY: not NULL, made by `tls_cork_config_new`, and not used any more.
            drop(unsafe { Box::from_raw(config) });
        }
        Ok(0)
    });
}

/// Sets the plaintext bytes of a full record: 16 to 16,384, which is the default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_set_record_size(config: *mut tls_cork_config, bytes: usize) -> c_int {
    // SAFETY: the contract of this call is that of `set`.
    unsafe { set(config, |config| Ok(config.record_size(bytes))) }
}

/// Sets the most plaintext bytes that are held: 1 to half of the send buffer limit, or to the record
/// size if that is more. By default 65,536, or less if that range has less; with dynamic records, the
/// record size.
///
/// With more than a record, full records of writes of less than 32 KiB wait until more than `bytes` are
/// held, and leave together. A write that fills a record 1 ms or more after the write before does not
/// wait. Up to a record, full records never wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_set_hold_limit(config: *mut tls_cork_config, bytes: usize) -> c_int {
    // SAFETY: as above.
    unsafe { set(config, |config| Ok(config.hold_limit(bytes))) }
}

/// Sets how long the first held byte may wait, in nanoseconds: over 0, up to 60 s; 10 ms by
/// default. The limit holds if tls_cork_handle_timeout() is called in time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_set_max_hold(config: *mut tls_cork_config, ns: i64) -> c_int {
    // SAFETY: as above.
    unsafe { set(config, |config| Ok(config.max_hold(time(ns)?))) }
}

/// Sets the most plaintext bytes that wait, held or released: at least the record size, up to
/// SIZE_MAX / 4; 256 KiB by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_set_send_buffer_limit(config: *mut tls_cork_config, bytes: usize) -> c_int {
    // SAFETY: as above.
    unsafe { set(config, |config| Ok(config.send_buffer_limit(bytes))) }
}

/// Sets the plaintext bytes that are sealed at a time, 64 KiB to 96 KiB by default. The size starts
/// at `min`, doubles up to `max` while the transport takes whole batches, and falls back to `min`
/// when the transport pushes back. At least the record size, up to SIZE_MAX / 4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_set_batch_size(config: *mut tls_cork_config, min: usize, max: usize) -> c_int {
    // SAFETY: as above.
    unsafe { set(config, |config| Ok(config.batch_size(RangeInclusive::new(min, max)))) }
}

/// Sets whether tls_cork_handle_read_wait() releases what is held; true by default. Turn it off
/// where one thread reads and another writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_set_flush_on_read_wait(config: *mut tls_cork_config, yes: bool) -> c_int {
    // SAFETY: as above.
    unsafe { set(config, |config| Ok(config.flush_on_read_wait(yes))) }
}

/// Sets whether a policy begins corked; false by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_set_corked(config: *mut tls_cork_config, yes: bool) -> c_int {
    // SAFETY: as above.
    unsafe { set(config, |config| Ok(config.corked(yes))) }
}

/// Makes records small at the start and after a pause; off by default, and wrong for storage. The
/// first `ramp_bytes` (at least 1) leave in records of `segment_size` plaintext bytes (16 to the
/// record size), and so do the first after `idle_reset` nanoseconds without a write (over 0, up to
/// 60 s).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_config_set_dynamic_records(
    config: *mut tls_cork_config,
    segment_size: usize,
    ramp_bytes: usize,
    idle_reset: i64,
) -> c_int {
    let ramp = DynamicRecords::default().segment_size(segment_size).ramp_bytes(ramp_bytes);
    // SAFETY: as above.
    unsafe { set(config, |config| Ok(config.dynamic_records(ramp.idle_reset(time(idle_reset)?)))) }
}

/// Replaces the configuration at `config` by what `change` makes of it.
///
/// # Safety
///
/// `config` is NULL, or a configuration that is not freed, and that nothing else uses meanwhile.
unsafe fn set(config: *mut tls_cork_config, change: impl FnOnce(CorkConfig) -> Result<CorkConfig, Error>) -> c_int {
    guard(|| {
        // SAFETY: by the contract of this function.
        let config = unsafe { config.as_mut() }.ok_or(Error::invalid("config is NULL"))?;
        config.0 = change(config.0.clone())?;
        Ok(0)
    })
}

fn time(ns: i64) -> Result<Duration, Error> {
    u64::try_from(ns).map(Duration::from_nanos).map_err(|_| Error::invalid("a time is negative"))
}
