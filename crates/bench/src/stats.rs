//! Medians and how far they can be trusted, without an assumption about how figures are spread.

use std::fmt;

/// A median with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Median {
    /// The middle.
    pub(crate) middle: f64,
    /// The interval that holds the true median in 95 of 100 such runs at least, or from the
    /// smallest to the largest figure where there are too few for that (fewer than 6).
    pub(crate) low: f64,
    /// Its upper end.
    pub(crate) high: f64,
}

impl Median {
    /// Of at least one figure, none of them NaN.
    pub(crate) fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let middle = f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]);
        let cut = outside(n);
        Self { middle, low: sorted[cut], high: sorted[n - 1 - cut] }
    }
}

impl fmt::Display for Median {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.middle, self.low, self.high)
    }
}

/// How many of `n` sorted figures may be left out at either end. The number of figures below the
/// true median is binomial with one half, so the chance that all but `k` of them or more fall on one
/// side of it is twice the sum of C(n, i) / 2^n for i up to `k`.
fn outside(n: usize) -> usize {
    let (mut cut, mut tail, mut term) = (0, 0.0, 0.5_f64.powi(n as i32));
    for k in 0..n / 2 {
        tail += term;
        if 2.0 * tail > 0.05 {
            break;
        }
        cut = k;
        term *= (n - k) as f64 / (k + 1) as f64;
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        // Ranks (from 1) of the lower end at 95 %: the usual tables for the sign test.
        for (n, rank) in [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (25, 8)] {
            assert_eq!(outside(n) + 1, rank, "{n}");
        }
        assert_eq!((1..6).map(outside).max(), Some(0));
    }

    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(Median::of(&[3.0]), Median { middle: 3.0, low: 3.0, high: 3.0 });
        assert_eq!(Median::of(&[4.0, 1.0]), Median { middle: 2.5, low: 1.0, high: 4.0 });
        let nine: Vec<f64> = (1..=9).rev().map(f64::from).collect();
        assert_eq!(Median::of(&nine), Median { middle: 5.0, low: 2.0, high: 8.0 });
    }
}
