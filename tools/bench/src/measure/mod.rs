//! The harness of `peers`, `receive` and `compare`: slices of two contenders in turn, and what
//! their ratio is.
//!
//! A *slice* is some tens of milliseconds of one contender's traffic. A *pair* is one slice of ours
//! and one of a rival, one directly after the other. A *round* is one pair of each row. A *sitting*
//! is a few rounds with the same processes and connections; the next sitting starts new ones.
//!
//! Why the figures are what they claim to be:
//!
//! - **CPU time first.** Time on the clock includes whatever else the machine does. CPU time of the
//!   thread that works does not. At full speed a receiver that falls behind makes larger reads, so
//!   CPU time there depends on the scheduler too; at a fixed rate it does not. Both are shown.
//! - **Pairs.** A machine's speed drifts over seconds. Two adjacent slices see the same machine, so
//!   the ratio within a pair is compared, and the median over all pairs is quoted. The order within
//!   a pair is random, and so is the order of pairs: no row always follows the same neighbour.
//! - **Warm-up.** A slice starts with an eighth of its traffic that does not count: the contender
//!   before it has used the caches. Connections stay open, so no handshake and no slow start
//!   counts.
//! - **Placement.** Where a buffer lies decides whether loads and stores collide (addresses that
//!   are equal modulo 4 KiB do). Before each slice the receive buffer moves, and blocks of random
//!   size are allocated ahead of whatever the contender allocates. Each sitting has new processes,
//!   new connections and other depths of stack, and swaps the processors of both ends. A median
//!   over sittings therefore rests on no single layout.
//! - **The interval** is a bootstrap over sittings: whole sittings are drawn again with all their
//!   pairs. Pairs of one sitting share its layout and are near in time, so they are not
//!   independent; sittings are. With fewer than six sittings there is no interval.
//! - **A/A.** Ours against a second connection of ours, treated as any other row. What the interval
//!   of that row excludes, no row can show.
//! - **Words.** See [`Verdict`]. "Cannot tell" is a result, not a pass. Of twenty rows without a
//!   difference, one is expected to be called ahead or behind.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::Serialize;

use tls_cork_programs::Failure;
use tls_cork_report::Median;
use tls_cork_report::{self as report, Value};

pub(crate) mod column;
pub mod place;
mod stats;

pub use stats::{Better, Verdict, interval, judgement};

/// When measuring ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// No round begins that would end later than this.
    Time(Duration),
    /// After so many sittings.
    Sittings(u32),
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// When it ends.
    pub until: Until,
    /// Rounds with the same processes.
    pub rounds: u32,
}

/// Processes and connections of one sitting.
pub trait Sitting<C> {
    /// What a slice is found to cost.
    type Slice;

    /// Runs a slice of `contender`, warmed up.
    ///
    /// # Errors
    ///
    /// When the contender fails.
    fn slice(&mut self, contender: &C) -> Result<Self::Slice, Failure>;

    /// Ends all connections, and checks that they end as they should.
    ///
    /// # Errors
    ///
    /// When one does not.
    fn end(self) -> Result<(), Failure>;
}

/// Two adjacent slices.
#[derive(Debug)]
pub struct Pair<S> {
    /// The sitting they belong to.
    pub sitting: u32,
    /// Ours.
    pub ours: S,
    /// The rival's.
    pub theirs: S,
}

/// Measures `rows` (each ours and its rival) until the plan ends; returns the pairs of each
/// row.
///
/// # Errors
///
/// When a sitting cannot be opened, or a slice fails.
pub fn run<C, S: Sitting<C>>(
    plan: Plan,
    rows: &[(C, C)],
    rng: &mut Rng,
    mut open: impl FnMut(u32) -> Result<S, Failure>,
) -> Result<Vec<Vec<Pair<S::Slice>>>, Failure> {
    let begin = Instant::now();
    let (budget, sittings, length) = match plan.until {
        Until::Time(budget) => (budget, u32::MAX, budget.as_secs()),
        Until::Sittings(n) => (Duration::MAX, n, u64::from(n) * u64::from(plan.rounds) * rows.len() as u64),
    };
    let progress = report::progress(length);
    let mut pairs: Vec<Vec<Pair<S::Slice>>> = rows.iter().map(|_| Vec::new()).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut longest = Duration::ZERO;
    for sitting in 0..sittings {
        let opened = Instant::now();
        let mut bench = open(sitting)?;
        let opening = if sitting == 0 { Duration::ZERO } else { opened.elapsed() };
        for _ in 0..plan.rounds {
            let round = Instant::now();
            rng.shuffle(&mut order);
            for &row in &order {
                let (ours, theirs) = &rows[row];
                let pair = if rng.bool() {
                    let ours = bench.slice(ours)?;
                    Pair { sitting, ours, theirs: bench.slice(theirs)? }
                } else {
                    let theirs = bench.slice(theirs)?;
                    Pair { sitting, ours: bench.slice(ours)?, theirs }
                };
                pairs[row].push(pair);
                match plan.until {
                    Until::Time(_) => progress.set_position(begin.elapsed().as_secs()),
                    Until::Sittings(_) => progress.inc(1),
                }
            }
            longest = longest.max(round.elapsed() + opening);
            if begin.elapsed() + longest > budget {
                break;
            }
        }
        bench.end()?;
        if begin.elapsed() + longest > budget {
            break;
        }
    }
    progress.finish_and_clear();
    Ok(pairs)
}

/// A figure of a rival, and ours beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// The rival's median, where there is one.
    pub theirs: Option<f64>,
    /// Ours over the rival's, within pairs: the median with its 95 % interval; `None` with too few
    /// sittings.
    pub ratio: Option<Median>,
    /// What the ratio says.
    pub verdict: Verdict,
}

