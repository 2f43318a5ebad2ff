//! `tls_cork_sealer`: a TLS session's outbound half, as callbacks.

use std::ffi::{c_int, c_void};
use std::io::{self, IoSlice};
use std::mem::size_of;
use std::ptr::addr_of;
use std::sync::Arc;

use libc::{iovec, ssize_t};
use tls_cork::{MAX_RECORD_SIZE, Seal, SealError};

use crate::error::{CallbackFailed, Error};
use crate::output::{OwnedOutput, tls_cork_output};

/// The outbound half of a TLS session, as callbacks. Plaintext for the session has to come from the
/// policy alone; received bytes and the handshake are the caller's.
///
/// A callback gets `user` and may append to the output, but makes no other call with its policy. A
/// contradiction to this documentation that the policy detects ends the policy with -EPROTO.
///
/// Threads: callbacks run in the thread that calls the policy.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tls_cork_sealer {
    /// sizeof(struct tls_cork_sealer). Set it: later versions may have more members.
    pub size: usize,
    /// Passed to each callback; may be NULL. Must stay valid until tls_cork_policy_free() returns.
    pub user: *mut c_void,
    /// Whether keys exist, so that `seal` may be called: 0 or not 0. Not called again after it has
    /// returned true. NULL: keys exist already.
    pub is_ready: Option<unsafe extern "C-unwind" fn(user: *mut c_void) -> c_int>,
    /// The largest plaintext of one record, in bytes, over zero. Called when the policy is created.
    /// NULL: TLS_CORK_MAX_RECORD_SIZE.
    pub max_record_size: Option<unsafe extern "C-unwind" fn(user: *mut c_void) -> usize>,
    /// Encrypts the concatenation of `iov` into records of `record_size` bytes, the last one
    /// possibly shorter, and appends them to `output`. Returns the number of records. Required.
    ///
    /// No element of `iov` is empty. There may be more than TLS_CORK_IOV_MAX of them. `iov` and its
    /// bytes are valid during the call only.
    ///
    /// A library may cut a record further, where the peer has asked for smaller ones; the count is
    /// still that of records of `record_size`. A smaller count means that the keys are used up and
    /// that no more records will be made: the policy ends with -EOVERFLOW.
    ///
    /// A negative errno code means that the session has failed: what the call has appended is
    /// dropped, and the policy ends with this code (with -EPROTO for -EAGAIN and -EINTR, since
    /// output in memory never blocks). tls_cork_output_set_error() adds a text.
    pub seal: Option<
        unsafe extern "C-unwind" fn(
            user: *mut c_void,
            output: *mut tls_cork_output,
            iov: *const iovec,
            iovcnt: usize,
            record_size: usize,
        ) -> ssize_t,
    >,
    /// Appends the end of the stream (close_notify; RFC 8446, section 6.1) to `output`, if the
    /// protocol has one. Called at most once. Returns 0, or a negative errno code, which ends the
    /// policy as one of `seal` does. Required.
    pub close_notify: Option<unsafe extern "C-unwind" fn(user: *mut c_void, output: *mut tls_cork_output) -> c_int>,
    /// Whether `queue_control` might append something, such as the answer to a KeyUpdate: 0 or
    /// not 0. Must be 0 directly after that call. NULL: never, as for GnuTLS and OpenSSL.
    pub has_control: Option<unsafe extern "C-unwind" fn(user: *mut c_void) -> c_int>,
    /// Appends control output of the session to `output`. Called only when no other output waits: a
    /// record that `seal` makes has to bring control output along. NULL exactly if `has_control` is.
    pub queue_control: Option<unsafe extern "C-unwind" fn(user: *mut c_void, output: *mut tls_cork_output)>,
}

type SealFn = unsafe extern "C-unwind" fn(*mut c_void, *mut tls_cork_output, *const iovec, usize, usize) -> ssize_t;
type OutputFn<R> = unsafe extern "C-unwind" fn(*mut c_void, *mut tls_cork_output) -> R;

/// The callbacks, checked, and the output that they fill.
#[derive(Debug)]
pub(crate) struct Sealer {
    callbacks: tls_cork_sealer,
    seal: SealFn,
    close_notify: OutputFn<c_int>,
    control: Option<(unsafe extern "C-unwind" fn(*mut c_void) -> c_int, OutputFn<()>)>,
    output: OwnedOutput,
}

