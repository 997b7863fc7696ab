//! The way of questions through the core, each step done for all of a batch before the next one, so
//! that they wait for memory together. A question alone is a batch of one.
//!
//! ```text
//! admit → begin (what the name says) → look up who asks → touch → finish (choose) → render
//! ```

use std::{array, hint::black_box, net::IpAddr};

use arrayvec::ArrayVec;

use super::{
    Exchange,
    qname::QName,
    responder::{Admitted, Responder},
};
use crate::{
    answer::{self, Question, Step},
    directory::Directory,
    locate::{self, Client, Match},
    table::{Located, MapTable},
};

/// A question that is to be answered from the directory.
struct UnderWay<'e, 'b, 'q> {
    exchange: &'e mut Exchange<'b>,
    admitted: Admitted<'q>,
}

/// Answers at most `N` packets.
pub(super) fn respond<const N: usize>(responder: &Responder<'_>, exchanges: &mut [Exchange<'_>]) {
    let directory = responder.directory;
    let mut names: [QName; N] = array::from_fn(|_| QName::default());
    let mut under_way: ArrayVec<UnderWay<'_, '_, '_>, N> = ArrayVec::new();
    for (exchange, name) in exchanges.iter_mut().zip(&mut names) {
        match responder.admit(&exchange.asked, name, exchange.reply) {
            Ok(admitted) => under_way.push(UnderWay { exchange, admitted }),
            Err(handled) => exchange.handled = handled,
        }
    }
    let begun: ArrayVec<Step<'_>, N> = under_way.iter().map(|u| answer::begin(directory, &u.question())).collect();
    for (u, step) in under_way.iter_mut().zip(&begun) {
        if step.zone().is_some_and(|zone| !zone.takes_subnets()) {
            u.admitted.client = u.admitted.client.without_subnet();
        }
    }
    let matches = matches::<N>(directory, &under_way, &begun);
    // Nobody wants this sum; what it is made of is to be read.
    black_box(begun.iter().zip(&matches).fold(0, |sum, at| sum ^ touch(directory, at)));
    for ((u, step), matched) in under_way.into_iter().zip(begun).zip(&matches) {
        let answer = match (step, matched) {
            (Step::Answered(answer), _) => answer,
            (Step::Locate(place, service), matched) => {
                answer::finish(directory, &u.question(), (place, service), matched)
            }
        };
        u.exchange.handled = responder.render(&u.admitted, &answer, u.exchange.reply);
    }
}

impl UnderWay<'_, '_, '_> {
    fn question(&self) -> Question<'_> {
        let query = &self.admitted.query;
        Question { name: query.name, qtype: query.qtype, role: self.exchange.asked.role }
    }
}

fn touch(directory: &Directory, (step, matched): (&Step<'_>, &Match<'_>)) -> usize {
    match step {
        Step::Locate(place, service) => locate::touch(directory, place.zone, *service, matched),
        Step::Answered(_) => 0,
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
    under_way: &[UnderWay<'_, '_, '_>],
    begun: &[Step<'_>],
) -> ArrayVec<Match<'d>, N> {
    let nothing = |u: &UnderWay<'_, '_, '_>| Match::nothing(&u.admitted.client);
    let mut matches: ArrayVec<Match<'d>, N> = under_way.iter().map(nothing).collect();
    let client = |whose: usize| -> &Client { &under_way[whose].admitted.client };
    let (mut by_subnet, mut by_source) = (LookUps::<N>::new(), LookUps::<N>::new());
    for (whose, _) in begun.iter().enumerate().filter(|(_, step)| matches!(step, Step::Locate(..))) {
        match client(whose).by_subnet() {
            Some(asked) => by_subnet.add(whose, 0, asked),
            None => by_source.add(whose, 0, client(whose).by_source()),
        }
    }
    for ((whose, _), located) in by_subnet.found(directory.clients()) {
        match (located.group, client(whose).by_subnet()) {
            (Some(_), Some((address, _))) => {
                matches[whose] = Match { located, address, scope: located.scope, ..matches[whose] }
            }
            // No network of this client is known: its resolver may be, for all such clients.
            _ => by_source.add(whose, located.scope, client(whose).by_source()),
        }
    }
    for ((whose, scope), located) in by_source.found(directory.resolvers()) {
        matches[whose] = Match { located, scope, ..matches[whose] };
    }
    matches
}
