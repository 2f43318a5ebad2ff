//! A sealer whose callbacks are Rust and whose records are visible, and a policy over it by the C calls.
#![allow(dead_code, reason = "each test uses its own part of this")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{null, null_mut};

use libc::{iovec, ssize_t};
use tls_cork_c::*;
use tls_cork_testing::harness::{END, HANDSHAKE, OFFER};

pub(crate) const MS: i64 = 1_000_000;

/// What the callbacks do, and what they have seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) ready: Cell<bool>,
    /// Plaintext bytes sealed.
    pub(crate) sealed: Cell<usize>,
    pub(crate) max_record_size: Cell<usize>,
    /// What `seal` returns after it has appended the records, instead of their number.
    pub(crate) seal_returns: Cell<Option<ssize_t>>,
    /// What `close_notify` returns.
    pub(crate) close_returns: Cell<c_int>,
    /// The text of an error of these two.
    pub(crate) text: Cell<Option<&'static CStr>>,
    pub(crate) has_control: Cell<bool>,
    /// Called by `seal` before all else.
    pub(crate) in_seal: RefCell<Option<fn(*mut tls_cork_policy)>>,
    pub(crate) policy: Cell<*mut tls_cork_policy>,
}

unsafe extern "C-unwind" fn is_ready(user: *mut c_void) -> c_int {
    c_int::from(seen(user).ready.get())
}

unsafe extern "C-unwind" fn max_record_size(user: *mut c_void) -> usize {
    seen(user).max_record_size.get()
}

unsafe extern "C-unwind" fn seal(
    user: *mut c_void,
    output: *mut tls_cork_output,
    iov: *const iovec,
    iovcnt: usize,
    record_size: usize,
) -> ssize_t {
    let seen = seen(user);
    if let Some(call) = *seen.in_seal.borrow() {
        call(seen.policy.get());
    }
    assert!(seen.ready.get() && iovcnt > 0);
    let mut data = Vec::new();
    // SAFETY: the policy gives `iovcnt` elements with their bytes.
    for element in unsafe { std::slice::from_raw_parts(iov, iovcnt) } {
        assert!(element.iov_len > 0, "an empty element");
        // SAFETY: as above.
        data.extend_from_slice(unsafe { std::slice::from_raw_parts(element.iov_base.cast(), element.iov_len) });
    }
    let mut records = 0;
    for record in data.chunks(record_size) {
        append(output, &(record.len() as u32).to_be_bytes());
        append(output, record);
        records += 1;
    }
    fail(seen, output);
    seen.sealed.set(seen.sealed.get() + data.len());
    seen.seal_returns.get().unwrap_or(records)
}

unsafe extern "C-unwind" fn close_notify(user: *mut c_void, output: *mut tls_cork_output) -> c_int {
    fail(seen(user), output);
    if seen(user).close_returns.get() == 0 {
        append(output, &END.to_be_bytes());
    }
    seen(user).close_returns.get()
}

unsafe extern "C-unwind" fn has_control(user: *mut c_void) -> c_int {
    c_int::from(seen(user).has_control.get())
}

unsafe extern "C-unwind" fn queue_control(user: *mut c_void, output: *mut tls_cork_output) {
    seen(user).has_control.set(false);
    append(output, &HANDSHAKE.to_be_bytes());
}

fn seen<'a>(user: *mut c_void) -> &'a Seen {
    // SAFETY: every sealer here has a `Seen` that outlives its policy.
    unsafe { &*user.cast::<Seen>() }
}

fn fail(seen: &Seen, output: *mut tls_cork_output) {
    if let Some(text) = seen.text.get() {
        // SAFETY: an output that is alive, and a text.
        assert_eq!(unsafe { tls_cork_output_set_error(output, text.as_ptr()) }, 0);
    }
}

pub(crate) fn append(output: *mut tls_cork_output, data: &[u8]) {
    // SAFETY: an output that is alive.
    assert_eq!(unsafe { tls_cork_output_append(output, data.as_ptr().cast(), data.len()) }, 0);
}

pub(crate) fn sealer(user: *const Seen) -> tls_cork_sealer {
    tls_cork_sealer {
        size: size_of::<tls_cork_sealer>(),
        user: user.cast_mut().cast(),
        is_ready: Some(is_ready),
        max_record_size: Some(max_record_size),
        seal: Some(seal),
        close_notify: Some(close_notify),
        has_control: Some(has_control),
        queue_control: Some(queue_control),
    }
}

/// A policy, what its sealer has seen, and the bytes on the wire.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) policy: *mut tls_cork_policy,
    /// From `Box::into_raw`, since the callbacks use it too.
    seen: *mut Seen,
    pub(crate) wire: Vec<u8>,
}

/// A transport.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) wire: Vec<u8>,
    pub(crate) capacity: usize,
    pub(crate) step: usize,
    /// Returned instead, once.
    pub(crate) returns: Option<ssize_t>,
    pub(crate) mores: Vec<bool>,
}

