//! What every call has around it: no panic crosses the boundary.

use std::any::Any;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Error;

/// A return type in which a negative value is an error's code.
pub(crate) trait Returned {
    fn error(code: c_int) -> Self;
}

impl Returned for i32 {
    fn error(code: c_int) -> Self {
        code
    }
}

impl Returned for i64 {
    fn error(code: c_int) -> Self {
        Self::from(code)
    }
}

impl Returned for isize {
    fn error(code: c_int) -> Self {
        code as Self
    }
}

/// Calls `call`, and returns the code of its error or of its panic.
pub(crate) fn guard<R: Returned>(call: impl FnOnce() -> Result<R, Error>) -> R {
    caught(call).unwrap_or_else(|error| R::error(error.report()))
}

/// Calls `call`. A panic becomes an error.
///
/// What `call` has left half done must not be used again: a policy notes that by itself.
pub(crate) fn caught<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let error = Error::fault(text_of(&*payload));
        drop_quietly(payload);
        Err(error)
    })
}

/// Drops a panic's payload, whose destructor may panic in turn.
fn drop_quietly(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
        && let Err(last) = catch_unwind(AssertUnwindSafe(|| drop(next)))
    {
        // This could go on without an end.
        std::mem::forget(last);
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }

    #[test]
    fn a_panic_of_any_kind_becomes_a_code() {
        assert_eq!(guard(|| Ok(7)), 7);
        assert_eq!(guard::<i64>(|| Err(Error::BUSY)), i64::from(-libc::EBUSY));
        assert_eq!(guard::<isize>(|| panic!("fixed")), -libc::ENOTRECOVERABLE as isize);
        assert_eq!(guard::<i32>(|| panic!("made of {}", 1)), -libc::ENOTRECOVERABLE);
        assert_eq!(guard::<i32>(|| std::panic::panic_any(PanicsWhenDropped)), -libc::ENOTRECOVERABLE);
    }
}
