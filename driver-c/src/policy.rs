//! `tls_cork_policy`: its life, its writes, its events and its state.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_uint, c_void};
use std::fmt;
use std::io::IoSlice;
use std::ptr::null_mut;
use std::time::Instant;

use libc::{iovec, ssize_t};
use smallvec::SmallVec;
use tls_cork::{CorkPolicy, FlushDecision, SendFlags, WriteError};

use crate::clock::Clock;
use crate::config::{copy_of, tls_cork_config};
use crate::error::{Error, code_of};
use crate::guard::{Returned, guard};
use crate::output::{bytes_at, tls_cork_output};
use crate::sealer::{Sealer, tls_cork_sealer};
use crate::{TLS_CORK_IOV_MAX, TLS_CORK_MORE, TLS_CORK_NEVER};

/// Decides when plaintext becomes TLS records and when the records leave. Made by
/// tls_cork_policy_new(), freed by tls_cork_policy_free().
///
/// Threads: one at a time, and the same one as for the sealer's TLS session. A program that reads
/// and writes from two threads needs a lock around both.
pub struct tls_cork_policy {
    /// Borrowed while a call runs, so that a callback cannot make another.
    inner: RefCell<Inner>,
    /// Set while a call runs: if it is set and no call runs, one has ended by a panic.
    running: Cell<bool>,
    output: *mut tls_cork_output,
}

impl fmt::Debug for tls_cork_policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("tls_cork_policy").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) policy: CorkPolicy<Sealer>,
    clock: Clock,
    /// Whether the caller has reported a failure.
    reported: bool,
}

impl Inner {
    /// The positive code of the failure that ended the policy; 0 without one.
    pub(crate) fn failure(&self) -> c_int {
        let reported = if self.reported { libc::ECONNABORTED } else { 0 };
        self.policy.failure().map_or(reported, code_of)
    }

    /// Makes a call that takes the time and may release something: 1 if it did, else 0.
    fn decide(
        &mut self,
        now: i64,
        call: impl FnOnce(&mut CorkPolicy<Sealer>, Instant) -> FlushDecision,
    ) -> Result<c_int, Error> {
        let now = self.clock.at(now)?;
        Ok(c_int::from(call(&mut self.policy, now).is_flush()))
    }

    fn write(&mut self, now: i64, bufs: &[IoSlice<'_>], flags: c_uint) -> Result<ssize_t, Error> {
        let now = self.clock.at(now)?;
        match self.policy.write(now, bufs, SendFlags::more_if(flags == TLS_CORK_MORE)) {
            // No larger than the sum of the lengths, which is at most SSIZE_MAX.
            Ok(written) => Ok(written.accepted as ssize_t),
            Err(WriteError::Blocked) => Err(Error::AGAIN),
            Err(WriteError::Closed) => Err(Error::CLOSED),
            Err(_) => Err(Error::failed(self.failure())),
        }
    }
}

/// Calls `call` with the policy, unless it cannot be used.
///
/// # Safety
///
/// `policy` is NULL, or a policy that is not freed, and that no other thread uses meanwhile.
pub(crate) unsafe fn with<R: Returned>(
    policy: *const tls_cork_policy,
    call: impl FnOnce(&mut Inner) -> Result<R, Error>,
) -> R {
    guard(|| {
        // SAFETY: by the contract of this function. No reference to a policy is ever mutable.
        let policy = unsafe { policy.as_ref() }.ok_or(Error::invalid("policy is NULL"))?;
        let mut inner = policy.inner.try_borrow_mut().map_err(|_| Error::BUSY)?;
        if policy.running.replace(true) {
            return Err(Error::BROKEN);
        }
        let result = call(&mut inner);
        policy.running.set(false);
        result
    })
}

/// Creates a policy over `sealer`, whose members are copied. `config` may be NULL, for the
/// defaults; it is copied too. On success, stores the policy in `*policy` and returns 0. Free it
/// with tls_cork_policy_free().
///
/// Errors: -EINVAL if a pointer is NULL, a required callback is missing, `size` is too small, or
/// the configuration is invalid. `*policy` is NULL then, unless `policy` itself is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_policy_new(
    sealer: *const tls_cork_sealer,
    config: *const tls_cork_config,
    policy: *mut *mut tls_cork_policy,
) -> c_int {
    guard(|| {
        if policy.is_null() {
            return Err(Error::invalid("policy is NULL"));
        }
        // SAFETY: not NULL, and the caller gives room for a pointer.
        unsafe { policy.write(null_mut()) };
        // SAFETY: the caller gives NULL or a sealer that keeps the documentation.
        let sealer = unsafe { Sealer::new(sealer) }?;
        // SAFETY: the caller gives NULL or a configuration that is not freed.
        let config = unsafe { copy_of(config) };
        let output = sealer.output().as_ptr();
        let inner = Inner { policy: CorkPolicy::new(sealer, config)?, clock: Clock::new(), reported: false };
        let made = tls_cork_policy { inner: RefCell::new(inner), running: Cell::new(false), output };
        // SAFETY: as above.
        unsafe { policy.write(Box::into_raw(Box::new(made))) };
        Ok(0)
    })
}

