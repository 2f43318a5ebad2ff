//! `peers-send`: every stack's sending side, in one process with a thread for each connection.
//!
//! It prints a line once all are connected. Then each line on its standard input is a job for one
//! of them, and is answered by a line on its standard output. It ends with its input.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tls_cork::CorkConfig;

use super::receiver::{Job, say};
use super::seat::Seat;
use super::stacks::{self, Link, StackName};
use super::traffic::Content;
use crate::measure::place::{self, deeper};
use crate::shared::arguments::max_hold_parser;
use crate::shared::endpoint::Endpoint;
use tls_cork_programs::Failure;

/// Options of `peers-send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Who sends, each over a connection of its own.
    #[arg(long, value_enum)]
    pub stack: Vec<StackName>,
    /// Where `peers-receive` listens.
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Endpoint,
    /// PEM file with the CA certificate.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// How long tls-cork holds a piece at most.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 10, value_parser = max_hold_parser())]
    pub max_hold_ms: u64,
    /// Which processor to stay on.
    #[arg(long)]
    pub processor: Option<u32>,
}

/// Connects all stacks, then sends what each job says.
///
/// # Errors
///
/// When a stack was not built in, a connection fails, or a line is no job.
pub fn run(args: &SendArgs) -> Result<(), Failure> {
    args.processor.inspect(|&which| place::pin(which));
    let cork = CorkConfig::default().max_hold(Duration::from_millis(args.max_hold_ms));
    let link = Link { endpoint: args.connect.clone(), ca: args.ca.clone(), cork };
    attend(&args.stack, &args.connect, |job: &Job| job.seat, move |stack, seat| stacks::run(stack, &link, seat))
}

/// Starts a thread for each of `stacks`, which connects to `endpoint` and does its jobs in `work`.
/// Once all are connected it passes the jobs on, each to the connection that `seat_of` names.
///
/// # Errors
///
/// When a thread fails, or a line is no job.
pub(crate) fn attend<J: DeserializeOwned + Send + 'static, R: Serialize + Send + 'static>(
    stacks: &[StackName],
    endpoint: &Endpoint,
    seat_of: impl Fn(&J) -> usize,
    work: impl Fn(StackName, Seat<J, R>) -> Result<(), Failure> + Send + Sync + 'static,
) -> Result<(), Failure> {
    // For as long as the process: a stack may keep what it is given.
    let content: &'static Content = Box::leak(Box::default());
    let work = Arc::new(work);
    let (done, reports) = mpsc::channel();
    let gone = || Failure::new("do job", endpoint, "the thread of a connection ended without a word");
    let hear = || reports.recv().unwrap_or_else(|_| Err(gone()));
    let mut seats = Vec::new();
    for &stack in stacks {
        let (queue, jobs) = mpsc::channel();
        let (work, done) = (Arc::clone(&work), done.clone());
        let frames = Rng::new().u32(0..40);
        thread::spawn(move || {
            let _ballast = place::ballast(&mut Rng::new());
            let seat = Seat { content, jobs, done: done.clone() };
            let ended = deeper(frames, Box::new(|| work(stack, seat)));
            // If this fails, the process is about to end.
            let _ = ended.map_err(|failure| done.send(Err(failure)));
        });
        hear()?;
        seats.push(queue);
    }
    say(&"connected")?;
    for line in io::stdin().lock().lines() {
        let fail = |e: &dyn std::fmt::Display| Failure::new("read job", "standard input", e);
        let job: J = serde_json::from_str(&line.map_err(|e| fail(&e))?).map_err(|e| fail(&e))?;
        let seat = seats.get(seat_of(&job)).ok_or_else(|| fail(&"no such connection"))?;
        seat.send(job).map_err(|_| gone())?;
        say(&serde_json::json!(hear()?))?;
    }
    Ok(())
}
