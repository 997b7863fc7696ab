//! The present order, as far as it is good enough.

use std::collections::HashMap;

use super::{Placed, Standing};
use crate::{catalogue::Policy, report::Health};

/// Fills the places from the first to the last: each goes to the one that had stood foremost, if
/// it holds against the strongest that is left, else to that. Where none had stood or all are dead,
/// it goes to the best.
pub(super) fn keep_present(sorted: Vec<Standing>, previous: &[Placed], policy: &Policy) -> Vec<Standing> {
    let places: HashMap<&str, usize> = previous.iter().zip(0..).map(|(s, at)| (s.site.as_str(), at)).collect();
    let place = |(at, c): (usize, &Standing)| Some((c.class(), *places.get(c.ranked.site.as_str())?, at));
    let mut present: Vec<_> = sorted.iter().enumerate().filter_map(place).collect();
    present.sort_unstable();
    // The strongest is who was at worst the best.
    let mut rivals: Vec<usize> = (0..sorted.len()).filter(|at| sorted[*at].sure.is_some()).collect();
    let most = |at: &usize| sorted[*at].sure.map_or(f64::INFINITY, |s| s.most);
    rivals.sort_by(|a, b| sorted[*a].class().cmp(&sorted[*b].class()).then(most(a).total_cmp(&most(b))));
    let mut present = present.into_iter().map(|(_, _, at)| at).peekable();
    let mut rivals = rivals.into_iter().peekable();
    let mut left: Vec<Option<Standing>> = sorted.into_iter().map(Some).collect();
    let mut kept = Vec::with_capacity(left.len());
    let mut foremost = 0;
    while let Some(place) = left.get(foremost) {
        let Some(best) = place else {
            foremost += 1;
            continue;
        };
        while present.next_if(|at| left[*at].is_none()).is_some() {}
        while rivals.next_if(|at| left[*at].is_none()).is_some() {}
        // None of a better class is left, and nothing is kept of a worse one.
        let of_class =
            |at: &usize| left[*at].as_ref().filter(|c| c.class() == best.class() && c.health != Health::Down);
        let standing = present.peek().and_then(|at| Some((*at, of_class(at)?)));
        let rival = rivals.peek().and_then(|at| Some((*at, of_class(at)?)));
        let taken = match (standing, rival) {
            (None, _) => foremost,
            (Some((_, mine)), Some((at, theirs))) if !mine.holds_against(theirs, policy) => at,
            (Some((at, _)), _) => at,
        };
        kept.extend(left[taken].take());
    }
    kept
}