pub(crate) unsafe extern "C-unwind" fn send(
    user: *mut c_void,
    iov: *const iovec,
    iovcnt: usize,
    more: bool,
) -> ssize_t {
    // SAFETY: every transmit here has a `Transport`, and the policy gives the elements.
    let (to, iov) = unsafe { (&mut *user.cast::<Transport>(), std::slice::from_raw_parts(iov, iovcnt)) };
    if let Some(returned) = to.returns.take() {
        return returned;
    }
    if to.capacity == 0 {
        return -(libc::EAGAIN as ssize_t);
    }
    let take = iov[0].iov_len.min(to.capacity).min(to.step);
    // SAFETY: as above.
    to.wire.extend_from_slice(unsafe { std::slice::from_raw_parts(iov[0].iov_base.cast(), take) });
    to.capacity -= take;
    to.mores.push(more);
    take as ssize_t
}

impl World {
    pub(crate) fn new(config: *const tls_cork_config, ready: bool) -> Self {
        let seen = Box::into_raw(Box::new(Seen {
            ready: Cell::new(ready),
            sealed: Cell::new(0),
            max_record_size: Cell::new(TLS_CORK_MAX_RECORD_SIZE),
            seal_returns: Cell::new(None),
            close_returns: Cell::new(0),
            text: Cell::new(None),
            has_control: Cell::new(false),
            in_seal: RefCell::new(None),
            policy: Cell::new(null_mut()),
        }));
        let mut policy = null_mut();
        // SAFETY: a sealer and a configuration that are alive.
        let made = unsafe { tls_cork_policy_new(&sealer(seen), config, &mut policy) };
        assert_eq!(made, 0, "{}", last_error());
        let world = Self { policy, seen, wire: Vec::new() };
        world.seen().policy.set(policy);
        world
    }

    pub(crate) fn ready() -> Self {
        Self::new(null(), true)
    }

    pub(crate) fn seen(&self) -> &Seen {
        // SAFETY: freed with this only.
        unsafe { &*self.seen }
    }

    pub(crate) fn write(&self, now: i64, data: &[u8], flags: u32) -> ssize_t {
        // SAFETY: a policy that is alive.
        unsafe { tls_cork_write(self.policy, now, data.as_ptr().cast(), data.len(), flags) }
    }

    pub(crate) fn writev(&self, now: i64, pieces: &[&[u8]], flags: u32) -> ssize_t {
        let iov: Vec<iovec> = pieces
            .iter()
            .map(|piece| iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() })
            .collect();
        // SAFETY: a policy that is alive, and elements with their bytes.
        unsafe { tls_cork_writev(self.policy, now, iov.as_ptr(), iov.len(), flags) }
    }

    /// Transmits to a transport with this much room, and so on; returns what the call returns.
    pub(crate) fn transmit(&mut self, capacity: usize, step: usize) -> c_int {
        let wire = std::mem::take(&mut self.wire);
        let mut to = Transport { wire, capacity, step: step.min(OFFER), returns: None, mores: Vec::new() };
        let done = self.transmit_to(TLS_CORK_NO_LIMIT, &mut to);
        self.wire = to.wire;
        done
    }

    pub(crate) fn transmit_to(&self, limit: usize, to: &mut Transport) -> c_int {
        let to: *mut Transport = to;
        // SAFETY: a policy and a transport that are alive.
        unsafe { tls_cork_transmit(self.policy, limit, Some(send), to.cast()) }
    }

    pub(crate) fn drain(&mut self) -> c_int {
        self.transmit(usize::MAX, usize::MAX)
    }

    /// Calls one of the functions that take only the time.
    pub(crate) fn at(&self, call: unsafe extern "C" fn(*mut tls_cork_policy, i64) -> c_int, now: i64) -> c_int {
        // SAFETY: a policy that is alive.
        unsafe { call(self.policy, now) }
    }

    /// Calls one of the functions that take nothing.
    pub(crate) fn get<R>(&self, call: unsafe extern "C" fn(*mut tls_cork_policy) -> R) -> R {
        // SAFETY: a policy that is alive.
        unsafe { call(self.policy) }
    }

    pub(crate) fn finish_handshake(&self) {
        self.seen().ready.set(true);
        append(self.get(tls_cork_get_output), &HANDSHAKE.to_be_bytes());
    }

    pub(crate) fn stats(&self) -> tls_cork_stats {
        let mut stats = tls_cork_stats::default();
        // SAFETY: a policy that is alive, and room of this size.
        assert_eq!(unsafe { tls_cork_get_stats(self.policy, &mut stats, size_of::<tls_cork_stats>()) }, 0);
        stats
    }

    pub(crate) fn releases(&self, reason: u32) -> i64 {
        // SAFETY: a policy that is alive.
        unsafe { tls_cork_releases(self.policy, reason) }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used afterwards; first the policy, then what it uses.
        unsafe {
            tls_cork_policy_free(self.policy);
            drop(Box::from_raw(self.seen));
        }
    }
}

pub(crate) fn last_error() -> String {
    // SAFETY: a text that ends with a zero, and no call meanwhile.
    unsafe { CStr::from_ptr(tls_cork_last_error()) }.to_str().expect("UTF-8").to_owned()
}
