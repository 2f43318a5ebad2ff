//! Intervals and the words for them.

use std::fmt;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use tls_cork_report::Median;

/// With fewer blocks no 95 % interval for a median exists that does not extend beyond all of them.
const FEWEST_BLOCKS: usize = 6;
const RESAMPLES: usize = 2000;
/// Ratios up to this far from 1 count as no difference.
const LEVEL: f64 = 0.03;

/// The median of all figures with its 95 % interval, as `min` and `max`: a bootstrap that draws
/// whole blocks, each of which holds figures that may depend on each other.
///
/// `None` with fewer than six blocks.
#[must_use]
pub fn interval(blocks: &[Vec<f64>], rng: &mut Rng) -> Option<Median> {
    bootstrap(blocks, RESAMPLES, rng)
}

fn bootstrap(blocks: &[Vec<f64>], resamples: usize, rng: &mut Rng) -> Option<Median> {
    let n = blocks.len();
    if n < FEWEST_BLOCKS {
        return None;
    }
    let whole = Median::of(blocks.iter().flatten().copied())?;
    let mut medians: Vec<f64> = Vec::with_capacity(resamples);
    let mut drawn = Vec::new();
    for _ in 0..resamples {
        drawn.clear();
        (0..n).for_each(|_| drawn.extend_from_slice(&blocks[rng.usize(0..n)]));
        let figures = drawn.len();
        let (_, &mut upper, _) = drawn.select_nth_unstable_by(figures / 2, f64::total_cmp);
        let (_, &mut lower, _) = drawn.select_nth_unstable_by((figures - 1) / 2, f64::total_cmp);
        medians.push(f64::midpoint(lower, upper));
    }
    medians.sort_by(f64::total_cmp);
    // Resampled figures spread less than real ones do, by √((n − 1) / n), and t is wider than the
    // normal distribution: with few blocks the percentiles have to lie further out.
    let tail = (0.025 * (1.0 - 6.0 / n as f64)).max(0.0);
    let at = |share: f64| medians[((resamples - 1) as f64 * share).round() as usize];
    Some(Median { median: whole.median, min: at(tail), max: at(1.0 - tail) })
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// A cost or a delay.
    Less,
    /// A speed.
    More,
}

/// What the interval of a ratio (ours over the rival's) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The whole interval is on our side of 1, and some of it by more than 3 %.
    Ahead,
    /// The whole interval is within 3 % of 1.
    Level,
    /// The whole interval is on the rival's side of 1, and some of it by more than 3 %.
    Behind,
    /// Neither; or there is no interval.
    CannotTell,
}

impl Verdict {
    /// All of them, in the order of a judgement.
    pub const ALL: [Self; 4] = [Self::Ahead, Self::Level, Self::Behind, Self::CannotTell];

    /// Of an interval, if there is one.
    #[must_use]
    pub fn of(ratio: Option<Median>, better: Better) -> Self {
        let Some(Median { min, max, .. }) = ratio else { return Self::CannotTell };
        if min >= 1.0 - LEVEL && max <= 1.0 + LEVEL {
            Self::Level
        } else if min > 1.0 {
            if better == Better::More { Self::Ahead } else { Self::Behind }
        } else if max < 1.0 {
            if better == Better::Less { Self::Ahead } else { Self::Behind }
        } else {
            Self::CannotTell
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ahead => "ahead",
            Self::Level => "level",
            Self::Behind => "behind",
            Self::CannotTell => "cannot tell",
        })
    }
}

