//! Memory of this process.

use std::fs;

use crate::failure::Failure;

/// Resident memory in bytes, from `/proc/self/status`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// At most, so far.
    pub peak: u64,
}

impl Memory {
    /// What the kernel says now.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn now() -> Result<Self, Failure> {
        let path = "/proc/self/status";
        let status = fs::read_to_string(path).map_err(|e| Failure::new("measure memory", path, e))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024)
        };
        match (field("VmRSS"), field("VmHWM")) {
            (Some(resident), Some(peak)) => Ok(Self { resident, peak }),
            _ => Err(Failure::new("measure memory", path, "no VmRSS or no VmHWM")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// For tests that measure the memory of the process: large blocks of one are not to come and go while another measures.
    pub(crate) static MEASURING: Mutex<()> = Mutex::new(());

    #[test]
    fn the_peak_counts_what_was_given_back() {
        let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Memory::now().expect("memory");
        let block = vec![1_u8; 64 << 20];
        assert!(block.iter().step_by(4096).all(|&byte| byte == 1));
        drop(block);
        let after = Memory::now().expect("memory");
        assert!(after.peak >= before.resident + (60 << 20), "{before:?} {after:?}");
        assert!(after.peak >= after.resident);
    }
}
