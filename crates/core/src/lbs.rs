//! The DNS-LBs that were ever met. What a question needs of one lies in one cache line, apart from
//! what only the writer and the status page want to know.

use std::{net::IpAddr, sync::Arc};

use dglb_prefetch::prefetch;

use crate::{
    chunked::Chunked,
    fleet::{Fallbacks, Fleet},
    identity::Identity,
    index::{Index, Seed, same},
    table::LbIndex,
};

/// The longest label with its length octet.
pub(crate) const LABEL: usize = 33;

/// One DNS-LB.
#[derive(Clone, Debug)]
pub struct Lb {
    /// Also its label.
    pub identity: Identity,
    /// Its DNS addresses.
    pub addresses: Vec<IpAddr>,
    /// As far as this server can tell.
    pub state: LbState,
    /// READY was said and the last checks of its DNS side went well, or it was so before it became
    /// suspect: its name may be given to clients.
    pub handed_out: bool,
    /// The operator wants no new clients sent there.
    pub drained: bool,
    /// Whose rankings stand in for its own, which are too old; its own where nobody else's can.
    pub borrows: Option<LbIndex>,
    /// Its rankings are fresh enough to count in the aggregate.
    pub(crate) counted: bool,
}

/// Whether a DNS-LB is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LbState {
    /// Link and checks are good.
    Alive,
    /// Link lost or checks failing; its lease still runs.
    Suspect,
    /// Lease over, or never met. The label stays known.
    Gone,
}

impl Lb {
    /// A DNS-LB that was never met.
    pub fn new(identity: Identity, addresses: Vec<IpAddr>) -> Self {
        Self {
            identity,
            addresses,
            state: LbState::Gone,
            handed_out: false,
            drained: false,
            borrows: None,
            counted: true,
        }
    }

    /// The label in wire form.
    #[inline]
    pub fn label(&self) -> &[u8] {
        self.identity.wire_label()
    }
}

/// How many DNS-LBs there are of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// By [`LbState`]: alive, suspect, gone.
    pub states: [usize; 3],
    /// Those whose names may be given to clients.
    pub handed_out: usize,
}

/// What questions need of a DNS-LB.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct LbFacts {
    /// The label in wire form, filled up with zeros.
    label: [u8; LABEL],
    pub(crate) state: LbState,
    pub(crate) handed_out: bool,
    pub(crate) drained: bool,
    pub(crate) borrows: Option<LbIndex>,
    /// Who answers for it if it does not.
    pub(crate) fallbacks: Fallbacks,
    pub(crate) addresses: Arc<[IpAddr]>,
}

impl LbFacts {
    fn of(lb: &Lb, fleet: Option<&Fleet>) -> Self {
        let mut label = [0; LABEL];
        // An identity has at most 32 characters.
        label.iter_mut().zip(lb.label()).for_each(|(to, from)| *to = *from);
        Self {
            label,
            state: lb.state,
            handed_out: lb.handed_out,
            drained: lb.drained,
            borrows: lb.borrows,
            fallbacks: fleet.map_or(Fallbacks::default(), |fleet| fleet.fallback_numbers(&lb.label()[1..])),
            addresses: lb.addresses.as_slice().into(),
        }
    }

    /// The label in wire form.
    pub(crate) fn label(&self) -> &[u8] {
        &self.label[..=usize::from(self.label[0]).min(LABEL - 1)]
    }
}

/// A persistent list of DNS-LBs, by number and by label.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lbs {
    seed: Seed,
    labels: Index,
    facts: Chunked<LbFacts>,
    whole: Chunked<Arc<Lb>>,
}

impl Lbs {
    /// None yet.
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Makes a new DNS-LB known, whose label nobody has yet.
    pub(crate) fn push(&mut self, lb: Lb, fleet: Option<&Fleet>) -> LbIndex {
        self.facts.push(LbFacts::of(&lb, fleet));
        let hash = self.seed.hash(lb.label());
        let number = self.whole.push(Arc::new(lb)) as u32;
        self.labels.insert(hash, number);
        LbIndex(number)
    }

    /// Changes a DNS-LB. Its identity must stay.
    pub(crate) fn change(&mut self, index: LbIndex, change: impl FnOnce(&mut Lb), fleet: Option<&Fleet>) {
        let Some(lb) = self.get(index) else { return };
        let mut lb = lb.clone();
        change(&mut lb);
        self.facts.set(index.0 as usize, LbFacts::of(&lb, fleet));
        self.whole.set(index.0 as usize, Arc::new(lb));
    }

    /// Finds everybody's fall-backs anew.
    pub(crate) fn take_fleet(&mut self, fleet: &Fleet) {
        self.facts = self.whole.iter().map(|lb| LbFacts::of(lb, Some(fleet))).collect();
    }

    pub(crate) fn get(&self, index: LbIndex) -> Option<&Lb> {
        self.whole.get(index.0 as usize).map(Arc::as_ref)
    }

    #[inline]
    pub(crate) fn facts(&self, index: LbIndex) -> Option<&LbFacts> {
        self.facts.get(index.0 as usize)
    }

    /// The DNS-LB of a label in wire form with this hash.
    #[inline]
    pub(crate) fn of_label(&self, hash: u32, label: &[u8]) -> Option<LbIndex> {
        let is = |number: u32| self.facts.get(number as usize).is_some_and(|facts| same(facts.label(), label));
        self.labels.find(hash, is).map(LbIndex)
    }

    /// Asks for what [`Lbs::facts`] yields.
    #[inline]
    pub(crate) fn fetch(&self, index: LbIndex) {
        if let Some(facts) = self.facts(index) {
            prefetch(facts);
        }
    }

    /// Asks for what [`Lbs::of_label`] is going to compare.
    #[inline]
    pub(crate) fn fetch_label(&self, hash: u32) {
        self.fetch(LbIndex(self.labels.guess(hash)));
    }

    pub(crate) fn of_identity(&self, identity: &Identity) -> Option<LbIndex> {
        self.of_label(self.seed.hash(identity.wire_label()), identity.wire_label())
    }

    /// Counts them, by what lies side by side.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for facts in self.facts.iter() {
            census.states[facts.state as usize] += 1;
            census.handed_out += usize::from(facts.handed_out);
        }
        census
    }

    pub(crate) fn len(&self) -> usize {
        self.facts.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LbIndex, &Lb)> {
        self.whole.iter().enumerate().map(|(number, lb)| (LbIndex(number as u32), &**lb))
    }
}

// One cache line, or choosing waits twice.
const _: () = assert!(size_of::<LbFacts>() == 64);
