//! The words of the contract: what a write says, what the policy answers and why.

use std::ops::{BitOr, BitOrAssign};
use std::time::Instant;

/// Flags of one write, in the manner of `send(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SendFlags(u8);

impl SendFlags {
    /// No flag: this write completes a message, so that everything written so far may leave.
    pub const NONE: Self = Self(0);
    /// More is coming: the tail of this write may wait for the next one (`MSG_MORE` of `send(2)`).
    pub const MORE: Self = Self(1);

    /// [`MORE`](Self::MORE) if `more`, else [`NONE`](Self::NONE).
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

/// [`SendFlags::more_if`], where a constant is not needed.
impl From<bool> for SendFlags {
    fn from(more: bool) -> Self {
        Self::more_if(more)
    }
}

/// What a call means for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "`Flush` means that there is something to transmit now"]
pub enum FlushDecision {
    /// This call gave the transport nothing new to send.
    Hold {
        /// When to call [`handle_timeout`](crate::CorkPolicy::handle_timeout) at the latest;
        /// `None` while no held byte has a deadline.
        until: Option<Instant>,
    },
    /// This call gave the transport something new to send: transmit now.
    Flush {
        /// Plaintext bytes that this call released; zero if only the end of the stream
        /// (`close_notify`) is new.
        bytes: usize,
        /// Why they may leave.
        reason: FlushReason,
    },
}

impl FlushDecision {
    /// Whether there is something to transmit now.
    pub fn is_flush(&self) -> bool {
        matches!(self, Self::Flush { .. })
    }

    /// A flush also if nothing was released, but the end of the stream may leave now.
    pub(crate) fn or_end(self, ends: bool) -> Self {
        match self {
            Self::Hold { .. } if ends => Self::Flush { bytes: 0, reason: FlushReason::Close },
            decision => decision,
        }
    }

    /// The decision about a write that was sealed at once and released `bytes`. They include bytes
    /// that filled up a record, and exclude those that the keys refused.
    pub(crate) fn of_sealed(self, bytes: usize) -> Self {
        match self {
            Self::Hold { .. } if bytes > 0 => Self::Flush { bytes, reason: FlushReason::Filled },
            Self::Flush { reason, .. } => Self::Flush { bytes, reason },
            hold @ Self::Hold { .. } => hold,
        }
    }
}

/// Why held bytes were released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlushReason {
    /// A write without [`SendFlags::MORE`] completed the message.
    Last,
    /// Whole records' worth of plaintext never waits.
    RecordFull,
    /// The held tail grew over [`hold_limit`](crate::CorkConfig::hold_limit).
    HoldLimit,
    /// A record that had to leave anyway was filled up with held bytes.
    Filled,
    /// [`uncork`](crate::CorkPolicy::uncork).
    Uncork,
    /// [`flush`](crate::CorkPolicy::flush).
    Flush,
    /// The first held byte had waited for [`max_hold`](crate::CorkConfig::max_hold).
    Deadline,
    /// The caller was about to sleep until the peer answers.
    ReadWait,
    /// The handshake ended; what was written during it leaves.
    HandshakeDone,
    /// [`close`](crate::CorkPolicy::close).
    Close,
}

impl FlushReason {
    /// Every reason, in the order of their declaration.
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

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a write may accept only a prefix"]
pub struct Written {
    /// How many of the bytes offered were accepted, counted from the front.
    ///
    /// The accepted part of a short write counts as written with [`SendFlags::MORE`]: offer the rest
    /// again with the flags of the whole.
    pub accepted: usize,
    /// What to do now.
    pub decision: FlushDecision,
}

/// What became of a transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a blocked transmit has to be repeated when the transport can take more"]
pub struct Transmitted {
    /// Wire bytes that the transport took in this call.
    pub bytes: usize,
    /// Whether the transport stopped taking bytes (`WouldBlock`) while some were waiting.
    ///
    /// If not, nothing is left to transmit until another call releases something, or the limit of
    /// [`transmit_up_to`](crate::CorkPolicy::transmit_up_to) was reached.
    pub blocked: bool,
}

/// Encrypted output that a completion loop owns until its send has completed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// Whole or partial TLS records, to be sent in order.
    pub data: bytes::Bytes,
    /// Whether further bytes are already waiting behind these (`MSG_MORE` of `send(2)`).
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