/// Frees a policy with all that waits in it, and its output. NULL is allowed. Sends nothing: call
/// tls_cork_close() and transmit first. `user` of the sealer stays the caller's. Ignored inside a
/// callback of the policy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_policy_free(policy: *mut tls_cork_policy) {
    guard(|| {
        // SAFETY: NULL, or made by `tls_cork_policy_new` and not freed yet.
        let Some(shared) = (unsafe { policy.as_ref() }) else {
            return Ok(0);
        };
        if shared.inner.try_borrow_mut().is_err() {
            return Err(Error::BUSY);
        }
        // SAFETY: from `Box::into_raw`, and no call uses it. The caller does not use it any more.
        drop(unsafe { Box::from_raw(policy) });
        Ok(0)
    });
}

/// The output of a policy, for the write function of the TLS library (push function of GnuTLS, BIO
/// of OpenSSL). All that the session writes goes there, also outside of callbacks: in the handshake,
/// or as an alert. NULL if `policy` is NULL. Valid until the policy is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_get_output(policy: *mut tls_cork_policy) -> *mut tls_cork_output {
    // SAFETY: NULL, or a policy that is not freed. This member never changes.
    unsafe { policy.as_ref() }.map_or(null_mut(), |policy| policy.output)
}

/// Writes the concatenation of `iov` as one write event. Returns the number of bytes accepted from
/// its front, which may be fewer than offered: write the rest with the flags of the whole, after a
/// transmit. A short write counts as written with TLS_CORK_MORE.
///
/// While uncorked, a write without TLS_CORK_MORE releases everything written so far, even if it is
/// empty. A write with the flag, or any write while corked, is held up to the hold limit; above it,
/// full records are released (tls_cork_config_set_hold_limit()). In the handshake everything waits.
/// Transmit afterwards, if tls_cork_wants_transmit().
///
/// `iov` may be NULL if `iovcnt` is 0, and an element's base if its length is 0. Accepted bytes
/// have been copied or sealed when the call returns.
///
/// Errors, with which no byte was accepted: -EAGAIN if the buffer is full (transmit, then write
/// again); -EPIPE after tls_cork_close() or tls_cork_abort(); after a failure, its code
/// (tls_cork_failure()); -EINVAL also for unknown flags, more than TLS_CORK_IOV_MAX elements, or a
/// sum of lengths over SSIZE_MAX.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_writev(
    policy: *mut tls_cork_policy,
    now: i64,
    iov: *const iovec,
    iovcnt: usize,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: the contract of this call is that of `with`.
    unsafe {
        with(policy, |inner| {
            check_flags(flags)?;
            let bufs = slices(iov, iovcnt)?;
            inner.write(now, &bufs, flags)
        })
    }
}

/// Writes `len` bytes at `data`; otherwise the same as tls_cork_writev().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_write(
    policy: *mut tls_cork_policy,
    now: i64,
    data: *const c_void,
    len: usize,
    flags: c_uint,
) -> ssize_t {
    // SAFETY: as in `tls_cork_writev`, and the caller gives `len` bytes at `data`.
    unsafe {
        with(policy, |inner| {
            check_flags(flags)?;
            let data = bytes_at(data, len)?;
            inner.write(now, &[IoSlice::new(data)], flags)
        })
    }
}

/// Holds the tail of every later write, as if it had TLS_CORK_MORE, until tls_cork_uncork(). The
/// limits on what is held stay in force. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_cork(policy: *mut tls_cork_policy, now: i64) -> c_int {
    // SAFETY: the contract of this call is that of `with`.
    unsafe {
        with(policy, |inner| {
            let now = inner.clock.at(now)?;
            inner.policy.cork(now);
            Ok(0)
        })
    }
}

/// Ends tls_cork_cork() and releases everything. Never blocks and sends nothing itself. Returns 1
/// if there is something new to transmit, else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_uncork(policy: *mut tls_cork_policy, now: i64) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| inner.decide(now, CorkPolicy::uncork)) }
}

/// Releases everything; a cork stays on. Returns 1 if there is something new to transmit, else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_flush(policy: *mut tls_cork_policy, now: i64) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| inner.decide(now, CorkPolicy::flush)) }
}

