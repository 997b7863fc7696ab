//! The way of questions through the core, each step done for all of a batch before the next one, so
//! that they wait for memory together: what a step is going to read is asked for before (*fetch*). A question
//! alone is a batch of one.
//!
//! ```text
//! admit → named ┬ fetch → labelled ─────────────────────────┬ fetch → answered → render
//!               └ look up who asks → fetch → routed (choose) ┘
//! ```

use arrayvec::ArrayVec;

use super::{
    Exchange,
    qname::QName,
    responder::{Admitted, Responder},
};
use crate::{answer::Step, directory::Directory, locate::Match, table::BATCH};

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
    let mut steps: ArrayVec<Step<'_>, N> = admitted.iter().map(|_| Step::Asked).collect();
    steps.iter_mut().zip(&admitted).for_each(|(step, admitted)| step.named(directory, &admitted.question()));
    steps.iter().for_each(|step| step.fetch_label(directory));
    for (step, admitted) in steps.iter_mut().zip(&mut admitted) {
        step.labelled(directory, &admitted.question());
        if admitted.client.subnet.is_some() && step.zone().is_some_and(|zone| !zone.takes_subnets()) {
            admitted.client = admitted.client.without_subnet();
        }
    }
    steps.iter().for_each(|step| step.fetch_place_of_ranking(directory));
    let matches = matches::<N>(directory, &admitted, &steps);
    matches.iter().for_each(|(whose, matched)| steps[*whose].fetch_choice(directory, matched));
    matches.iter().for_each(|(whose, matched)| steps[*whose].routed(directory, &admitted[*whose].client, matched));
    let mut located = matches.iter().peekable();
    for (at, (admitted, step)) in admitted.iter().zip(&steps).enumerate() {
        let matched = located.next_if(|(whose, _)| *whose == at).map(|(_, matched)| *matched);
        witness(admitted, &matched.unwrap_or_default(), step);
    }
    steps.iter().for_each(|step| step.fetch_content(directory));
    for ((exchange, admitted), step) in open.into_iter().zip(&admitted).zip(&mut steps) {
        let answer = step.answered(directory, &admitted.question());
        exchange.handled = responder.render(admitted, answer, exchange.reply);
    }
}

/// The longest match of everybody who is to be located, with its number: the client's networks by ECS if
/// there is one, else the resolver itself.
fn matches<'d, const N: usize>(
    directory: &'d Directory,
    admitted: &[Admitted<'_>],
    steps: &[Step<'_>],
) -> ArrayVec<(usize, Match<'d>), N> {
    const { assert!(N <= BATCH) };
    let mut matches: ArrayVec<(usize, Match<'d>), N> = ArrayVec::new();
    let (mut by_subnet, mut by_source) = (directory.clients().lookups(), directory.resolvers().lookups());
    for (whose, (step, admitted)) in steps.iter().zip(admitted).enumerate() {
        if matches!(step, Step::Locate(..)) {
            match admitted.client.by_subnet() {
                Some(asked) => by_subnet.add(matches.len(), asked),
                None => by_source.add(matches.len(), admitted.client.by_source()),
            }
            matches.push((whose, Match::default()));
        }
    }
    by_subnet.finish::<true>(|at, located| {
        let (whose, matched) = &mut matches[at];
        matched.scope = located.scope;
        match located.group {
            Some(_) => (matched.located, matched.by_subnet) = (located, true),
            // No network of this client is known: its resolver may be, for all such clients.
            None => by_source.add(at, admitted[*whose].client.by_source()),
        }
    });
    by_source.finish::<false>(|at, located| matches[at].1.located = located);
    matches
}