/// A sentence about many rows: which names each word is for.
#[must_use]
pub fn judgement(subject: &str, rows: &[(Verdict, String)]) -> String {
    let clauses: Vec<String> = Verdict::ALL
        .iter()
        .map(|verdict| {
            let names: Vec<&str> = rows.iter().filter(|row| row.0 == *verdict).map(|row| row.1.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            format!("{verdict} ({names})")
        })
        .collect();
    format!("{subject}: {}.", clauses.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(rng: &mut Rng) -> f64 {
        (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
    }

    /// Ratios of `n` sittings of `rounds` pairs: a layout of each sitting, noise of each pair, and
    /// one pair in ten that something else ran into.
    fn sittings(rng: &mut Rng, n: usize, rounds: usize, middle: f64, layout: f64, noise: f64) -> Vec<Vec<f64>> {
        let sitting = |_| {
            let shared = layout * normal(rng);
            let pair = |_| {
                let hit = if rng.u8(0..10) == 0 { 0.5 * normal(rng) } else { 0.0 };
                middle * (shared + noise * normal(rng) + hit).exp()
            };
            (0..rounds).map(pair).collect()
        };
        (0..n).map(sitting).collect()
    }

    /// The share of 120 experiments without a difference whose interval covers 1.
    fn coverage(experiment: impl Fn(&mut Rng) -> Vec<Vec<f64>>) -> f64 {
        let mut rng = Rng::with_seed(42);
        let covered = (0..120).filter(|_| {
            let blocks = experiment(&mut rng);
            bootstrap(&blocks, 500, &mut rng).is_some_and(|found| found.min <= 1.0 && 1.0 <= found.max)
        });
        covered.count() as f64 / 120.0
    }

    #[test]
    fn an_interval_of_equals_covers_one_as_often_as_it_says() {
        for (n, rounds) in [(6, 1), (7, 1), (12, 2), (30, 3)] {
            for layout in [0.0, 0.05] {
                let found = coverage(|rng| sittings(rng, n, rounds, 1.0, layout, 0.05));
                assert!((0.92..=0.995).contains(&found), "{n} sittings of {rounds}, layout {layout}: {found}");
            }
        }
    }

    #[test]
    fn blocks_have_to_be_whole_sittings() {
        let each = |pair| vec![pair];
        let found = coverage(|rng| sittings(rng, 10, 5, 1.0, 0.05, 0.02).concat().into_iter().map(each).collect());
        assert!(found < 0.85, "pairs that share a layout are taken for independent: {found}");
    }

    #[test]
    fn five_percent_are_found_among_noise_of_five() {
        let mut rng = Rng::with_seed(3);
        let found = interval(&sittings(&mut rng, 30, 3, 1.0 / 1.05, 0.01, 0.05), &mut rng);
        assert_eq!(Verdict::of(found, Better::Less), Verdict::Ahead, "{found:?}");
        assert_eq!(Verdict::of(found, Better::More), Verdict::Behind, "{found:?}");
    }

    #[test]
    fn known_blocks_give_known_intervals() {
        assert_eq!(interval(&vec![vec![1.0]; 5], &mut Rng::with_seed(1)), None);
        let same = interval(&vec![vec![2.0, 2.0]; 6], &mut Rng::with_seed(1)).expect("six");
        assert_eq!((same.min, same.median, same.max), (2.0, 2.0, 2.0));
        // Order statistics: the 95 % interval of the median of 1 to 99 is about 40 to 60.
        let ranks: Vec<Vec<f64>> = (1..=99).map(|rank| vec![f64::from(rank)]).collect();
        let found = interval(&ranks, &mut Rng::with_seed(1)).expect("many");
        assert_eq!(found.median, 50.0);
        assert!((38.0..=42.0).contains(&found.min) && (58.0..=62.0).contains(&found.max), "{found:?}");
    }

    #[test]
    fn words_at_their_borders() {
        let of = |min, max, better| Verdict::of(Some(Median { median: 1.0, min, max }), better);
        assert_eq!(of(0.97, 1.03, Better::Less), Verdict::Level);
        assert_eq!(of(0.98, 0.99, Better::Less), Verdict::Level, "a difference of less than 3 % is none");
        assert_eq!(of(0.9699, 0.9999, Better::Less), Verdict::Ahead);
        assert_eq!(of(0.9699, 0.9999, Better::More), Verdict::Behind);
        assert_eq!(of(1.0001, 1.0301, Better::Less), Verdict::Behind);
        assert_eq!(of(1.0001, 1.0301, Better::More), Verdict::Ahead);
        assert_eq!(of(0.9699, 1.0, Better::Less), Verdict::CannotTell);
        assert_eq!(of(1.0, 1.0301, Better::Less), Verdict::CannotTell);
        assert_eq!(of(f64::NAN, f64::NAN, Better::Less), Verdict::CannotTell);
        assert_eq!(Verdict::of(None, Better::More), Verdict::CannotTell);
    }

    #[test]
    fn a_judgement_names_every_row_once() {
        let rows = [(Verdict::Ahead, "512 B".to_owned()), (Verdict::CannotTell, "2 MiB".to_owned())];
        let text = judgement("more", &rows);
        assert_eq!(text, "more: ahead (512 B); level (none); behind (none); cannot tell (2 MiB).");
    }
}
