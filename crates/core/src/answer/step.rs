//! How far a question has come, and the steps that it takes with all others of its batch. What the next one
//! reads is asked for beforehand.

use dglb_prefetch::prefetch;

use super::{Answer, Asking, Cut, Place, Question, Says};
use crate::{
    directory::{Directory, LbIndex, ServiceId, ZoneEntry},
    dns::qname::QName,
    locate::{self, Client, Match, Route, choose},
};

/// How far a question has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'d> {
    /// Nothing was looked up yet.
    Asked,
    /// Of a name that the zone does not have, and whose label next to the zone, with this hash, may be a
    /// DNS-LB's.
    Labelled(Place<'d>, u32),
    /// It is for this service of the zone, and who asks decides.
    Locate(Place<'d>, usize),
    /// Who asks has decided on the way to go; with the scope of that.
    Routed(Place<'d>, usize, Route<'d>, u8),
    /// It is for this service in a label zone, and a ranking decides.
    Ranked(Place<'d>, usize, Cut<'d>),
    /// The end.
    Answered(Answer<'d>),
}

impl<'d> Step<'d> {
    /// The zone that the name is in, if something is said of it.
    pub(crate) fn zone(&self) -> Option<&'d ZoneEntry> {
        match self {
            Self::Asked => None,
            Self::Answered(answer) => answer.content.as_ref().map(|(place, _)| place.zone),
            Self::Labelled(place, _) | Self::Locate(place, _) | Self::Routed(place, ..) | Self::Ranked(place, ..) => {
                Some(place.zone)
            }
        }
    }

    /// The first step: which zone the name is in, and what it is there.
    #[inline(always)]
    pub(crate) fn named(&mut self, directory: &'d Directory, question: &Question<'_>) {
        let Some(fleet) = directory.fleet() else {
            *self = Step::Answered(Answer::NOT_READY);
            return;
        };
        let Some((zone, labels)) = directory.zone_of(question.name) else {
            *self = Step::Answered(outside(directory, question.name));
            return;
        };
        *self = Asking { directory, question, place: Place { fleet, zone, labels } }.named();
    }

    /// The second step, for a name that the zone does not have: whether it is in a label zone.
    #[inline(always)]
    pub(crate) fn labelled(&mut self, directory: &'d Directory, question: &Question<'_>) {
        if let Step::Labelled(place, hash) = *self {
            *self = Asking { directory, question, place }.labelled(hash);
        }
    }

    /// The third step, for a service at a dns-b: what follows from who asks.
    #[inline]
    pub(crate) fn routed(&mut self, directory: &'d Directory, client: &Client, matched: &Match<'d>) {
        if let Step::Locate(place, service) = *self {
            let route = choose(directory, place.zone, service, (client, matched));
            *self = Step::Routed(place, service, route, matched.scope);
        }
    }

    /// The last step for a service: what follows from the way chosen, or from a ranking.
    #[inline]
    pub(crate) fn answered(&mut self, directory: &'d Directory, question: &Question<'_>) -> &Answer<'d> {
        match *self {
            Step::Routed(place, service, route, scope) => {
                *self = Step::Answered(Asking { directory, question, place }.located(service, route, scope));
            }
            Step::Ranked(place, service, cut) => {
                *self = Step::Answered(Asking { directory, question, place }.ranked(service, cut));
            }
            _ => {}
        }
        match self {
            Step::Answered(answer) => answer,
            // Nobody leaves the steps before out.
            _ => &Answer::NOT_READY,
        }
    }

    /// Asks for what the second step is going to read.
    #[inline]
    pub(crate) fn fetch_label(&self, directory: &Directory) {
        if let Step::Labelled(_, hash) = self {
            directory.fetch_label(*hash);
        }
    }

    /// Asks for what the third step is going to read.
    #[inline]
    pub(crate) fn fetch_choice(&self, directory: &Directory, matched: &Match<'_>) {
        if let Step::Locate(place, service) = self {
            locate::fetch(directory, place.zone.facts(*service).id, matched);
        }
    }

    /// Whose ranking of which service most likely decides, where the label is that of somebody known.
    #[inline]
    fn ranked_by(&self) -> Option<(LbIndex, ServiceId)> {
        let Step::Ranked(place, service, Cut { lb: Some((lb, facts)), .. }) = self else { return None };
        Some((facts.borrows.unwrap_or(*lb), place.zone.facts(*service).id))
    }

    /// Asks for where the ranking is that the last step is going to read.
    #[inline]
    pub(crate) fn fetch_place_of_ranking(&self, directory: &Directory) {
        if let Some((lb, service)) = self.ranked_by() {
            directory.fetch_place_of_ranking(lb, service);
        }
    }

    /// Asks for what the last step and the writing are going to read.
    #[inline]
    pub(crate) fn fetch_content(&self, directory: &Directory) {
        match self {
            Step::Routed(_, _, Route::Sites { ranking, .. }, _) => prefetch(*ranking),
            Step::Ranked(..) => {
                let ranking = self.ranked_by().and_then(|(lb, service)| directory.ranking(lb, service));
                ranking.into_iter().for_each(prefetch);
            }
            Step::Answered(Answer { content: Some((_, Says::Referral(cut))), .. }) => {
                cut.addresses().first().into_iter().for_each(prefetch);
            }
            _ => {}
        }
    }
}

/// A name in none of the zones: at a DNS-LB it may be in one that only dns-bs know.
#[cold]
fn outside<'d>(directory: &Directory, name: &QName) -> Answer<'d> {
    if directory.prove_zone_of(name).is_some() {
        Answer::proof()
    } else if directory.own_label(name).is_some() {
        Answer::relay()
    } else if directory.awaits(name) {
        Answer::NOT_READY
    } else {
        Answer::refused()
    }
}