impl Figure {
    /// Of all pairs of a row; nothing where any slice lacks the figure.
    #[must_use]
    pub fn of<S>(pairs: &[Pair<S>], better: Better, figure: impl Fn(&S) -> Option<f64>) -> Self {
        let mut sittings: Vec<(u32, Vec<f64>)> = Vec::new();
        for pair in pairs {
            let Some((ours, theirs)) = figure(&pair.ours).zip(figure(&pair.theirs)) else {
                return Self { theirs: middle(pairs, figure), ratio: None, verdict: Verdict::CannotTell };
            };
            match sittings.last_mut() {
                Some((sitting, ratios)) if *sitting == pair.sitting => ratios.push(ours / theirs),
                _ => sittings.push((pair.sitting, vec![ours / theirs])),
            }
        }
        let blocks: Vec<Vec<f64>> = sittings.into_iter().map(|(_, ratios)| ratios).collect();
        let ratio = interval(&blocks, &mut Rng::with_seed(1));
        Self { theirs: middle(pairs, figure), ratio, verdict: Verdict::of(ratio, better) }
    }

    /// The fields of a report: the figure, the ratio and the word.
    #[must_use]
    pub fn values(&self) -> [Value; 3] {
        let word = if self.theirs.is_some() { Value::Text(self.verdict.to_string()) } else { Value::Missing };
        [number(self.theirs), Value::spread(self.ratio), word]
    }

    /// As a bar beside that of `ours`, the figure of the A/A row: ours over the ratio within pairs,
    /// with its interval. What is level with ours is drawn as long as ours. Two digits: no bar
    /// shows more than is known.
    pub(crate) fn beside(&self, ours: &Self) -> Option<Median> {
        let rounded = |figure: f64| format!("{figure:.1e}").parse().unwrap_or(figure);
        let (own, theirs) = (ours.theirs?, self.theirs?);
        match self.ratio {
            _ if std::ptr::eq(self, ours) || self.verdict == Verdict::Level => Median::of([rounded(own)]),
            Some(Median { median, min, max }) => {
                Some(Median { median: rounded(own / median), min: own / max, max: own / min })
            }
            None => Median::of([rounded(theirs)]),
        }
    }
}

/// The field of a report for a figure that may be missing.
#[must_use]
pub fn number(figure: Option<f64>) -> Value {
    figure.map_or(Value::Missing, Value::Number)
}

/// The middle of the rival's figures.
#[must_use]
pub fn middle<S>(pairs: &[Pair<S>], figure: impl Fn(&S) -> Option<f64>) -> Option<f64> {
    Median::of(pairs.iter().filter_map(|pair| figure(&pair.theirs))).map(|middle| middle.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Steady {
        slices: u32,
    }

    impl Sitting<f64> for Steady {
        type Slice = f64;

        fn slice(&mut self, contender: &f64) -> Result<f64, Failure> {
            self.slices += 1;
            std::thread::sleep(Duration::from_micros(100));
            // The machine is slower from slice to slice, by the same factor for everyone.
            Ok(contender * 1.001_f64.powi(self.slices as i32))
        }

        fn end(self) -> Result<(), Failure> {
            assert!(self.slices.is_multiple_of(4), "whole rounds: {}", self.slices);
            Ok(())
        }
    }

    #[test]
    fn every_row_has_one_pair_of_each_round_and_drift_cancels() {
        let rows = [(1.0, 1.0), (0.9, 1.0)];
        let open = |_| Ok(Steady { slices: 0 });
        // On a busy machine a sitting takes longer.
        let mut budget = Duration::from_millis(20);
        let pairs = loop {
            let pairs = run(Plan { until: Until::Time(budget), rounds: 2 }, &rows, &mut Rng::with_seed(7), open)
                .expect("measured");
            if pairs[0].iter().any(|pair| pair.sitting == 20) {
                break pairs;
            }
            budget *= 2;
        };
        assert_eq!(pairs[0].len(), pairs[1].len());
        assert!(pairs[0].iter().any(|pair| pair.ours < pair.theirs), "the order within a pair varies");
        assert!(pairs[0].iter().any(|pair| pair.ours > pair.theirs), "the order within a pair varies");
        let of = |row: usize| Figure::of(&pairs[row], Better::Less, |figure| Some(*figure));
        let (aa, other) = (of(0).ratio.expect("many sittings"), of(1).ratio.expect("many sittings"));
        assert!((aa.median - 1.0).abs() < 0.0011 && (other.median - 0.9).abs() < 0.0011, "{aa:?} {other:?}");
        assert_eq!((of(0).verdict, of(1).verdict), (Verdict::Level, Verdict::Ahead));
        let none = Figure::of(&pairs[0], Better::Less, |_| None);
        assert_eq!((none.theirs, none.ratio, none.verdict), (None, None, Verdict::CannotTell));
    }

    #[test]
    fn bars_are_as_far_apart_as_ratios_and_equals_are_equal() {
        let figure = |theirs, [min, median, max]: [f64; 3], verdict| Figure {
            theirs: Some(theirs),
            ratio: Some(Median { median, min, max }),
            verdict,
        };
        let ours = figure(2.04, [0.9, 1.0, 1.1], Verdict::CannotTell);
        assert_eq!(ours.beside(&ours).map(|bar| (bar.min, bar.median, bar.max)), Some((2.0, 2.0, 2.0)));
        let level = figure(2.2, [0.99, 1.0, 1.02], Verdict::Level);
        assert_eq!(level.beside(&ours), ours.beside(&ours));
        let rival = figure(9.0, [0.4, 0.5, 0.6], Verdict::Ahead).beside(&ours).expect("a bar");
        assert_eq!(rival.median, 4.1);
        assert!(rival.min < rival.median && rival.median < rival.max);
    }
}
