//! What the kernel says about memory.

use std::fs;

use serde::{Deserialize, Serialize};

use tls_cork_programs::Failure;

const ROLLUP: &str = "/proc/self/smaps_rollup";
const SOCKSTAT: &str = "/proc/net/sockstat";
/// What `mem` in sockstat counts, on the machines this runs on.
const PAGE: u64 = 4096;

/// Memory at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident in this process.
    pub resident: u64,
    /// In the buffers of all TCP sockets of the machine; no process is charged for it.
    pub kernel: u64,
}

impl Memory {
    /// Now.
    ///
    /// # Errors
    ///
    /// When `/proc` is not as proc(5) has it.
    pub fn now() -> Result<Self, Failure> {
        let resident = read(ROLLUP, |text| field(text, "Rss:").map(|kib| kib * 1024))?;
        let kernel = read(SOCKSTAT, |text| {
            let line = text.lines().find(|line| line.starts_with("TCP:"))?;
            field(line, "mem").map(|pages| pages * PAGE)
        })?;
        Ok(Self { resident, kernel })
    }
}

fn read(file: &str, parse: impl Fn(&str) -> Option<u64>) -> Result<u64, Failure> {
    let text = fs::read_to_string(file).map_err(|e| Failure::new("read memory", file, e))?;
    parse(&text).ok_or_else(|| Failure::new("read memory", file, "not as proc(5) has it"))
}

/// The number behind the word `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.split_whitespace().skip_while(|word| *word != name).nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0   [rollup]\nRss:                1716 kB\nPss:   436 kB\n";
        assert_eq!(field(rollup, "Rss:"), Some(1716));
        assert_eq!(field("TCP: inuse 5 orphan 0 tw 2 alloc 7 mem 3", "mem"), Some(3));
        assert_eq!(field(rollup, "Swap:"), None);
        assert_eq!(field("Rss:", "Rss:"), None);
    }

    #[test]
    fn what_is_allocated_shows() {
        let before = Memory::now().expect("proc");
        // More than other tests give back meanwhile.
        let block = std::hint::black_box(vec![1u8; 128 << 20]);
        let after = Memory::now().expect("proc");
        assert!(after.resident >= before.resident + (64 << 20), "{before:?} {after:?} {}", block.len());
    }
}
