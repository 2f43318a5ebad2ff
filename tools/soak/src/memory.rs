//! Memory of this process.
//!
//! Resident memory is what streams hold, and what the allocator keeps of what earlier streams held.
//! Every stream has threads of its own. glibc spreads threads over up to eight arenas for each CPU,
//! and an arena gives back only what is free at its end. With many arenas, resident memory
//! therefore creeps towards the sum of what each arena has held at its worst.
//!
//! Measured with `mallinfo2` of glibc 2.36 on two CPUs, `soak --seed 3`, 24 streams at a time; in
//! MiB:
//!
//! | arenas | seconds | resident | in use on the heap | free on the heap |
//! |--------|---------|----------|--------------------|------------------|
//! | 16     | 10      | 30.8     | 8.2                | 11.8             |
//! | 16     | 60      | 40.0     | 10.4               | 19.7             |
//! | 16     | 120     | 41.3     | 11.6               | 19.9             |
//! | 16     | 180     | 44.0     | 9.1                | 24.5             |
//! | 16     | 300     | 44.9     | 10.6               | 23.7             |
//! | 1      | 10      | 21.5     | 8.0                | 1.9              |
//! | 1      | 60      | 26.8     | 11.1               | 4.6              |
//! | 1      | 120     | 28.9     | 13.2               | 5.2              |
//! | 1      | 300     | 27.7     | 10.3               | 6.6              |
//! | 1      | 600     | 29.3     | 13.7               | 4.6              |
//!
//! - What is in use varies with what the streams are doing, from 8 to 14 MiB, and does not grow.
//!   When most streams had ended, 2.7 MiB were in use.
//! - What is free grows with the number of arenas. After 10 seconds the largest of 16 had held
//!   2.1 MiB, after 290 seconds 3.4 MiB, and each had between 0.03 and 1.7 MiB in use.
//! - The rest of resident memory is constant: 9 MiB of the program's file and libraries, and 3 MiB
//!   of stacks.
//!
//! The soak therefore runs with one arena, so that a bound on growth can be narrow. A test counts
//! what finished streams leave on the heap (`tests/soak_memory.rs`).

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, fs};

use tls_cork_programs::Failure;
use tls_cork_programs::children;

/// How many arenas glibc may use; read when a program starts.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Replaces this process by the same program with one arena for all threads. Does nothing if the
/// environment sets the number of arenas.
///
/// # Errors
///
/// When it cannot be started.
pub(crate) fn with_one_arena() -> Result<(), Failure> {
    if env::var_os(ARENAS).is_some() {
        return Ok(());
    }
    let error = Command::new(children::ourselves()?).args(env::args_os().skip(1)).env(ARENAS, "1").exec();
    Err(Failure::new("start program", "tls-cork-bench", error))
}

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
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_what_was_given_back() {
        let before = Memory::now().expect("memory");
        let block = vec![1_u8; 64 << 20];
        assert!(block.iter().step_by(4096).all(|&byte| byte == 1));
        drop(block);
        let after = Memory::now().expect("memory");
        assert!(after.peak >= before.resident + (60 << 20), "{before:?} {after:?}");
        assert!(after.peak >= after.resident);
    }
}
