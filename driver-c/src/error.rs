//! Errors as C programs see them: a code of errno, and a text for each thread.

use std::cell::Cell;
use std::error::Error as StdError;
use std::ffi::{c_char, c_int};
use std::fmt::{self, Write};
use std::io;

use tls_cork::{ConfigError, SealError, TransmitError, WriteError};

/// The longest text of an error, in bytes, with the zero at its end.
const TEXT_MAX: usize = 512;

thread_local! {
    /// Without a destructor, so that a thread that ends can still read it.
    static LAST: Cell<[u8; TEXT_MAX]> = const { Cell::new([0; TEXT_MAX]) };
}

/// An error of a call.
#[derive(Debug)]
pub(crate) struct Error {
    /// Positive, of errno.
    code: c_int,
    text: Text,
}

#[derive(Debug)]
enum Text {
    /// The text that there was stays.
    None,
    Fixed(&'static str),
    Made(String),
}

impl Error {
    pub(crate) const AGAIN: Self = Self { code: libc::EAGAIN, text: Text::None };
    pub(crate) const BUSY: Self = Self::fixed(libc::EBUSY, "called by a callback of the same policy");
    pub(crate) const NO_MEMORY: Self = Self::fixed(libc::ENOMEM, "out of memory");
    pub(crate) const CLOSED: Self = Self::fixed(libc::EPIPE, "write after a close or an abort");
    /// The text of the call that found the fault stays.
    pub(crate) const BROKEN: Self = Self { code: libc::ENOTRECOVERABLE, text: Text::None };

    pub(crate) const fn invalid(text: &'static str) -> Self {
        Self::fixed(libc::EINVAL, text)
    }

    /// The end of a call by `panic`.
    pub(crate) fn fault(panic: &str) -> Self {
        let text = format!("a fault in tls_cork, free the policy and drop the connection: {panic}");
        Self { code: libc::ENOTRECOVERABLE, text: Text::Made(text) }
    }

    /// A write after a failure, whose positive code is `code`.
    pub(crate) fn failed(code: c_int) -> Self {
        Self::made(code, &WriteError::Failed)
    }

    const fn fixed(code: c_int, text: &'static str) -> Self {
        Self { code, text: Text::Fixed(text) }
    }

    fn made(code: c_int, error: &dyn fmt::Display) -> Self {
        Self { code, text: Text::Made(error.to_string()) }
    }

    /// Keeps the text for [`last`], and returns the negative code.
    pub(crate) fn report(self) -> c_int {
        match &self.text {
            Text::None => {}
            Text::Fixed(text) => remember(text),
            Text::Made(text) => remember(text),
        }
        -self.code
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::made(libc::EINVAL, &error)
    }
}

impl From<TransmitError> for Error {
    fn from(error: TransmitError) -> Self {
        let code = code_of(&error);
        match &error {
            TransmitError::Io(source) => Self::made(code, &format_args!("{error}: {source}")),
            _ => Self::made(code, &error),
        }
    }
}

/// The positive code of an error of a transmit.
pub(crate) fn code_of(error: &TransmitError) -> c_int {
    match error {
        TransmitError::Io(error) => error.raw_os_error().unwrap_or(libc::EIO),
        TransmitError::WriteZero => libc::EPIPE,
        TransmitError::Seal { error: SealError::KeysExhausted, .. } => libc::EOVERFLOW,
        TransmitError::Seal { error: SealError::Session(cause), .. } => {
            cause.downcast_ref::<CallbackFailed>().map_or(libc::EPROTO, |failed| failed.code)
        }
        _ => libc::EPROTO,
    }
}

/// A callback of a sealer returned an error.
#[derive(Debug)]
pub(crate) struct CallbackFailed {
    /// Positive, of errno.
    pub(crate) code: c_int,
    pub(crate) text: Option<String>,
}

impl fmt::Display for CallbackFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => io::Error::from_raw_os_error(self.code).fmt(f),
        }
    }
}

impl StdError for CallbackFailed {}

/// Where the text of this thread's last error is; it ends with a zero.
pub(crate) fn last() -> *const c_char {
    LAST.with(|last| last.as_ptr().cast())
}

fn remember(text: &str) {
    let mut cut = Cut { bytes: [0; TEXT_MAX], len: 0 };
    // Fails if the text is cut, which is fine.
    let _ = cut.write_str(text);
    LAST.set(cut.bytes);
}

/// A text of at most `TEXT_MAX - 1` bytes. Zeros in it become question marks.
struct Cut {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let char = if char == '\0' { '?' } else { char };
            if self.len + char.len_utf8() >= TEXT_MAX {
                return Err(fmt::Error);
            }
            self.len += char.encode_utf8(&mut self.bytes[self.len..]).len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn text() -> String {
        // SAFETY: `last` points to bytes that end with a zero, and nothing changes them meanwhile.
        unsafe { CStr::from_ptr(last()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_text_is_kept_until_the_next_and_for_its_thread_alone() {
        assert_eq!(Error::invalid("no good").report(), -libc::EINVAL);
        assert_eq!(text(), "no good");
        assert_eq!(Error::AGAIN.report(), -libc::EAGAIN);
        assert_eq!(text(), "no good");
        std::thread::spawn(|| assert_eq!(text(), "")).join().unwrap();
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = format!("a\0{}", "ä".repeat(TEXT_MAX));
        let error = Error::fault(&long);
        error.report();
        let kept = text();
        assert!(kept.len() == TEXT_MAX - 1 || kept.len() == TEXT_MAX - 2, "{}", kept.len());
        assert!(kept.contains("a?ä") && kept.ends_with('ä'));
    }
}
