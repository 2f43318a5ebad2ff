//! The cost of a small held write in the policy, in instructions.
//!
//! ```sh
//! cargo bench -p tls-cork --bench held_write
//! ```
//!
//! Needs valgrind. The program runs itself twice under callgrind: with a number of held writes
//! between two writes that release, and with twice as many. All else is equal, so that the
//! difference is the cost of the held writes. It is the same on every run of one build.
#![allow(clippy::disallowed_methods)] // the start of virtual time

use std::error::Error;
use std::hint::black_box;
use std::io::{self, ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use tls_cork::{CorkConfig, CorkPolicy, MAX_RECORD_SIZE, Seal, SealError, SendFlags};

/// The header of a request, as long as one of NBD.
const SMALL: [u8; 28] = [7; 28];
const ROUNDS: u64 = 5000;
/// Held writes in each round. Twice as many still fit one record.
const WRITES: u64 = 15;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().collect();
    if let [_, flag, writes] = &args[..]
        && flag == ROUNDS_OF
    {
        run(writes.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("held_write: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The argument with which the program starts its copy under callgrind.
const ROUNDS_OF: &str = "--rounds-of";

fn measure() -> Result<(), Box<dyn Error>> {
    let (some, twice) = (count(WRITES)?, count(2 * WRITES)?);
    let each = (twice.instructions - some.instructions) as f64 / (ROUNDS * WRITES) as f64;
    println!("{each:.0} instructions for each held write of {} bytes", SMALL.len());
    println!("where they go: callgrind_annotate {}", twice.profile.display());
    Ok(())
}

struct Count {
    instructions: u64,
    profile: PathBuf,
}

fn count(writes: u64) -> Result<Count, Box<dyn Error>> {
    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("held_write.{writes}.callgrind"));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(env::current_exe()?)
        .args([ROUNDS_OF, &writes.to_string()])
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => "valgrind is not installed: install it, it counts the instructions".into(),
            _ => format!("cannot start valgrind: {error}"),
        })?;
    if !output.status.success() {
        return Err(format!("valgrind failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = fs::read_to_string(&profile)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("no totals in callgrind's output")?;
    Ok(Count { instructions: total.trim().parse()?, profile })
}

fn run(writes: u64) {
    let mut policy = CorkPolicy::new(Sink::default(), CorkConfig::default()).expect("a valid configuration");
    let now = Instant::now();
    for _ in 0..ROUNDS {
        for _ in 0..writes {
            let held = policy.write(now, &[IoSlice::new(black_box(&SMALL))], SendFlags::MORE);
            assert!(matches!(held, Ok(written) if !written.decision.is_flush()));
        }
        let last = policy.write(now, &[IoSlice::new(black_box(&SMALL))], SendFlags::NONE);
        assert!(matches!(last, Ok(written) if written.decision.is_flush()));
        let sent = policy.transmit_with(|bufs, _more| Ok(bufs[0].len()));
        assert!(matches!(sent, Ok(done) if done.bytes > 0));
    }
}

/// A sealer that drops its plaintext and offers as many zeros instead.
#[derive(Debug, Default)]
struct Sink {
    waiting: usize,
}

impl Seal for Sink {
    fn is_ready(&self) -> bool {
        true
    }

    fn max_record_size(&self) -> usize {
        MAX_RECORD_SIZE
    }

    fn seal(&mut self, plaintext: &[IoSlice<'_>], record_size: usize) -> Result<usize, SealError> {
        self.waiting = plaintext.iter().map(|piece| piece.len()).sum();
        Ok(self.waiting.div_ceil(record_size))
    }

    fn has_output(&self) -> bool {
        self.waiting > 0
    }

    fn transmit(&mut self, send: &mut dyn FnMut(&[IoSlice<'_>], bool) -> io::Result<usize>) -> io::Result<usize> {
        let taken = send(&[IoSlice::new(&[0; MAX_RECORD_SIZE][..self.waiting.min(MAX_RECORD_SIZE)])], false)?;
        self.waiting -= taken;
        Ok(taken)
    }

    fn close_notify(&mut self) -> Result<(), SealError> {
        Ok(())
    }
}
