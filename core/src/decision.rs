//! The types of the contract: flags of a write, decisions and their reasons, results.

use std::ops::{BitOr, BitOrAssign};
use std::time::Instant;

/// Flags of one write, like those of send(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SendFlags(u8);

impl SendFlags {
    /// No flag: this write completes a message, and everything written so far may leave.
    pub const NONE: Self = Self(0);
    /// More is coming: the tail of this write may wait for the next write (`MSG_MORE` of send(2)).
    pub const MORE: Self = Self(1);

    /// Returns [`MORE`](Self::MORE) if `more`, else [`NONE`](Self::NONE).
    pub const fn more_if(more: bool) -> Self {
        if more { Self::MORE } else { Self::NONE }
    }

    /// Whether every flag in `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for SendFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for SendFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The same as [`SendFlags::more_if`], which is `const`.
impl From<bool> for SendFlags {
    fn from(more: bool) -> Self {
        Self::more_if(more)
    }
}

/// What a driver has to do after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "`Flush` means that there is something to transmit now"]
pub enum FlushDecision {
    /// The call released nothing.
    Hold {
        /// The deadline of the held bytes: the time at which to call
        /// [`handle_timeout`](crate::CorkPolicy::handle_timeout). `None` if no deadline runs.
        until: Option<Instant>,
    },
    /// The call released plaintext or the end of the stream: transmit now.
    Flush {
        /// Plaintext bytes released by the call; zero if only the end of the stream
        /// (`close_notify`) is new.
        bytes: usize,
        /// Why they were released.
        reason: FlushReason,
    },
}

impl FlushDecision {
    /// Whether there is something to transmit now.
    pub fn is_flush(&self) -> bool {
        matches!(self, Self::Flush { .. })
    }

    /// A flush even if nothing was released, when `ends` states that `close_notify` may leave now.
    pub(crate) fn or_end(self, ends: bool) -> Self {
        match self {
            Self::Hold { .. } if ends => Self::Flush { bytes: 0, reason: FlushReason::Close },
            decision => decision,
        }
    }

    /// The decision about a write that was sealed in the call and released `bytes`. These include
    /// bytes that filled up a record, and exclude bytes that the keys refused.
    pub(crate) fn of_sealed(self, bytes: usize) -> Self {
        match self {
            Self::Hold { .. } if bytes > 0 => Self::Flush { bytes, reason: FlushReason::Filled },
            Self::Flush { reason, .. } => Self::Flush { bytes, reason },
            hold @ Self::Hold { .. } => hold,
        }
    }
}

/// Why bytes were released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlushReason {
    /// A write without [`SendFlags::MORE`] completed a message (R2).
    Last,
    /// Full records that do not wait for company (R1): see
    /// [`hold_limit`](crate::CorkConfig::hold_limit).
    RecordFull,
    /// The tail grew over [`hold_limit`](crate::CorkConfig::hold_limit) (R1).
    HoldLimit,
    /// A record that had to leave was filled up with held bytes (R7).
    Filled,
    /// [`uncork`](crate::CorkPolicy::uncork) was called (R10).
    Uncork,
    /// [`flush`](crate::CorkPolicy::flush) was called (R10).
    Flush,
    /// The first held byte had waited for [`max_hold`](crate::CorkConfig::max_hold) (R5).
    Deadline,
    /// The caller was about to sleep until the peer sends something (R12).
    ReadWait,
    /// The handshake has ended (R6).
    HandshakeDone,
    /// [`close`](crate::CorkPolicy::close) was called (R11).
    Close,
}

impl FlushReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: &'static [Self] = &[
        Self::Last,
        Self::RecordFull,
        Self::HoldLimit,
        Self::Filled,
        Self::Uncork,
        Self::Flush,
        Self::Deadline,
        Self::ReadWait,
        Self::HandshakeDone,
        Self::Close,
    ];
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a write may accept only a prefix"]
pub struct Written {
    /// The number of bytes accepted, from the front of those offered.
    ///
    /// The accepted part of a short write counts as written with [`SendFlags::MORE`]: write the
    /// rest with the flags of the whole.
    pub accepted: usize,
    /// What to do next.
    pub decision: FlushDecision,
}

/// The result of a transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a blocked transmit has to be repeated when the transport can take more"]
pub struct Transmitted {
    /// Wire bytes that the transport took during the call.
    pub bytes: usize,
    /// Whether the transport returned `WouldBlock` while output was waiting.
    ///
    /// If false, nothing is left to transmit until another call releases something, or the limit of
    /// [`transmit_up_to`](crate::CorkPolicy::transmit_up_to) was reached.
    pub blocked: bool,
}

/// Encrypted output that a completion-based loop owns until its send has completed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// Whole or partial TLS records. Send them in the order in which they were taken.
    pub data: bytes::Bytes,
    /// Whether released plaintext waits behind these bytes (`MSG_MORE` of send(2)).
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_set_one_by_one_and_by_a_condition() {
        let mut flags = SendFlags::NONE;
        assert!(!flags.contains(SendFlags::MORE));
        flags |= SendFlags::NONE;
        assert_eq!(flags, SendFlags::from(false));
        flags |= SendFlags::MORE;
        assert_eq!(flags, SendFlags::from(true));
        flags |= SendFlags::NONE;
        assert!(flags.contains(SendFlags::MORE), "nothing takes a flag away");
    }
}
