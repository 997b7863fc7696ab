//! What a site says of itself: its load, and whether it wants to be left alone. It may call itself down
//! or draining; that it is up only probes can say (design section 5).

use serde::{Deserialize, Serialize};

/// A site's word on itself. All of it is optional: most sites say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// It does not want to be sent clients.
    pub state: Option<Stated>,
    /// How much of what it can do it does, in thousandths; more than 1 000 if it is overloaded. The
    /// application's own figure, else the processors'.
    pub utilization: Option<u32>,
    /// How much of its memory is in use, in thousandths.
    pub memory: Option<u32>,
    /// Requests in a second, in thousandths.
    pub requests: Option<u64>,
    /// Failed requests in a second, in thousandths.
    pub errors: Option<u64>,
}

/// What a site may call itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stated {
    /// It still serves who is there, and wants nobody new.
    Draining,
    /// It does not serve.
    Down,
}

impl Told {
    /// A utilization of 0.0 and more as it is kept; `None` if it is none.
    pub fn thousandths(figure: f64) -> Option<u32> {
        Self::whole_thousandths(figure).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }

    /// A rate of 0.0 and more as it is kept; `None` if it is none.
    pub fn whole_thousandths(figure: f64) -> Option<u64> {
        // A cast saturates, so figures out of every range are just very large.
        (figure.is_finite() && figure >= 0.0).then(|| (figure * 1_000.0).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_kept_in_thousandths() {
        assert_eq!(Told::thousandths(0.3), Some(300));
        assert_eq!(Told::thousandths(1.25), Some(1_250));
        assert_eq!(Told::thousandths(1e300), Some(u32::MAX));
        for none in [-0.1, f64::NAN, f64::INFINITY] {
            assert_eq!((Told::thousandths(none), Told::whole_thousandths(none)), (None, None), "{none}");
        }
    }
}
