//! Soak: both drivers under a random mix of all operations, through everything a network does to a stream.
//!
//! A number of streams run at once over loopback TCP, each from a seed of its own: which drivers, TLS 1.2 or 1.3, how to cork, what to send and
//! when to stall, and what ends it. Every byte is checked at its place. What a seed does not decide is time: a stream that is repeated meets the same
//! operations and faults, but not at the same moments.

mod async_side;
mod counted;
mod faulty_wire;
mod judge;
mod ledger;
mod memory;
mod mio_side;
mod operations;
mod pattern;
mod plan;
mod stream;
mod table;
mod totals;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fastrand::Rng;
use indicatif::ProgressBar;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use ledger::{EndReport, Ledger};
use plan::{Side, StreamPlan};
use stream::Configs;
use tls_cork_programs::Failure;
use tls_cork_programs::tls::TemporaryCertificates;
use tls_cork_report::{self as report, OutArgs};

pub use ledger::{Fate, Operation};
pub use memory::Memory;
pub use plan::{Fault, Pairing};
pub use table::COLUMNS;
pub use totals::{Outcome, Totals};

/// How long a stream may move nothing. Far longer than every stall and pause, so that only one that hangs is caught.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a stream gets to come to its end when the time is over; each is still watched for [`PATIENCE`].
const LOOK: Duration = Duration::from_millis(200);
const QUICK: Duration = Duration::from_secs(20);
/// After this a stream of a round sends nothing new, once it has met its fault and made as many operations, however slow the machine is.
const ROUND: Duration = Duration::from_secs(1);
const LEAST_OPERATIONS: u64 = 200;
/// Resident memory may grow by no more than this between the first look and the last.
const MOST_GROWTH: u64 = 8 << 20;
/// And by this for each place where streams run, since what a stream holds varies.
const MOST_GROWTH_EACH: u64 = 512 << 10;

/// Options of `soak`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = report::help_columns("soak", &COLUMNS))]
pub struct SoakArgs {
    /// How long new streams are started.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub seconds: u32,
    /// Only 20 seconds.
    #[arg(long, conflicts_with = "seconds")]
    pub quick: bool,
    /// So many streams in each place, one after the other, of about a second each; ten of them meet every fault.
    #[arg(long, conflicts_with_all = ["seconds", "quick"], value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Streams at a time for each pairing of drivers: mio, async-std, one of each.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub streams: u16,
    /// Where every random choice comes from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Run one stream from its own seed, as a failure has named it.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seconds", "quick", "rounds", "streams", "seed"])]
    pub replay: Option<u64>,
    /// Where to keep the figures.
    #[command(flatten)]
    pub out: OutArgs,
}

/// What an end's TLS session is made of.
#[derive(Debug)]
pub(crate) enum Session {
    Client(Arc<ClientConfig>, ServerName<'static>),
    Server(Arc<ServerConfig>),
}

/// Runs the soak and prints what it went through.
///
/// # Errors
///
/// The first check that failed, with the seed of its stream.
pub fn run(args: &SoakArgs) -> Result<(), Failure> {
    memory::with_one_arena()?;
    args.out.prepare()?;
    let progress = report::progress(0);
    let outcome = measure(args, &progress)?;
    progress.finish_and_clear();
    let report = outcome.report();
    report.print()?;
    report::print(&format!("\n{}", outcome.summary()))?;
    report.save(&args.out, &table::CHART)
}

/// Runs the soak; `progress` shows how far it is.
///
/// # Errors
///
/// As [`run`].
pub fn measure(args: &SoakArgs, progress: &ProgressBar) -> Result<Outcome, Failure> {
    let certs = TemporaryCertificates::new()?;
    let configs = Arc::new(Configs::new(certs.path())?);
    if let Some(seed) = args.replay {
        return replay(seed, configs);
    }
    let times = match args.rounds {
        Some(_) => Times { whole: None, each: Some(ROUND) },
        None if args.quick => Times { whole: Some(QUICK), each: None },
        None => Times { whole: Some(Duration::from_secs(u64::from(args.seconds))), each: None },
    };
    let (results, finished) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let mut rng = Rng::with_seed(args.seed);
    let slots: Vec<Arc<Slot>> = Pairing::ALL
        .iter()
        .flat_map(|&pairing| (0..args.streams).map(move |_| pairing))
        .zip(0..)
        .map(|(pairing, place)| {
            let slot = Arc::new(Slot { pairing, running: Mutex::new(None) });
            let (configs, stop, results) = (Arc::clone(&configs), Arc::clone(&stop), results.clone());
            let (mine, seeds) = (Arc::clone(&slot), rng.fork());
            // Neighbours begin with different faults, and the rounds of all go through every one.
            let first = args.rounds.map_or(place, |rounds| place * u64::from(rounds));
            let turns = first..args.rounds.map_or(u64::MAX, |rounds| first + u64::from(rounds));
            // Not waited for: one that hangs is told about, and left behind.
            thread::spawn(move || mine.run(seeds, turns, &configs, &stop, &results));
            slot
        })
        .collect();
    drop(results);
    watch(&slots, &finished, &stop, args.seed, times, progress)
}

/// After what time to come to an end; never, if none.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    /// No new streams.
    whole: Option<Duration>,
    /// Nothing new in a stream.
    each: Option<Duration>,
}

/// A place where one stream after the other runs.
struct Slot {
    pairing: Pairing,
    running: Mutex<Option<(u64, Arc<Ledger>)>>,
}

