//! Whose word counts how often where POPs are asked for their verdict. An operator who has many certificates
//! in one network has one voice, not many.
//!
//! Invariant: of all that speak with one voice at least half must say something, or the voice does not.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use dglb_core::{
    directory::LbIndex,
    net::{Prefix, canonical},
};

use super::Keeper;

/// Leading bits of an IPv4 and of an IPv6 address that stand for its network where no autonomous system
/// is known.
const NETWORK_BITS: (u8, u8) = (24, 48);

/// Who has a say of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Voice {
    /// Every DNS-LB, where there is no database of autonomous systems.
    Lb(LbIndex),
    /// All that link from this autonomous system.
    System(u32),
    /// All that link from this network, which the database does not know.
    Network(Prefix),
    /// All that have not been linked since the start.
    Unheard,
}

/// DNS-LBs, and with how many voices they speak.
#[derive(Debug, Default)]
pub(super) struct Speakers {
    lbs: BTreeSet<LbIndex>,
    voices: HashMap<Voice, u32>,
}

impl Speakers {
    /// Whether it was not among them.
    pub(super) fn insert(&mut self, lb: LbIndex, voice: Voice) -> bool {
        let new = self.lbs.insert(lb);
        if new {
            *self.voices.entry(voice).or_default() += 1;
        }
        new
    }

    /// Whether it was among them; `voice` is the one that it was put in with.
    pub(super) fn remove(&mut self, lb: LbIndex, voice: Voice) -> bool {
        let there = self.lbs.remove(&lb);
        if there && let Some(count) = self.voices.get_mut(&voice) {
            *count -= 1;
            if *count == 0 {
                self.voices.remove(&voice);
            }
        }
        there
    }

    /// One has another voice now; whether it is among them.
    pub(super) fn moves(&mut self, lb: LbIndex, from: Voice, to: Voice) -> bool {
        self.remove(lb, from) && self.insert(lb, to)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lbs.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = LbIndex> {
        self.lbs.iter().copied()
    }

    /// How many voices there are.
    pub(super) fn voices(&self) -> u32 {
        u32::try_from(self.voices.len()).unwrap_or(u32::MAX)
    }

    /// How many of the voices of `all` at least half of which these are.
    pub(super) fn majorities_of(&self, all: &Self) -> u32 {
        // Where everybody has its own there is nothing to compare.
        if all.voices.len() == all.lbs.len() {
            return self.voices();
        }
        let whole = |voice: &Voice| all.voices.get(voice).copied().unwrap_or(0);
        let half = self.voices.iter().filter(|(voice, count)| count.saturating_mul(2) >= whole(voice));
        u32::try_from(half.count()).unwrap_or(u32::MAX)
    }
}

impl Keeper {
    /// Gives a DNS-LB the voice of where it links from. Packets find it at that address, so it is no mere
    /// claim, as its own words about where it sits are.
    pub(super) fn give_voice(&mut self, lb: LbIndex, now: Instant) {
        let Some(truth) = self.lbs.get(&lb) else { return };
        let from = truth.link.and_then(|link| self.links.get(&link)).map(|link| canonical(link.from.ip()));
        let networks = &self.prove.networks;
        let voice = match from {
            _ if !networks.knows_systems() => Voice::Lb(lb),
            // While it is away it keeps the one that it had.
            None if self.verdicts.has_voice(lb) => return,
            None => Voice::Unheard,
            Some(from) => match networks.number_of(from) {
                Some(number) => Voice::System(number),
                None => {
                    let bits = if from.is_ipv4() { NETWORK_BITS.0 } else { NETWORK_BITS.1 };
                    Voice::Network(Prefix::containing(from, bits).unwrap_or_else(|_| Prefix::host(from)))
                }
            },
        };
        if self.verdicts.voice(lb) == voice {
            return;
        }
        let services = truth.rankings.services().cloned().collect();
        let judged = self.verdicts.give_voice(lb, voice, services);
        self.pronounce(&judged, now);
    }

    /// The same for all: the database is another.
    pub(super) fn give_voices(&mut self, now: Instant) {
        let all: Vec<LbIndex> = self.lbs.keys().copied().collect();
        all.into_iter().for_each(|lb| self.give_voice(lb, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_speaks_when_half_of_it_does() {
        let (mut all, mut some) = (Speakers::default(), Speakers::default());
        let system = |n: u32| if n < 4 { Voice::System(1) } else { Voice::System(n) };
        assert!((0..6).all(|n| all.insert(LbIndex(n), system(n))));
        assert!(!all.insert(LbIndex(0), system(0)), "nobody twice");
        assert_eq!(all.voices(), 3);
        for (n, spoken) in [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2), (5, 3)] {
            some.insert(LbIndex(n), system(n));
            assert_eq!(some.majorities_of(&all), spoken, "with {n}");
        }
        // One moves to a network of its own, and leaves.
        let (from, to) = (Voice::System(1), Voice::System(9));
        assert!(all.moves(LbIndex(0), from, to) && some.moves(LbIndex(0), from, to));
        assert_eq!((all.voices(), some.majorities_of(&all)), (4, 4));
        assert!(all.remove(LbIndex(0), to) && some.remove(LbIndex(0), to));
        assert_eq!((all.voices(), some.majorities_of(&all)), (3, 3));
        assert!(!all.moves(LbIndex(0), from, to), "it is not there");
    }
}
