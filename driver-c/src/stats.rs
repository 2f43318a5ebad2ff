//! `tls_cork_stats`: the counters of a policy, and the reasons of releases.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::mem::size_of;

use tls_cork::FlushReason;

use crate::error::Error;
use crate::policy::{tls_cork_policy, with};

/// Counters of a policy since its start. None of them decreases.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct tls_cork_stats {
    /// Records of application data sealed.
    pub records: u64,
    /// Plaintext bytes sealed into those records.
    pub plaintext_bytes: u64,
    /// Bytes that the transport took, in records of every kind.
    pub wire_bytes: u64,
    /// Plaintext bytes that were copied into the buffer. The rest was sealed from the caller's
    /// memory.
    pub copied_bytes: u64,
    /// Sends in which the transport took bytes, and buffers taken.
    pub transmits: u64,
    /// The longest time from a first held byte to its release, in nanoseconds.
    pub longest_hold: u64,
    /// The largest batch sealed at one time, in plaintext bytes.
    pub largest_batch: u64,
}

/// Copies the counters to `*stats`. `size` is sizeof(struct tls_cork_stats): later versions may
/// have more members. Members that this version does not have become 0. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_get_stats(
    policy: *mut tls_cork_policy,
    stats: *mut tls_cork_stats,
    size: usize,
) -> c_int {
    // SAFETY: the contract of this call is that of `with`, and the caller gives `size` bytes at
    // `stats`.
    unsafe {
        with(policy, |inner| {
            if stats.is_null() || size == 0 {
                return Err(Error::invalid("stats is NULL, or its size is 0"));
            }
            let now = inner.policy.stats();
            let made = tls_cork_stats {
                records: now.records,
                plaintext_bytes: now.plaintext_bytes,
                wire_bytes: now.wire_bytes,
                copied_bytes: now.copied_bytes,
                transmits: now.transmits,
                longest_hold: u64::try_from(now.longest_hold.as_nanos()).unwrap_or(u64::MAX),
                largest_batch: now.largest_batch,
            };
            let known = size.min(size_of::<tls_cork_stats>());
            // As bytes: a caller of another version has another struct.
            let to = stats.cast::<u8>();
            to.copy_from_nonoverlapping((&raw const made).cast(), known);
            to.add(known).write_bytes(0, size - known);
            Ok(0)
        })
    }
}

/// The number of releases that had this reason (TLS_CORK_REASON_...). -EINVAL if there is no such
/// reason.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_releases(policy: *mut tls_cork_policy, reason: c_uint) -> i64 {
    // SAFETY: as above.
    unsafe {
        with(policy, |inner| {
            let reason = FlushReason::ALL.get(reason as usize).ok_or(Error::invalid("no such reason"))?;
            Ok(i64::try_from(inner.policy.stats().flushes(*reason)).unwrap_or(i64::MAX))
        })
    }
}

/// The name of a reason (TLS_CORK_REASON_...), such as "deadline"; "unknown" if there is no such
/// reason. Static.
#[unsafe(no_mangle)]
pub extern "C" fn tls_cork_reason_name(reason: c_uint) -> *const c_char {
    let name: &CStr = match FlushReason::ALL.get(reason as usize) {
        Some(FlushReason::Last) => c"last",
        Some(FlushReason::RecordFull) => c"record full",
        Some(FlushReason::HoldLimit) => c"hold limit",
        Some(FlushReason::Filled) => c"filled",
        Some(FlushReason::Uncork) => c"uncork",
        Some(FlushReason::Flush) => c"flush",
        Some(FlushReason::Deadline) => c"deadline",
        Some(FlushReason::ReadWait) => c"read wait",
        Some(FlushReason::HandshakeDone) => c"handshake done",
        Some(FlushReason::Close) => c"close",
        _ => c"unknown",
    };
    name.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::*;

    #[test]
    fn each_reason_has_its_number_and_a_name_of_its_own() {
        let numbers = [
            (TLS_CORK_REASON_LAST, FlushReason::Last),
            (TLS_CORK_REASON_RECORD_FULL, FlushReason::RecordFull),
            (TLS_CORK_REASON_HOLD_LIMIT, FlushReason::HoldLimit),
            (TLS_CORK_REASON_FILLED, FlushReason::Filled),
            (TLS_CORK_REASON_UNCORK, FlushReason::Uncork),
            (TLS_CORK_REASON_FLUSH, FlushReason::Flush),
            (TLS_CORK_REASON_DEADLINE, FlushReason::Deadline),
            (TLS_CORK_REASON_READ_WAIT, FlushReason::ReadWait),
            (TLS_CORK_REASON_HANDSHAKE_DONE, FlushReason::HandshakeDone),
            (TLS_CORK_REASON_CLOSE, FlushReason::Close),
        ];
        assert_eq!((numbers.len(), TLS_CORK_REASONS as usize), (FlushReason::ALL.len(), FlushReason::ALL.len()));
        // SAFETY: a static text that ends with a zero.
        let name = |n| unsafe { CStr::from_ptr(tls_cork_reason_name(n)) };
        for (n, reason) in numbers {
            assert_eq!(FlushReason::ALL[n as usize], reason);
            assert!((0..n).all(|other| name(other) != name(n)) && name(n) != c"unknown", "{reason:?}");
        }
        assert_eq!(name(TLS_CORK_REASONS), c"unknown");
    }
}
