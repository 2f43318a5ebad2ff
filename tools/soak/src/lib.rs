//! Soak: both drivers under a random mix of all operations, through everything a network does to a stream.
//!
//! A number of streams run at once over loopback TCP, each from a seed of its own: which drivers, TLS 1.2 or 1.3, how to cork, what to send and
//! when to stall, and what ends it. Every byte is checked at its place. What a seed does not decide is time: a stream that is repeated meets the same
//! operations and faults, but not at the same moments.

mod async_side;
mod faulty_wire;
mod judge;
mod ledger;
mod memory;
mod mio_side;
mod operations;
mod pattern;
mod plan;
mod session;
mod stream;
mod totals;

use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fastrand::Rng;
use indicatif::ProgressBar;

use ledger::{EndReport, Ledger};
use plan::{Side, StreamPlan};
use session::Configs;
use tls_cork_programs::Failure;
use tls_cork_programs::tls::TemporaryCertificates;
use tls_cork_report as report;

pub use memory::Memory;
pub use plan::{Fault, Pairing};
pub use totals::{Outcome, Totals};

/// How long a stream may move nothing. Far longer than every stall and pause, so that only one that hangs is caught.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often streams are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// After this a stream of a round sends nothing new, once it has met its fault and made as many operations, however slow the machine is.
const ROUND: Duration = Duration::from_secs(1);
const LEAST_OPERATIONS: u64 = 200;
/// Resident memory may grow by no more than this between the first look and the last.
const MOST_GROWTH: u64 = 8 << 20;
/// And by this for each place where streams run, since what a stream holds varies.
const MOST_GROWTH_EACH: u64 = 512 << 10;

/// Options of `soak`.
#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// How long new streams are started.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Streams at a time for each pairing of drivers: mio, async-std, one of each.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=200))]
    streams: u16,
    /// Where every random choice comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run one stream from its own seed, as a failure has named it.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seconds", "streams", "seed"])]
    replay: Option<u64>,
}

/// Runs the soak and prints what it went through.
///
/// # Errors
///
/// The first check that failed, with the seed of its stream.
pub fn run(args: &SoakArgs) -> Result<(), Failure> {
    memory::with_one_arena()?;
    let progress = report::progress(0);
    let outcome = if let Some(seed) = args.replay {
        println!("{:#?}", StreamPlan::new(seed));
        measure(vec![Box::new(iter::once(seed))], Times::default(), &progress)
    } else {
        let whole = Some(Duration::from_secs(args.seconds.into()));
        measure(places(args.streams, None, args.seed), Times { whole, each: None }, &progress)
    };
    progress.finish_and_clear();
    report::print(&outcome?.summary())
}

/// Runs `rounds` streams, of about a second each, one after the other in each of `streams` places
/// for each pairing. Ten of a pairing meet every fault.
///
/// # Errors
///
/// As [`run`].
pub fn run_rounds(rounds: u64, streams: u16) -> Result<Outcome, Failure> {
    let times = Times { whole: None, each: Some(ROUND) };
    measure(places(streams, Some(rounds), 1), times, &ProgressBar::hidden())
}

/// The seeds of the streams that run one after the other.
type Place = Box<dyn Iterator<Item = u64> + Send>;

fn places(streams: u16, rounds: Option<u64>, seed: u64) -> Vec<Place> {
    let mut rng = Rng::with_seed(seed);
    let pairings = Pairing::ALL.into_iter().flat_map(|pairing| iter::repeat_n(pairing, streams.into()));
    let place = |(pairing, number): (Pairing, u64)| {
        let mut seeds = rng.fork();
        // Neighbours begin with different faults, and the rounds of all go through every one.
        let turns = match rounds {
            Some(rounds) => number * rounds..(number + 1) * rounds,
            None => number..u64::MAX,
        };
        Box::new(turns.map(move |turn| plan::seed(&mut seeds, pairing, turn))) as Place
    };
    pairings.zip(0..).map(place).collect()
}

/// After what time to come to an end; never, if none.
#[derive(Clone, Copy, Default)]
struct Times {
    /// No new streams.
    whole: Option<Duration>,
    /// Nothing new in a stream.
    each: Option<Duration>,
}

/// A stream that has been started.
#[derive(Clone)]
struct Started {
    plan: Arc<StreamPlan>,
    ledger: Arc<Ledger>,
}

