//! CPU time of this process.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// User and system time, as `getrusage(2)` counts them.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTime {
    /// In our own code.
    pub user: Duration,
    /// In the kernel, on our behalf.
    pub sys: Duration,
}

impl CpuTime {
    /// Since the process began.
    pub fn now() -> Self {
        Self::of(UsageWho::RUSAGE_SELF)
    }

    /// Of the children that have ended.
    pub fn of_children() -> Self {
        Self::of(UsageWho::RUSAGE_CHILDREN)
    }

    fn of(who: UsageWho) -> Self {
        // getrusage(2) cannot fail with this; zero would show at once.
        getrusage(who).map_or_else(
            |_| Self::default(),
            |usage| Self { user: duration(usage.user_time()), sys: duration(usage.system_time()) },
        )
    }

    /// What has been added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self { user: self.user.saturating_sub(earlier.user), sys: self.sys.saturating_sub(earlier.sys) }
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
