//! Medians: single runs on a shared machine spread too wide to be compared.

/// The middle of some figures, with the extremes.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Median {
    /// Half of the figures are no larger, half no smaller.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Median {
    /// `None` when there are no figures.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_odd_and_even_numbers_of_figures() {
        assert_eq!(Median::of([]), None);
        let one = Median::of([2.0]).expect("one figure");
        assert_eq!((one.min, one.median, one.max), (2.0, 2.0, 2.0));
        let odd = Median::of([9.0, 1.0, 4.0]).expect("three figures");
        assert_eq!((odd.min, odd.median, odd.max), (1.0, 4.0, 9.0));
        let even = Median::of([9.0, 1.0, 4.0, 5.0]).expect("four figures");
        assert_eq!(even.median, 4.5);
    }
}
