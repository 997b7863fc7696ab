//! Numbers what is published. A generation stands for one content for ever: it strictly increases,
//! whatever was forgotten here and whatever the dns-bs remember, and changes only when the content
//! does or when a dns-b holds a number that somebody else gave out.

use std::{collections::BTreeSet, sync::Arc};

use dglb_core::{catalogue::ZoneCatalogue, identity::Identity};
use thiserror::Error;

/// No zone changes this often: a peer that claims to hold more is broken, and believing it would
/// leave no room above.
const MOST: u64 = 1 << 62;

/// A dns-b claims a generation that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("generation {0} cannot be: no zone changes that often")]
pub struct Absurd(pub u64);

/// The origin of one zone's generations.
#[derive(Debug, Default)]
pub struct Origin {
    /// The content as it should be published, not yet numbered: generation and serial are 0.
    content: Option<ZoneCatalogue>,
    /// The content as it was numbered last.
    issued: Option<Arc<ZoneCatalogue>>,
    /// The highest generation that a dns-b held when its link came up; `None` before the first link.
    heard: Option<u64>,
    /// Who may hold `issued` because we sent it.
    sent: BTreeSet<Identity>,
}

impl Origin {
    /// Goes on after what an earlier run published, and sent to these.
    pub fn restored(issued: ZoneCatalogue, sent: BTreeSet<Identity>) -> Self {
        Self { content: Some(bare(&issued)), issued: Some(Arc::new(issued)), heard: None, sent }
    }

    /// Takes new content. Returns what is to be published, if that changed. The first number is
    /// given out only after a link came up, since a dns-b may remember higher ones.
    pub fn offer(&mut self, content: &ZoneCatalogue) -> Option<Arc<ZoneCatalogue>> {
        let content = bare(content);
        if self.content.as_ref() == Some(&content) {
            return None;
        }
        self.content = Some(content);
        self.issue()
    }

    /// A link came up and its dns-b holds `generation`, 0 for none. Returns what is to be
    /// published, if that changed.
    ///
    /// # Errors
    /// [`Absurd`]; nothing changes then.
    pub fn heard(&mut self, peer: &Identity, generation: u64) -> Result<Option<Arc<ZoneCatalogue>>, Absurd> {
        if generation > MOST {
            return Err(Absurd(generation));
        }
        self.heard = self.heard.max(Some(generation));
        let foreign = match &self.issued {
            None => true,
            Some(issued) if generation == issued.generation => !self.sent.contains(peer),
            Some(issued) => generation > issued.generation,
        };
        Ok(if foreign { self.issue() } else { None })
    }

    /// What was issued last is on its way to `peer`. Returns whether that is new.
    pub fn sent(&mut self, peer: &Identity) -> bool {
        self.sent.insert(peer.clone())
    }

    /// To whom what was issued last may have gone.
    pub fn recipients(&self) -> &BTreeSet<Identity> {
        &self.sent
    }

    /// What is to be published now.
    pub fn current(&self) -> Option<&Arc<ZoneCatalogue>> {
        self.issued.as_ref()
    }

    /// The content that was taken last, numbered or not.
    pub fn content(&self) -> Option<&ZoneCatalogue> {
        self.content.as_ref()
    }

    fn issue(&mut self) -> Option<Arc<ZoneCatalogue>> {
        let last = self.issued.as_ref().map(|c| c.generation);
        let generation = self.heard.max(last)? + 1;
        let mut catalogue = self.content.clone()?;
        catalogue.generation = generation;
        // Serials go round (RFC 1982); the generation's low half goes round with them.
        catalogue.soa_serial = (generation & u64::from(u32::MAX)) as u32;
        let issued = Arc::new(catalogue);
        self.issued = Some(Arc::clone(&issued));
        self.sent.clear();
        Some(issued)
    }
}

/// A zone that is to be gone: the origin of its last generation.
#[derive(Debug, Default)]
pub struct Leaving {
    /// The highest generation that is known of it, 0 for none.
    before: u64,
    issued: Option<u64>,
}

impl Leaving {
    /// Of a zone that was published before, perhaps.
    pub fn after(origin: Option<&Origin>) -> Self {
        Self { before: origin.and_then(Origin::current).map_or(0, |issued| issued.generation), issued: None }
    }

    /// A link came up and its dns-b holds `generation`, 0 for none. Returns whether there is another
    /// withdrawal than before: of a zone that nobody has ever had there is none.
    ///
    /// # Errors
    /// [`Absurd`]; nothing changes then.
    pub fn heard(&mut self, generation: u64) -> Result<bool, Absurd> {
        if generation > MOST {
            return Err(Absurd(generation));
        }
        self.before = self.before.max(generation);
        let changes = self.before > 0 && self.issued.is_none_or(|issued| generation > issued);
        if changes {
            self.issued = Some(self.before + 1);
        }
        Ok(changes)
    }

    /// The generation with which it is gone.
    pub fn current(&self) -> Option<u64> {
        self.issued
    }
}

/// The content alone, to compare it.
fn bare(catalogue: &ZoneCatalogue) -> ZoneCatalogue {
    ZoneCatalogue { generation: 0, soa_serial: 0, ..catalogue.clone() }
}

#[cfg(test)]
mod tests {
    use dglb_core::catalogue::ZoneStyle;
    use proptest::prelude::*;

    use super::*;

    fn content(k: u32) -> ZoneCatalogue {
        ZoneCatalogue {
            zone: "glb.test".parse().unwrap(),
            generation: 0,
            soa_serial: 0,
            style: ZoneStyle::SubZone,
            cname_ttl: k,
            services: vec![],
            records: vec![],
        }
    }

    fn peer(n: usize) -> Identity {
        format!("b{n}").parse().unwrap()
    }

