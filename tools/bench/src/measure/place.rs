//! Where work is done: processors, memory, and the CPU time of the thread that does it.

use std::hint::black_box;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// CLOCK_MONOTONIC in nanoseconds: the same for all processes of a machine, which `Instant` does
/// not promise.
#[must_use]
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread, user and system, in nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of a process, user and system, in nanoseconds; `None` when it has ended.
#[must_use]
pub fn process_cpu_ns(id: u32) -> Option<u64> {
    ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(id).ok()?)).ok().map(read)
}

fn read(clock: ClockId) -> u64 {
    // It cannot fail on Linux; zero would show at once.
    clock_gettime(clock).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
        seconds * 1_000_000_000 + nanos
    })
}

/// Keeps the calling thread, and those it starts, on one of the processors that it may use: the
/// first or the second, as `which` is even or odd. Unpinned, both ends of a connection share a
/// processor in some slices and not in others, and what a message costs differs by a third.
pub fn pin(which: u32) {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return };
    let processors: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    // With a single processor there is nothing to choose. A refusal leaves the thread where it was.
    if processors.len() > 1 && one.set(processors[which as usize % 2]).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &one);
    }
}

/// Runs `work` in a thread on a processor, as [`pin`] numbers them. A program that it starts stays
/// there too.
///
/// # Panics
///
/// If `work` does.
pub fn on<T: Send>(which: u32, work: impl FnOnce() -> T + Send) -> T {
    let pinned = || {
        pin(which);
        work()
    };
    thread::scope(|scope| scope.spawn(pinned).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// Blocks of random sizes: while they are kept, what the thread allocates lies elsewhere.
#[must_use]
pub fn ballast(rng: &mut Rng) -> Vec<Vec<u8>> {
    let blocks = rng.usize(1..8);
    (0..blocks).map(|_| black_box(Vec::with_capacity(rng.usize(64..16_384)))).collect()
}

/// Runs `work` with its stack lower by a multiple of some 100 bytes.
#[inline(never)]
pub fn deeper<'a, T>(frames: u32, work: Box<dyn FnOnce() -> T + 'a>) -> T {
    let frame = black_box([0_u8; 64]);
    let done = if frames == 0 { work() } else { deeper(frames - 1, work) };
    black_box(frame);
    done
}

/// Something due at a fixed rate.
#[derive(Debug)]
pub struct Pace {
    begin: Instant,
    interval: Duration,
}

impl Pace {
    /// Starts now.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { begin: Instant::now(), interval }
    }

    /// Sleeps, in the thread, until number `n` is due: no runtime's timer is to be measured.
    pub fn wait(&self, n: u64) {
        thread::sleep(self.interval.mul_f64(n as f64).saturating_sub(self.begin.elapsed()));
    }
}

/// Takes so much CPU time. By the clock: counted steps take twice as long behind a sleep.
pub fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_sleep_costs_no_cpu_time() {
        let (first, cpu) = (monotonic_ns(), thread_cpu_ns());
        thread::sleep(Duration::from_millis(20));
        assert!(first > 0 && monotonic_ns() - first >= 20_000_000);
        assert!(thread_cpu_ns() - cpu < 20_000_000);
        spin(Duration::from_micros(100));
        assert!(thread_cpu_ns() > cpu);
        assert!(process_cpu_ns(std::process::id()).is_some_and(|process| process > cpu));
    }

    #[test]
    fn frames_move_the_stack() {
        let here = || std::ptr::from_ref(&black_box(0_u8)).addr();
        let at = |frames| deeper(frames, Box::new(here));
        assert!(at(1).abs_diff(at(20)) > 64 * 15);
    }
}
