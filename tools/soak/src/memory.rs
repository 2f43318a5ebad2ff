//! Memory of this process.
//!
//! Every stream has threads of its own. glibc spreads threads over up to eight arenas for each CPU,
//! and an arena gives back only what is free at its end. With 16 arenas (two CPUs, glibc 2.36, 24
//! streams), resident memory grew from 31 MiB after 10 seconds to 45 MiB after 300, of which 24 MiB
//! were free on the heap. With one arena the figures were 22, 28 and 7 MiB. Memory in use did not
//! grow: it varied from 8 to 14 MiB.
//!
//! The soak therefore runs with one arena, so that a bound on growth can be narrow. A test counts
//! the bytes that finished streams leave on the heap (`tests/soak_memory.rs`).

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
/// When the program cannot be started.
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
    /// The highest value so far.
    pub peak: u64,
}

impl Memory {
    /// Reads the present values.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or lacks a field.
    pub fn now() -> Result<Self, Failure> {
        let path = "/proc/self/status";
        let status = fs::read_to_string(path).map_err(|e| Failure::new("measure memory", path, e))?;
        let field = |name: &str| -> Result<u64, Failure> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024).ok_or_else(|| Failure::new("measure memory", path, format!("no {name}")))
        };
        Ok(Self { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}