impl Sealer {
    /// Copies the callbacks.
    ///
    /// # Safety
    ///
    /// `callbacks` is NULL, or points to a sealer of which as many bytes can be read as its `size`.
    /// Each callback that is not NULL keeps its documentation.
    pub(crate) unsafe fn new(callbacks: *const tls_cork_sealer) -> Result<Self, Error> {
        if callbacks.is_null() {
            return Err(Error::invalid("sealer is NULL"));
        }
        // SAFETY: not NULL, and `size` is there in every version of the struct.
        let size = unsafe { addr_of!((*callbacks).size).read() };
        if size < size_of::<tls_cork_sealer>() {
            return Err(Error::invalid("size of the sealer is too small"));
        }
        // SAFETY: the whole struct is there, by its size. All of its values are valid.
        let callbacks = unsafe { callbacks.read() };
        let control = match (callbacks.has_control, callbacks.queue_control) {
            (Some(has), Some(queue)) => Some((has, queue)),
            (None, None) => None,
            _ => return Err(Error::invalid("the sealer has only one of has_control and queue_control")),
        };
        Ok(Self {
            callbacks,
            seal: callbacks.seal.ok_or(Error::invalid("the sealer has no seal"))?,
            close_notify: callbacks.close_notify.ok_or(Error::invalid("the sealer has no close_notify"))?,
            control,
            output: OwnedOutput::new(),
        })
    }

    pub(crate) fn output(&self) -> &OwnedOutput {
        &self.output
    }

    /// The error for the code that a callback returned.
    fn failed(&self, code: ssize_t) -> SealError {
        let text = self.output.get().take_text();
        match positive(code) {
            None | Some(libc::EAGAIN | libc::EINTR) => {
                SealError::Contract("a callback failed without a code, or with EAGAIN or EINTR")
            }
            Some(code) => SealError::Session(Arc::new(CallbackFailed { code, text })),
        }
    }
}

/// The positive code for a negative one.
pub(crate) fn positive(code: ssize_t) -> Option<c_int> {
    let code = code.checked_neg().and_then(|code| c_int::try_from(code).ok())?;
    (code > 0).then_some(code)
}

impl Seal for Sealer {
    fn is_ready(&self) -> bool {
        // SAFETY: the callback keeps its documentation, and `user` is what it expects.
        self.callbacks.is_ready.is_none_or(|is_ready| unsafe { is_ready(self.callbacks.user) } != 0)
    }

    fn max_record_size(&self) -> usize {
        // SAFETY: as in `is_ready`.
        self.callbacks.max_record_size.map_or(MAX_RECORD_SIZE, |size| unsafe { size(self.callbacks.user) })
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        /// No cipher suite makes a record longer by more.
        const OVERHEAD: usize = 64;
        let output = self.output.get();
        let len: usize = plaintext.iter().map(|piece| piece.len()).sum();
        let before = output.len();
        output.reserve(len + len.div_ceil(record_size) * OVERHEAD);
        // An `IoSlice` has the layout of an `iovec` (its documentation promises it).
        let iov = plaintext.as_ptr().cast::<iovec>();
        // SAFETY: the callback keeps its documentation, and `user` is what it expects. The output
        // lives as long as this, and no reference to its inside exists here. The slices live until
        // the call returns.
        let records =
            unsafe { (self.seal)(self.callbacks.user, self.output.as_ptr(), iov, plaintext.len(), record_size) };
        usize::try_from(records).map_err(|_| {
            output.truncate(before);
            self.failed(records)
        })
    }

    fn has_output(&self) -> bool {
        !self.output.get().is_empty()
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        self.output.get().offer(|bytes| send(&[IoSlice::new(bytes)], false))
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        // SAFETY: as in `seal`.
        match unsafe { (self.close_notify)(self.callbacks.user, self.output.as_ptr()) } {
            0.. => Ok(()),
            code => Err(self.failed(code as ssize_t)),
        }
    }

    fn has_control(&self) -> bool {
        // SAFETY: as in `is_ready`.
        self.control.is_some_and(|(has, _)| unsafe { has(self.callbacks.user) } != 0)
    }

    fn queue_control(&mut self) {
        if let Some((_, queue)) = self.control {
            // SAFETY: as in `seal`.
            unsafe { queue(self.callbacks.user, self.output.as_ptr()) }
        }
    }
}