/// A stream that is over.
struct Finished {
    plan: StreamPlan,
    ledger: Arc<Ledger>,
    reports: Result<[EndReport; 2], String>,
}

impl Slot {
    fn run(&self, mut rng: Rng, turns: Range<u64>, configs: &Configs, stop: &AtomicBool, results: &Sender<Finished>) {
        for turn in turns {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let plan = StreamPlan::new(plan::seed(&mut rng, self.pairing, turn));
            let ledger = Arc::new(Ledger::new());
            *self.lock() = Some((plan.seed, Arc::clone(&ledger)));
            let reports = stream::run(&plan, configs, &ledger);
            *self.lock() = None;
            if results.send(Finished { plan, ledger, reports }).is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(u64, Arc<Ledger>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Finished {
    /// # Errors
    ///
    /// When a check has failed.
    fn check(&self) -> Result<&[EndReport; 2], Failure> {
        let reports = self.reports.as_ref().map_err(|why| failure(self.plan.seed, &self.ledger, why))?;
        judge::judge(&self.ledger, reports).map_err(|why| {
            let [client, server] = reports.each_ref().map(ledger::said);
            let why = format!("{why}; the client said: {client}; the server said: {server}");
            failure(self.plan.seed, &self.ledger, &why)
        })?;
        Ok(reports)
    }
}

/// Counts streams as they end, until all have.
fn watch(
    slots: &[Arc<Slot>],
    finished: &Receiver<Finished>,
    stop: &AtomicBool,
    seed: u64,
    times: Times,
    progress: &ProgressBar,
) -> Result<Outcome, Failure> {
    let start = Instant::now();
    let time = times.whole;
    let early_at = time.map(|time| Duration::from_secs(60).min(time / 2));
    let mut outcome = Outcome::new(seed);
    progress.set_length(time.map_or(0, |time| time.as_secs()));
    loop {
        match finished.recv_timeout(LOOK) {
            Ok(stream) => {
                let added = outcome.add(&stream.plan, &stream.ledger, stream.check()?);
                added.map_err(|why| failure(stream.plan.seed, &stream.ledger, &why))?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let elapsed = start.elapsed();
        if outcome.early.is_none() && early_at.is_some_and(|at| elapsed >= at) {
            outcome.early = Some((elapsed, Memory::now()?));
        }
        if time.is_some_and(|time| elapsed >= time) && !stop.swap(true, Ordering::SeqCst) {
            outcome.late = Memory::now()?;
        }
        progress.set_position(elapsed.as_secs().min(progress.length().unwrap_or(0)));
        progress.set_message(format!("{} streams", outcome.sum(|t| t.streams)));
        for slot in slots {
            if let Some((seed, ledger)) = &*slot.lock() {
                let is_through = |time| ledger.age() > time && has_done_its_share(*seed, ledger);
                if stop.load(Ordering::SeqCst) || times.each.is_some_and(is_through) {
                    ledger.hurry();
                }
                if ledger.idle() > PATIENCE {
                    return Err(failure(*seed, ledger, &format!("nothing moved for {PATIENCE:?}")));
                }
            }
        }
    }
    outcome.seconds = start.elapsed().as_secs_f64();
    if time.is_none() {
        outcome.late = Memory::now()?;
    }
    outcome.check_memory(MOST_GROWTH + MOST_GROWTH_EACH * slots.len() as u64)?;
    Ok(outcome)
}

/// Whether a stream of a round has been through what it is there for.
fn has_done_its_share(seed: u64, ledger: &Ledger) -> bool {
    let operations: u64 = Operation::ALL.into_iter().map(|operation| ledger.operations(operation)).sum();
    let fault = StreamPlan::new(seed).fault;
    operations >= LEAST_OPERATIONS && fault.is_none_or(|plan| ledger.has_happened(plan.fault))
}

/// One stream, once more.
fn replay(seed: u64, configs: Arc<Configs>) -> Result<Outcome, Failure> {
    let plan = StreamPlan::new(seed);
    println!("{plan:#?}");
    let (results, finished) = mpsc::channel();
    let slot = Arc::new(Slot { pairing: plan::pairing(seed), running: Mutex::new(None) });
    let mine = Arc::clone(&slot);
    thread::spawn(move || {
        let ledger = Arc::new(Ledger::new());
        *mine.lock() = Some((seed, Arc::clone(&ledger)));
        let reports = stream::run(&plan, &configs, &ledger);
        let _ = results.send(Finished { plan, ledger, reports });
    });
    watch(&[slot], &finished, &AtomicBool::new(false), seed, Times::default(), &ProgressBar::hidden())
}

/// A failed check: the stream's seed, what is wrong, and how far it was.
fn failure(seed: u64, ledger: &Ledger, why: &str) -> Failure {
    let states = Side::BOTH.map(|side| {
        format!(
            "{side:?}: {} accepted, {} received{}{}{}",
            ledger.accepted(side),
            ledger.received(side),
            if ledger.is_closed(side) { ", closed" } else { "" },
            if ledger.has_read_ended(side) { ", read to the end" } else { "" },
            if ledger.is_finished(side) { ", gone" } else { "" },
        )
    });
    let faults: Vec<String> =
        Fault::ALL.iter().filter(|&&fault| ledger.has_happened(fault)).map(ToString::to_string).collect();
    let place = format!("{} stream, --replay {seed}", plan::pairing(seed));
    Failure::new("soak", place, format!("{why} ({}; faults: [{}])", states.join("; "), faults.join(", ")))
}
