//! The transmits of a policy: to a callback, or as buffers that the caller takes.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr::{null, null_mut};

use bytes::Bytes;
use libc::{iovec, ssize_t};

use crate::TLS_CORK_AGAIN;
use crate::error::Error;
use crate::guard::guard;
use crate::policy::{tls_cork_policy, with};
use crate::sealer::positive;

/// Gives bytes to the transport: returns how many it took, at least 1, or a negative errno code.
/// -EAGAIN: it takes no more for now. -EINTR: called again at once.
///
/// `more` states whether further output waits behind these bytes (MSG_MORE of send(2)). `iov` and
/// its bytes are valid during the call only. The callback must not call the same policy, nor append
/// to its output.
pub type tls_cork_send =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, iov: *const iovec, iovcnt: usize, more: bool) -> ssize_t>;

/// Output that a caller has taken from a policy, for loops whose sends own their buffers
/// (io_uring). Filled by tls_cork_take_buffer(), given back by tls_cork_give_back().
///
/// Threads: any thread may send and give back a buffer, also after the policy has been freed.
#[repr(C)]
#[derive(Debug)]
pub struct tls_cork_buffer {
    /// Whole or partial TLS records, valid until the buffer is given back.
    pub data: *const u8,
    /// The length of `data` in bytes.
    pub len: usize,
    /// Whether released plaintext waits behind these bytes (MSG_MORE of send(2)).
    pub more: bool,
    /// Used by the library.
    pub owner: *mut c_void,
}

impl tls_cork_buffer {
    const EMPTY: Self = Self { data: null(), len: 0, more: false, owner: null_mut() };
}

/// Seals what may leave and offers output to `send` until nothing may leave any more, or `send`
/// returns -EAGAIN; starts no further send after `limit` bytes, which is at least 1
/// (TLS_CORK_NO_LIMIT for none).
///
/// Returns 0 if nothing is left to transmit; TLS_CORK_AGAIN if the limit was reached; -EAGAIN if
/// output waits for the transport: call again when it is writable.
///
/// Other errors: those of `send`, unchanged, and -EPIPE if `send` returned 0. They lose nothing,
/// and the call may be repeated. The code of a failure is final (tls_cork_failure()): -EPROTO if a
/// callback contradicted its documentation, -EOVERFLOW if the keys are used up, or the code that
/// the sealer returned. tls_cork_lost_bytes() has what it cost. An alert may still wait: transmit
/// once more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_transmit(
    policy: *mut tls_cork_policy,
    limit: usize,
    send: tls_cork_send,
    user: *mut c_void,
) -> c_int {
    // SAFETY: the contract of this call is that of `with`.
    unsafe {
        with(policy, |inner| {
            let send = send.ok_or(Error::invalid("send is NULL"))?;
            if limit == 0 {
                return Err(Error::invalid("limit is 0"));
            }
            let done = inner.policy.transmit_up_to(limit, |bufs, more| {
                // An `IoSlice` has the layout of an `iovec` (its documentation promises it). The
                // callback keeps its documentation, and `user` is what it expects.
                let taken = send(user, bufs.as_ptr().cast(), bufs.len(), more);
                usize::try_from(taken).map_err(|_| io::Error::from_raw_os_error(positive(taken).unwrap_or(libc::EIO)))
            });
            match done {
                Ok(done) if done.blocked => Err(Error::AGAIN),
                Ok(_) if inner.policy.wants_transmit() => Ok(TLS_CORK_AGAIN),
                Ok(_) => Ok(0),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// Seals what may leave and takes one batch of output out of the policy, for loops whose sends own
/// their buffers. Returns 1 and fills `*buffer`, or returns 0 if nothing may leave now.
///
/// Send buffers in the order in which they were taken, each whole; take the next one when this one
/// has been sent. Give the buffer back with tls_cork_give_back().
///
/// Errors: the code of a failure, as tls_cork_transmit(). `*buffer` is empty unless 1 is returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_take_buffer(policy: *mut tls_cork_policy, buffer: *mut tls_cork_buffer) -> c_int {
    if !buffer.is_null() {
        // SAFETY: not NULL, and the caller gives room for a buffer. What it had is not dropped.
        unsafe { buffer.write(tls_cork_buffer::EMPTY) };
    }
    // SAFETY: the contract of this call is that of `with`, and as above.
    unsafe {
        with(policy, |inner| {
            if buffer.is_null() {
                return Err(Error::invalid("buffer is NULL"));
            }
            let Some(output) = inner.policy.take_transmit()? else {
                return Ok(0);
            };
            // `Bytes` do not move their content when they move.
            let (data, len) = (output.data.as_ptr(), output.data.len());
            let owner = Box::into_raw(Box::new(output.data)).cast();
            buffer.write(tls_cork_buffer { data, len, more: output.more, owner });
            Ok(1)
        })
    }
}

/// Gives back a buffer that tls_cork_take_buffer() has filled, and empties `*buffer`. Does nothing
/// if it is empty or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_give_back(buffer: *mut tls_cork_buffer) {
    guard(|| {
        if !buffer.is_null() {
            // SAFETY: not NULL, and the caller gives a buffer that a call has filled.
            let taken = unsafe { buffer.replace(tls_cork_buffer::EMPTY) };
            if !taken.owner.is_null() {
                // SAFETY: from `Box::into_raw` in `tls_cork_take_buffer`; it was in one buffer only.
                drop(unsafe { Box::from_raw(taken.owner.cast::<Bytes>()) });
            }
        }
        Ok(0)
    });
}