/// Releases everything, puts close_notify behind the last byte and refuses further writes. Returns
/// 1 if there is something new to transmit, else 0. Transmit until tls_cork_is_finished(). In the
/// handshake, all of it waits for the end of the handshake. A further call changes nothing. Reading
/// goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_close(policy: *mut tls_cork_policy, now: i64) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| inner.decide(now, CorkPolicy::close)) }
}

/// Discards all plaintext that is not sealed and refuses further writes; does not wait for the
/// handshake. Returns the number of accepted bytes discarded. close_notify follows only if that is
/// 0. Transmit afterwards: sealed records still leave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_abort(policy: *mut tls_cork_policy) -> ssize_t {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(length(inner.policy.abort()))) }
}

/// Releases the held tail if its deadline has come, and frees the buffers of an idle policy. Call
/// it at the time of tls_cork_timeout(); an earlier call changes nothing. Returns 1 if there is
/// something new to transmit, else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_handle_timeout(policy: *mut tls_cork_policy, now: i64) -> c_int {
    // SAFETY: as above.
    unsafe {
        with(policy, |inner| {
            let released = inner.decide(now, CorkPolicy::handle_timeout)?;
            // Nothing is due any more, so the policy's own buffers are gone too.
            if inner.policy.poll_timeout().is_none() && inner.policy.waiting() == 0 {
                inner.policy.get_ref().output().get().free_idle();
            }
            Ok(released)
        })
    }
}

/// Releases what is held, because the caller is about to sleep until the peer sends something: the
/// peer may be waiting for the held bytes. A cork stays on. Returns 1 if there is something new to
/// transmit, else 0.
///
/// Call it before the loop or the coroutine sleeps, not each time a read returns EAGAIN.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_handle_read_wait(policy: *mut tls_cork_policy, now: i64) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| inner.decide(now, CorkPolicy::handle_read_wait)) }
}

/// Releases everything that was written in the handshake. Call it when the handshake has ended, if
/// the policy was created before that. Does nothing before `is_ready` of the sealer, nor after the
/// first call that found it true. Returns 1 if there is something new to transmit, else 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_handle_handshake_done(policy: *mut tls_cork_policy, now: i64) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| inner.decide(now, CorkPolicy::handle_handshake_done)) }
}

/// Discards all plaintext that is not sealed, because the session or the transport has failed.
/// Refuses further writes, with -ECONNABORTED. Returns the number of accepted bytes discarded.
/// Transmit afterwards if the transport still works: sealed records and an alert still leave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_handle_failure(policy: *mut tls_cork_policy) -> ssize_t {
    // SAFETY: as above.
    unsafe {
        with(policy, |inner| {
            inner.reported = true;
            Ok(length(inner.policy.handle_failure()))
        })
    }
}

/// The time at which to call tls_cork_handle_timeout(), in nanoseconds of CLOCK_MONOTONIC;
/// TLS_CORK_NEVER if nothing is due. Every other call can change it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_timeout(policy: *mut tls_cork_policy) -> i64 {
    // SAFETY: as above.
    unsafe {
        with(policy, |inner| {
            let due = inner.policy.poll_timeout();
            Ok(due.map_or(TLS_CORK_NEVER, |due| inner.clock.nanos(due)))
        })
    }
}

/// The same for poll(2): milliseconds from `now`, rounded up; -1 if nothing is due. 0 if the policy
/// cannot be used or `now` is negative: the next call returns the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_timeout_ms(policy: *mut tls_cork_policy, now: i64) -> c_int {
    // SAFETY: as above.
    match unsafe { tls_cork_timeout(policy) } {
        TLS_CORK_NEVER => -1,
        due if due < 0 || now < 0 => 0,
        due => {
            let left = due.saturating_sub(now).max(0).unsigned_abs();
            c_int::try_from(left.div_ceil(1_000_000)).unwrap_or(c_int::MAX)
        }
    }
}

/// Whether a transmit would do something: 1 or 0. It stays 1 after tls_cork_transmit() has returned
/// -EAGAIN: wait for the transport then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_wants_transmit(policy: *mut tls_cork_policy) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(c_int::from(inner.policy.wants_transmit()))) }
}

/// Whether the policy is corked: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_is_corked(policy: *mut tls_cork_policy) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(c_int::from(inner.policy.is_corked()))) }
}

/// Whether further writes are refused, after a close, an abort or a failure: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_is_write_closed(policy: *mut tls_cork_policy) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(c_int::from(inner.policy.is_write_closed()))) }
}

/// Whether a close is complete: 1 if all accepted bytes and close_notify have been transmitted,
/// else 0. Also 1 after an abort or a failure, once nothing is left to transmit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_is_finished(policy: *mut tls_cork_policy) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(c_int::from(inner.policy.is_finished()))) }
}

