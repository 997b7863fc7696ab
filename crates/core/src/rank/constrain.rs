//! What the customer forbids, and how it is loosened rather than leave nothing.

use super::{Bar, Barred, Inputs, Standing};
use crate::report::Health;

/// Loosens constraints, of the best sites first, until enough of them are fit: first that a site has too
/// much to do, then that this DNS-LB may not hand it out. What is down or draining stays that.
pub(super) fn loosen(sorted: &mut [Standing], inputs: &Inputs) {
    let least = usize::try_from(inputs.policy.least_sites).unwrap_or(usize::MAX);
    let mut missing = least.saturating_sub(sorted.iter().filter(|s| s.is_fit()).count());
    for denied in [false, true] {
        let unfit = sorted.iter_mut().filter(|s| s.health < Health::Draining && s.denied == denied && !s.is_fit());
        for standing in unfit.take(missing) {
            standing.loosened = true;
            missing -= 1;
        }
    }
}

/// What stands against whom.
pub(super) fn barred(sorted: &[Standing]) -> Vec<Barred> {
    let bar = |s: &Standing| match (s.denied, s.full) {
        (true, _) => Some(Bar::Group),
        (false, true) => Some(Bar::Load),
        (false, false) => None,
    };
    let barred = |s: &Standing| Some(Barred { site: s.ranked.site.clone(), by: bar(s)?, loosened: s.loosened });
    sorted.iter().filter_map(barred).collect()
}