    #[test]
    fn the_first_number_waits_for_the_first_link() {
        let mut origin = Origin::default();
        assert_eq!(origin.offer(&content(1)), None);
        assert_eq!(origin.heard(&peer(1), 41).unwrap().unwrap().generation, 42);
        assert_eq!(origin.current().unwrap().soa_serial, 42);
        assert_eq!(origin.offer(&content(1)), None);
        assert_eq!(origin.offer(&content(2)).unwrap().generation, 43);
    }

    #[test]
    fn nobody_can_use_the_numbers_up() {
        let mut origin = Origin::default();
        origin.offer(&content(1));
        assert_eq!(origin.heard(&peer(1), u64::MAX), Err(Absurd(u64::MAX)));
        assert_eq!(origin.current(), None);
        assert_eq!(origin.heard(&peer(2), MOST).unwrap().unwrap().generation, MOST + 1);
        assert_eq!(origin.offer(&content(2)).unwrap().generation, MOST + 2);
    }

    #[test]
    fn an_earlier_run_is_gone_on_with() {
        let issued = ZoneCatalogue { generation: 7, soa_serial: 7, ..content(1) };
        let mut origin = Origin::restored(issued, [peer(1)].into());
        assert_eq!(origin.offer(&content(1)), None, "unchanged content keeps its number");
        assert_eq!(origin.heard(&peer(1), 7), Ok(None));
        assert_eq!(origin.heard(&peer(2), 7).unwrap().unwrap().generation, 8, "7 is not from us");
        assert_eq!(origin.offer(&content(2)).unwrap().generation, 9);
    }

    #[test]
    fn a_zone_leaves_with_a_number_above_all_others() {
        let mut nobody = Leaving::after(None);
        assert_eq!((nobody.heard(0), nobody.current()), (Ok(false), None));
        assert_eq!(nobody.heard(u64::MAX), Err(Absurd(u64::MAX)));
        let issued = ZoneCatalogue { generation: 7, soa_serial: 7, ..content(1) };
        let mut origin = Origin::restored(issued, [peer(1)].into());
        let mut leaving = Leaving::after(Some(&origin));
        assert_eq!((leaving.heard(0), leaving.current()), (Ok(true), Some(8)), "others may hold it");
        assert_eq!((leaving.heard(8), leaving.current()), (Ok(false), Some(8)), "it knows");
        assert_eq!((leaving.heard(12), leaving.current()), (Ok(true), Some(13)));
        // It comes back.
        assert_eq!(origin.offer(&content(1)), None);
        assert_eq!(origin.heard(&peer(1), 13).unwrap().unwrap().generation, 14);
    }

    /// What may happen, in any order.
    #[derive(Clone, Debug)]
    enum Event {
        Content(u32),
        Link(usize),
        Cut(usize),
        /// The process starts anew; with its state or without.
        Restart(bool),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0u32..4).prop_map(Event::Content),
            4 => (0usize..3).prop_map(Event::Link),
            2 => (0usize..3).prop_map(Event::Cut),
            1 => any::<bool>().prop_map(Event::Restart),
        ]
    }

    /// A dns-b as the protocol wants it: takes only what is newer.
    #[derive(Default)]
    struct Server {
        linked: bool,
        held: Option<Arc<ZoneCatalogue>>,
    }

    impl Server {
        fn take(&mut self, catalogue: &Arc<ZoneCatalogue>) {
            let held = self.held.as_ref().map_or(0, |h| h.generation);
            assert!(catalogue.generation >= held, "an older generation was sent");
            if catalogue.generation == held {
                assert_eq!(self.held.as_ref(), Some(catalogue), "one generation, two contents");
            }
            self.held = Some(Arc::clone(catalogue));
        }
    }

    fn run(events: Vec<Event>) {
        let mut origin = Origin::default();
        let mut servers: [Server; 3] = Default::default();
        let mut last = 0;
        for event in events {
            let changed = match event {
                Event::Content(k) => {
                    let same = origin.content() == Some(&content(k));
                    let changed = origin.offer(&content(k));
                    assert!(!(same && changed.is_some()), "a new generation without a change");
                    changed
                }
                Event::Link(n) => {
                    let held = servers[n].held.as_ref().map_or(0, |h| h.generation);
                    servers[n].linked = true;
                    let changed = origin.heard(&peer(n), held).unwrap();
                    if let (None, Some(current)) = (&changed, origin.current()) {
                        servers[n].take(current);
                        origin.sent(&peer(n));
                    }
                    changed
                }
                Event::Cut(n) => {
                    servers[n].linked = false;
                    None
                }
                Event::Restart(keeps) => {
                    let kept = origin.current().filter(|_| keeps).map(|c| ZoneCatalogue::clone(c));
                    last = kept.as_ref().map_or(0, |k| k.generation);
                    let sent = origin.recipients().clone();
                    origin = kept.map_or_else(Origin::default, |kept| Origin::restored(kept, sent));
                    servers.iter_mut().for_each(|s| s.linked = false);
                    None
                }
            };
            if let Some(catalogue) = changed {
                assert!(catalogue.generation > last, "generations must strictly increase");
                last = catalogue.generation;
                for (n, server) in servers.iter_mut().enumerate().filter(|(_, s)| s.linked) {
                    server.take(&catalogue);
                    origin.sent(&peer(n));
                }
            }
            if let Some(current) = origin.current() {
                let behind = |s: &&Server| s.linked && s.held.as_ref() != Some(current);
                assert_eq!(servers.iter().filter(behind).count(), 0, "a linked dns-b is behind");
            }
        }
    }

    proptest! {
        #[test]
        fn one_generation_is_one_content_whatever_happens(events in prop::collection::vec(event(), 0..60)) {
            run(events);
        }
    }
}
