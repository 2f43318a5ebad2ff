//! Checks that apply to the text of every error.

use std::error::Error;
use std::io;

/// The texts of an error and its causes, outermost first.
fn chain(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    texts
}

pub(crate) fn check_sources(errors: &[Box<dyn Error>]) {
    for error in errors {
        let texts = chain(error.as_ref());
        for (outer, inner) in texts.iter().zip(&texts[1..]) {
            assert!(!outer.contains(inner.as_str()), "{texts:?}");
        }
        assert!(texts.concat().matches("THE CAUSE").count() <= 1, "{texts:?}");
    }
}

pub(crate) fn check_outer(errors: &[Box<dyn Error>]) {
    for error in errors {
        let text = error.to_string();
        assert!(text.split(' ').count() > 4, "{text}");
        assert!(
            text.contains("THE CAUSE")
                || chain(error.as_ref()).len() > 1
                || !format!("{error:?}").contains("THE CAUSE")
        );
    }
}

pub(crate) fn check_transport_error(wrap: impl Fn(io::Error) -> io::Error) {
    const ECONNRESET: i32 = 104;
    let reset = || io::Error::from_raw_os_error(ECONNRESET);
    let error = wrap(reset());
    assert_eq!(error.raw_os_error(), Some(ECONNRESET));
    assert_eq!(error.to_string(), reset().to_string());
}

/// Returns the error inside `error`.
pub(crate) fn check_inner<'a>(
    error: &'a io::Error,
    kind: io::ErrorKind,
    text: &str,
) -> &'a (dyn Error + Send + Sync + 'static) {
    assert_eq!(error.kind(), kind);
    assert!(error.to_string().contains(text), "{error}");
    let inner = error.get_ref().expect("an error of ours");
    assert_eq!(error.to_string(), inner.to_string());
    assert_eq!(error.source().map(ToString::to_string), inner.source().map(ToString::to_string));
    inner
}
