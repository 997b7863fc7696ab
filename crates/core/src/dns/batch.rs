//! The way of questions through the core, each step done for all of a batch before the next one, so
//! that they wait for memory together. A question alone is a batch of one.
//!
//! ```text
//! admit → place (zone) → touch → named → look up who asks → touch → routed (choose) → touch → answered → render
//! ```

use std::{hint::black_box, net::IpAddr};

use arrayvec::ArrayVec;

use super::{
    Exchange,
    qname::QName,
    responder::{Admitted, Responder},
};
use crate::{
    answer::{self, Step},
    directory::Directory,
    locate::Match,
    table::{Located, MapTable},
};

/// Answers at most `N` packets, whose names are put where `names` are. `witness` sees of each question that
/// the directory answers how far it has come before the last step; it has no say in anything.
pub(super) fn respond<const N: usize>(
    responder: &Responder<'_>,
    exchanges: &mut [Exchange<'_>],
    names: &mut [QName; N],
    mut witness: impl FnMut(&Admitted<'_>, &Match<'_>, &Step<'_>),
) {
    let directory = responder.directory;
    let mut open: ArrayVec<&mut Exchange<'_>, N> = ArrayVec::new();
    let mut admitted: ArrayVec<Admitted<'_>, N> = ArrayVec::new();
    for (exchange, name) in exchanges.iter_mut().zip(names) {
        match responder.admit(&exchange.asked, name, exchange.reply, &mut admitted) {
            Some(handled) => exchange.handled = handled,
            None => open.push(exchange),
        }
    }
    let mut steps: ArrayVec<Step<'_>, N> = admitted.iter().map(|a| answer::place(directory, a.query.name)).collect();
    // Nobody wants these sums; what they are made of is to be read.
    black_box(steps.iter().fold(0, |sum, step| match step {
        Step::Placed(place, hash) if place.labels > 1 => sum ^ directory.touch_label(*hash),
        Step::Placed(place, hash) => sum ^ place.zone.touch(*hash),
        _ => sum,
    }));
    for (step, admitted) in steps.iter_mut().zip(&mut admitted) {
        *step = step.named(directory, &admitted.question());
        if step.zone().is_some_and(|zone| !zone.takes_subnets()) {
            admitted.client = admitted.client.without_subnet();
        }
    }
    let matches = matches::<N>(directory, &admitted, &steps);
    black_box(steps.iter().zip(&matches).fold(0, |sum, (step, matched)| sum ^ step.touch(directory, matched)));
    steps.iter_mut().zip(&matches).for_each(|(step, matched)| *step = step.routed(directory, matched));
    admitted.iter().zip(&matches).zip(&steps).for_each(|((admitted, matched), step)| witness(admitted, matched, step));
    black_box(steps.iter().fold(0, |sum, step| sum ^ step.touch_content(directory)));
    for ((exchange, admitted), step) in open.into_iter().zip(&admitted).zip(&steps) {
        let answer = step.answered(directory, &admitted.question());
        exchange.handled = responder.render(admitted, &answer, exchange.reply);
    }
}

/// Look-ups in one table: for which question, with which scope so far, and what.
struct LookUps<const N: usize> {
    whose: ArrayVec<(usize, u8), N>,
    asked: ArrayVec<(IpAddr, u8), N>,
}

impl<const N: usize> LookUps<N> {
    fn new() -> Self {
        Self { whose: ArrayVec::new(), asked: ArrayVec::new() }
    }

    fn add(&mut self, whose: usize, scope: u8, asked: (IpAddr, u8)) {
        self.whose.push((whose, scope));
        self.asked.push(asked);
    }

    /// Every question with its scope so far and what the table says.
    fn found<'t>(&self, table: &'t MapTable) -> impl Iterator<Item = ((usize, u8), Located<'t>)> {
        let mut located: ArrayVec<Located<'t>, N> = self.asked.iter().map(|_| Located::default()).collect();
        table.lookup_batch(&self.asked, &mut located);
        self.whose.iter().copied().zip(located)
    }
}

/// The longest match of everybody who is to be located: the client's networks by ECS if there is
/// one, else the resolver itself.
fn matches<'d, const N: usize>(
    directory: &'d Directory,
    admitted: &'d [Admitted<'_>],
    steps: &[Step<'_>],
) -> ArrayVec<Match<'d>, N> {
    let mut matches: ArrayVec<Match<'d>, N> = admitted.iter().map(|a| Match::nothing(&a.client)).collect();
    let (mut by_subnet, mut by_source) = (LookUps::<N>::new(), LookUps::<N>::new());
    for (whose, _) in steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::Locate(..))) {
        let client = &admitted[whose].client;
        match client.by_subnet() {
            Some(asked) => by_subnet.add(whose, 0, asked),
            None => by_source.add(whose, 0, client.by_source()),
        }
    }
    for ((whose, _), located) in by_subnet.found(directory.clients()) {
        let (at, scope) = (&mut matches[whose], located.scope);
        match located.group {
            Some(_) => *at = Match { located, by_subnet: true, scope, ..*at },
            // No network of this client is known: its resolver may be, for all such clients.
            None => by_source.add(whose, scope, at.client.by_source()),
        }
    }
    for ((whose, scope), located) in by_source.found(directory.resolvers()) {
        matches[whose] = Match { located, scope, ..matches[whose] };
    }
    matches
}