/// The negative errno code of the failure that ended the policy for good; 0 without one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_failure(policy: *mut tls_cork_policy) -> c_int {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(-inner.failure())) }
}

/// Room for plaintext, in bytes; 0 if a write would be refused. It grows by a transmit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_send_capacity(policy: *mut tls_cork_policy) -> ssize_t {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(length(inner.policy.send_capacity()))) }
}

/// Plaintext bytes accepted and not yet sealed, held or released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_waiting(policy: *mut tls_cork_policy) -> ssize_t {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(length(inner.policy.waiting()))) }
}

/// Accepted plaintext bytes that a failure has discarded; 0 without a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_lost_bytes(policy: *mut tls_cork_policy) -> ssize_t {
    // SAFETY: as above.
    unsafe { with(policy, |inner| Ok(length(inner.policy.lost_bytes()))) }
}

fn check_flags(flags: c_uint) -> Result<(), Error> {
    if flags & !TLS_CORK_MORE == 0 { Ok(()) } else { Err(Error::invalid("unknown flags")) }
}

/// The elements at `iov` as slices.
///
/// # Safety
///
/// If `iov` is not NULL, `iovcnt` elements can be read there for as long as `'a`, and the bytes of
/// each; none of them changes.
unsafe fn slices<'a>(iov: *const iovec, iovcnt: usize) -> Result<SmallVec<[IoSlice<'a>; 16]>, Error> {
    if iovcnt == 0 {
        return Ok(SmallVec::new());
    }
    if iov.is_null() {
        return Err(Error::invalid("iov is NULL"));
    }
    if iovcnt > TLS_CORK_IOV_MAX {
        return Err(Error::invalid("more elements than TLS_CORK_IOV_MAX"));
    }
    // SAFETY: not NULL, and readable by the contract of this function. The count is small.
    let iov = unsafe { std::slice::from_raw_parts(iov, iovcnt) };
    let mut sum = 0usize;
    iov.iter()
        .map(|element| {
            sum = sum.saturating_add(element.iov_len);
            if sum > isize::MAX as usize {
                return Err(Error::invalid("the sum of lengths is over SSIZE_MAX"));
            }
            // SAFETY: by the contract of this function.
            Ok(IoSlice::new(unsafe { bytes_at(element.iov_base, element.iov_len) }?))
        })
        .collect()
}

/// A number of bytes in memory, which is never over SSIZE_MAX.
fn length(bytes: usize) -> ssize_t {
    ssize_t::try_from(bytes).unwrap_or(ssize_t::MAX)
}

#[cfg(test)]
mod tests {
    use std::ptr::null;

    use super::*;
    use crate::output::tls_cork_output_append;
    use crate::{TLS_CORK_NO_LIMIT, tls_cork_transmit};

    unsafe extern "C-unwind" fn seal(
        _: *mut c_void,
        output: *mut tls_cork_output,
        iov: *const iovec,
        _: usize,
        _: usize,
    ) -> ssize_t {
        // SAFETY: the policy gives an output and an element.
        unsafe { tls_cork_output_append(output, (*iov).iov_base, (*iov).iov_len) };
        1
    }

    unsafe extern "C-unwind" fn close_notify(_: *mut c_void, _: *mut tls_cork_output) -> c_int {
        0
    }

    unsafe extern "C-unwind" fn send(_: *mut c_void, iov: *const iovec, _: usize, _: bool) -> ssize_t {
        // SAFETY: the policy gives an element.
        unsafe { (*iov).iov_len as ssize_t }
    }

    #[test]
    fn an_idle_policy_has_no_buffer_for_output() {
        let sealer = tls_cork_sealer {
            size: size_of::<tls_cork_sealer>(),
            user: null_mut(),
            is_ready: None,
            max_record_size: None,
            seal: Some(seal),
            close_notify: Some(close_notify),
            has_control: None,
            queue_control: None,
        };
        let mut policy = null_mut();
        // SAFETY: what was made here, until it is freed at the end.
        unsafe {
            assert_eq!(tls_cork_policy_new(&sealer, null(), &mut policy), 0);
            assert_eq!(tls_cork_write(policy, 0, [7; 1000].as_ptr().cast(), 1000, 0), 1000);
            assert_eq!(tls_cork_transmit(policy, TLS_CORK_NO_LIMIT, Some(send), null_mut()), 0);
            let capacity = || (*policy).inner.borrow().policy.get_ref().output().get().capacity();
            let due = tls_cork_timeout(policy);
            assert_eq!(tls_cork_handle_timeout(policy, due - 1), 0);
            assert!(capacity() > 0, "kept for the next write");
            assert_eq!(tls_cork_handle_timeout(policy, due), 0);
            assert_eq!(capacity(), 0);
            tls_cork_policy_free(policy);
        }
    }
}
