//! `tls_cork_output`: records that wait for the transport.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::fmt;
use std::io;
use std::ptr::NonNull;

use crate::error::Error;
use crate::guard::guard;

/// Encrypted output that waits for the transport. It belongs to its policy (tls_cork_get_output())
/// and ends with it. The TLS library's records are appended to it by tls_cork_output_append().
///
/// Threads: those of its policy.
#[derive(Default)]
pub struct tls_cork_output {
    bytes: RefCell<Vec<u8>>,
    /// How many of the bytes the transport has taken.
    sent: Cell<usize>,
    /// The text of the sealer's error.
    text: RefCell<Option<String>>,
}

impl fmt::Debug for tls_cork_output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("tls_cork_output").finish_non_exhaustive()
    }
}

impl tls_cork_output {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.borrow().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.borrow().len() - self.sent.get()
    }

    /// Makes room for `len` bytes, so that a batch does not grow the buffer in steps. Without
    /// memory for it, an append fails later.
    pub(crate) fn reserve(&self, len: usize) {
        let _ = self.bytes.borrow_mut().try_reserve(len);
    }

    /// Drops what was appended behind the first `len` bytes that wait.
    pub(crate) fn truncate(&self, len: usize) {
        self.bytes.borrow_mut().truncate(self.sent.get() + len);
        self.forget(0);
    }

    /// Frees the buffer, if nothing waits.
    pub(crate) fn free_idle(&self) {
        if self.is_empty() {
            self.bytes.take();
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.borrow().capacity()
    }

    /// Takes the text that the sealer gave for its error.
    pub(crate) fn take_text(&self) -> Option<String> {
        self.text.take()
    }

    /// Gives all that waits to `send`, and forgets as many bytes as it returns. Nothing can be
    /// appended meanwhile.
    pub(crate) fn offer(&self, send: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let bytes = self.bytes.borrow();
        let taken = send(&bytes[self.sent.get()..])?;
        drop(bytes);
        self.forget(taken);
        Ok(taken)
    }

    fn forget(&self, taken: usize) {
        let mut bytes = self.bytes.borrow_mut();
        let sent = (self.sent.get() + taken).min(bytes.len());
        self.sent.set(sent);
        if sent == bytes.len() {
            bytes.clear();
            self.sent.set(0);
        }
    }

    fn append(&self, data: &[u8]) -> Result<(), Error> {
        let mut bytes = self.bytes.try_borrow_mut().map_err(|_| Error::BUSY)?;
        // Moves at most as many bytes as have left, so the cost of all moves is linear.
        if self.sent.get() >= bytes.len().div_ceil(2) {
            bytes.drain(..self.sent.take());
        }
        bytes.try_reserve(data.len()).map_err(|_| Error::NO_MEMORY)?;
        bytes.extend_from_slice(data);
        Ok(())
    }
}

/// An output on the heap, with an address of its own. C programs keep that address, so it is a
/// pointer from the start: a `Box` would be its only valid way to the output.
#[derive(Debug)]
pub(crate) struct OwnedOutput(NonNull<tls_cork_output>);

impl OwnedOutput {
    pub(crate) fn new() -> Self {
        Self(NonNull::from(Box::leak(Box::default())))
    }

    pub(crate) fn as_ptr(&self) -> *mut tls_cork_output {
        self.0.as_ptr()
    }

    pub(crate) fn get(&self) -> &tls_cork_output {
        // SAFETY: the pointer is that of a leaked box, which only `drop` frees. No reference to it
        // is ever mutable.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for OwnedOutput {
    fn drop(&mut self) {
        // SAFETY: the pointer is that of a leaked box, and nothing here uses it afterwards. The C
        // program must not: the output ends with its policy.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Appends `len` bytes of the TLS library's output, which are copied. Returns 0. Allowed inside the
/// callbacks of the sealer and outside of all callbacks; transmit afterwards.
///
/// Errors: -EINVAL if a pointer is NULL (`data` may be if `len` is 0), or if `len` is over
/// SSIZE_MAX; -EBUSY inside a send callback; -ENOMEM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_output_append(
    output: *mut tls_cork_output,
    data: *const c_void,
    len: usize,
) -> c_int {
    guard(|| {
        // SAFETY: NULL, or the caller gives the output of a policy that is not freed. No reference
        // to an output is ever mutable.
        let output = unsafe { output.as_ref() }.ok_or(Error::invalid("output is NULL"))?;
        // SAFETY: the caller gives `len` bytes at `data`.
        output.append(unsafe { bytes_at(data, len) }?)?;
        Ok(0)
    })
}

/// Sets the text of the error that the sealer is about to return: it becomes a part of the text of
/// tls_cork_last_error(). `text` is copied; it ends with a zero. Returns 0.
///
/// Errors: -EINVAL if a pointer is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tls_cork_output_set_error(
    output: *mut tls_cork_output,
    text: *const std::ffi::c_char,
) -> c_int {
    guard(|| {
        // SAFETY: as in `tls_cork_output_append`.
        let output = unsafe { output.as_ref() }.ok_or(Error::invalid("output is NULL"))?;
        if text.is_null() {
            return Err(Error::invalid("text is NULL"));
        }
        // SAFETY: the caller gives a text that ends with a zero.
        let text = unsafe { std::ffi::CStr::from_ptr(text) };
        output.text.replace(Some(text.to_string_lossy().into_owned()));
        Ok(0)
    })
}

/// The `len` bytes at `data`, which may be NULL if there are none.
///
/// # Safety
///
/// If `data` is not NULL, `len` bytes can be read there for as long as `'a`, and do not change.
pub(crate) unsafe fn bytes_at<'a>(data: *const c_void, len: usize) -> Result<&'a [u8], Error> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Error::invalid("data is NULL"));
    }
    if len > isize::MAX as usize {
        return Err(Error::invalid("a length is over SSIZE_MAX"));
    }
    // SAFETY: not NULL, no longer than an object can be, and readable by the contract of this
    // function. Bytes need no alignment.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(output: &tls_cork_output, data: &[u8]) {
        output.append(data).unwrap();
    }

    fn take(output: &tls_cork_output, n: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        output
            .offer(|bytes| {
                taken.extend(&bytes[..n]);
                Ok(n)
            })
            .unwrap();
        taken
    }

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let output = tls_cork_output::default();
        append(&output, b"abcdef");
        assert_eq!(take(&output, 2), b"ab");
        append(&output, b"gh");
        assert_eq!((output.len(), take(&output, 3)), (6, b"cde".to_vec()));
        append(&output, b"i");
        assert_eq!(output.bytes.borrow().len(), 4, "the front is gone");
        output.truncate(3);
        assert_eq!(take(&output, 3), b"fgh");
        assert!(output.is_empty() && output.capacity() > 0);
        output.free_idle();
        assert_eq!(output.capacity(), 0);
    }

    #[test]
    fn a_truncation_to_what_was_sent_leaves_nothing() {
        let output = tls_cork_output::default();
        append(&output, b"abc");
        assert_eq!(take(&output, 2), b"ab");
        output.truncate(0);
        assert!(output.is_empty());
        append(&output, b"d");
        assert_eq!(take(&output, 1), b"d");
    }

    #[test]
    fn nothing_is_appended_while_the_transport_looks() {
        let output = tls_cork_output::default();
        append(&output, b"abc");
        let refused = output.offer(|_| match output.append(b"d") {
            Err(error) => Ok(usize::from(error.report() == -libc::EBUSY)),
            Ok(()) => Ok(0),
        });
        assert_eq!(refused.unwrap(), 1);
        assert_eq!(take(&output, 2), b"bc");
    }
}
