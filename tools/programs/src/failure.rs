//! The one error type that reaches a person: what was attempted, where, and why it failed.

use std::fmt;

/// A failed operation, printed as one line `<what>: <where>: <why>`.
///
/// Everything inside the program that can fail on behalf of a peer, the user or the operating
/// system ends here, so that `main` has one line to print and one exit status to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    what: String,
    place: String,
    why: String,
    usage: bool,
}

impl Failure {
    /// A failure while doing `what` (a verb phrase) at `place` (an address, a path, a program).
    pub fn new(what: impl Into<String>, place: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { what: what.into(), place: one_line(&place.to_string()), why: one_line(&why.to_string()), usage: false }
    }

    /// A mistake in the command line, found too late for the argument parser to report it.
    pub fn usage(argument: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { what: "usage".to_owned(), place: argument.into(), why: one_line(&why.to_string()), usage: true }
    }

    /// The exit status the program ends with: 2 for usage, 1 for everything else.
    pub fn exit_status(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.what, self.place, self.why)
    }
}

impl std::error::Error for Failure {}

/// Messages quote peers and other programs; a line break in one of them must not break ours.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_line_breaks_stay_on_one_line() {
        let failure = Failure::new("start", "nbdkit", "first\nsecond\r\n");
        assert_eq!(failure.to_string(), "start: nbdkit: first second");
        assert_eq!(failure.exit_status(), 1);
    }

    #[test]
    fn usage_has_its_own_exit_status() {
        let failure = Failure::usage("--batch-min", "only for --strategy more");
        assert_eq!(failure.to_string(), "usage: --batch-min: only for --strategy more");
        assert_eq!(failure.exit_status(), 2);
    }
}