/// The stream that runs in a place now.
type Slot = Mutex<Option<Started>>;
/// A stream that is over.
type Finished = (Started, Result<[EndReport; 2], String>);

/// Runs the streams of all places.
fn measure(places: Vec<Place>, times: Times, progress: &ProgressBar) -> Result<Outcome, Failure> {
    let certs = TemporaryCertificates::new()?;
    let configs = Arc::new(Configs::new(certs.path())?);
    let (results, finished) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let start_place = |seeds: Place| {
        let slot = Arc::new(Slot::default());
        let (mine, configs, stop, results) = (slot.clone(), configs.clone(), stop.clone(), results.clone());
        // Not waited for: one that hangs is reported, and left behind.
        thread::spawn(move || run_place(seeds, &mine, &configs, &stop, &results));
        slot
    };
    let slots: Vec<Arc<Slot>> = places.into_iter().map(start_place).collect();
    drop(results);
    watch(&slots, &finished, &stop, times, progress)
}

fn run_place(seeds: Place, slot: &Slot, configs: &Configs, stop: &AtomicBool, results: &Sender<Finished>) {
    for seed in seeds {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let started = Started { plan: Arc::new(StreamPlan::new(seed)), ledger: Arc::new(Ledger::new()) };
        *lock(slot) = Some(started.clone());
        let reports = stream::run(&started.plan, configs, &started.ledger);
        *lock(slot) = None;
        if results.send((started, reports)).is_err() {
            return;
        }
    }
}

fn lock(slot: &Slot) -> MutexGuard<'_, Option<Started>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts streams as they end, until all have.
fn watch(
    slots: &[Arc<Slot>],
    finished: &Receiver<Finished>,
    stop: &AtomicBool,
    times: Times,
    progress: &ProgressBar,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let early_at = times.whole.map(|time| Duration::from_secs(60).min(time / 2));
    let mut outcome = Outcome::default();
    progress.set_length(times.whole.map_or(0, |time| time.as_secs()));
    loop {
        match finished.recv_timeout(LOOK) {
            Ok((stream, reports)) => {
                let reports = reports.map_err(|why| stream.failure(&why))?;
                judge::judge(&stream.ledger, &reports)
                    .map_err(|why| stream.failure(&format!("{why}; the ends reported {reports:?}")))?;
                outcome.add(&stream.plan, &stream.ledger, &reports);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let elapsed = start.elapsed();
        if outcome.early.is_none() && early_at.is_some_and(|at| elapsed >= at) {
            outcome.early = Some((elapsed, Memory::now()?));
        }
        if times.whole.is_some_and(|time| elapsed >= time) && !stop.swap(true, Ordering::SeqCst) {
            outcome.late = Memory::now()?;
        }
        progress.set_position(elapsed.as_secs().min(progress.length().unwrap_or(0)));
        for stream in slots.iter().filter_map(|slot| lock(slot).clone()) {
            let is_through = |time| stream.ledger.age() > time && stream.has_done_its_share();
            if stop.load(Ordering::SeqCst) || times.each.is_some_and(is_through) {
                stream.ledger.hurry.set();
            }
            if stream.ledger.idle() > PATIENCE {
                return Err(stream.failure(&format!("nothing moved for {PATIENCE:?}")));
            }
        }
    }
    outcome.seconds = start.elapsed().as_secs_f64();
    if times.whole.is_none() {
        outcome.late = Memory::now()?;
    }
    outcome.check_memory(MOST_GROWTH + MOST_GROWTH_EACH * slots.len() as u64)?;
    Ok(outcome)
}

impl Started {
    /// Whether a stream of a round has been through what it is there for.
    fn has_done_its_share(&self) -> bool {
        let operations: u64 = Side::BOTH.iter().map(|&side| self.ledger.end(side).operations.get()).sum();
        operations >= LEAST_OPERATIONS && self.plan.fault.is_some() == self.ledger.fault().is_some()
    }

    /// A failed check: the stream's seed, what is wrong, and how far the stream was.
    fn failure(&self, why: &str) -> Failure {
        let place = format!("{:?} stream, --replay {}", plan::pairing(self.plan.seed), self.plan.seed);
        let [client, server] = Side::BOTH.map(|side| self.ledger.end(side));
        let fault = self.ledger.fault();
        Failure::new("soak", place, format!("{why} (client: {client:?}; server: {server:?}; fault: {fault:?})"))
    }
}
