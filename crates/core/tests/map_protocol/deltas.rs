//! What changed in a zone, sent and applied, is what the sender has; or it is found out.

use std::collections::BTreeSet;

use dglb_core::{
    catalogue::{CatalogueUpdate, DeltaError, ZoneCatalogue},
    proto::{
        body::{MAX_ELEMENTS, decode},
        message::Message,
    },
};
use proptest::{collection::vec, prelude::*};

use crate::{samples, strategies};

/// Two generations of one zone: the newer one has some of the older one's services as they were.
fn generations() -> impl Strategy<Value = (ZoneCatalogue, ZoneCatalogue)> {
    let kept = vec(any::<bool>(), 4);
    (strategies::catalogue(), strategies::catalogue(), kept, any::<bool>(), 1..u64::MAX / 2, 1..1_000_u64).prop_map(
        |(mut old, mut new, kept, same_records, generation, later)| {
            new.zone = old.zone.clone();
            (old.generation, new.generation) = (generation, generation + later);
            new.services.extend(old.services.iter().zip(kept).filter(|(_, keep)| *keep).map(|(s, _)| s.clone()));
            if same_records {
                new.records = old.records.clone();
            }
            for zone in [&mut old, &mut new] {
                let mut names = BTreeSet::new();
                zone.services.retain(|s| names.insert(s.name.clone()));
            }
            (old.normalised(), new.normalised())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_delta_that_was_sent_makes_the_new_of_the_old((old, new) in generations()) {
        let delta = new.delta_from(&old).unwrap();
        prop_assert!(delta.services.iter().all(|s| !old.services.contains(s)), "what did not change is not sent");
        prop_assert_eq!(delta.records.is_some(), old.records != new.records);
        let encoded = Message::Catalogue(Box::new(CatalogueUpdate::Delta(delta))).encode().unwrap();
        let decoded = decode(encoded.number(), encoded.body().clone(), MAX_ELEMENTS).unwrap().unwrap();
        let Message::Catalogue(update) = decoded.message else { panic!("another message") };
        let CatalogueUpdate::Delta(delta) = *update else { panic!("another form") };
        prop_assert_eq!(delta.apply(&old).unwrap(), new);
    }

    #[test]
    fn what_is_held_otherwise_is_found_out((old, new) in generations(), other in strategies::catalogue()) {
        let delta = new.delta_from(&old).unwrap();
        let base = |held: &ZoneCatalogue| DeltaError::Base {
            zone: new.zone.clone(),
            base: old.generation,
            held: held.generation,
        };
        prop_assert_eq!(delta.apply(&new), Err(base(&new)));
        let mut names = BTreeSet::new();
        let mut other = ZoneCatalogue { zone: old.zone.clone(), generation: old.generation, ..other };
        other.services.retain(|s| names.insert(s.name.clone()));
        match delta.apply(&other.normalised()) {
            Ok(applied) => prop_assert_eq!(applied, new),
            Err(error) => prop_assert!(!matches!(error, DeltaError::Base { .. }), "{error}"),
        }
    }
}

#[test]
fn there_is_no_delta_where_there_is_no_base() {
    let zone = ZoneCatalogue { generation: 13, ..samples::catalogue() };
    for (generation, another_zone) in [(0, false), (13, false), (14, false), (12, true)] {
        let mut old = ZoneCatalogue { generation, ..zone.clone() };
        if another_zone {
            old.zone = "other.test".parse().unwrap();
        }
        assert_eq!(zone.delta_from(&old), None, "{generation}");
    }
    assert!(zone.delta_from(&samples::catalogue()).is_some());
}

#[test]
fn a_delta_that_contradicts_itself_or_what_is_held_changes_nothing() {
    let old = samples::catalogue();
    let mut new = ZoneCatalogue { generation: 13, ..old.clone() };
    new.services[0].ttl += 1;
    let whole = new.delta_from(&old).unwrap();
    let removed = |name: &str| DeltaError::Removed { zone: old.zone.clone(), service: name.parse().unwrap() };

    let mut delta = whole.clone();
    delta.removed = vec!["other.glb.foobar.com".parse().unwrap()];
    assert_eq!(delta.apply(&old), Err(removed("other.glb.foobar.com")));
    delta.removed = vec!["www.glb.foobar.com".parse().unwrap()];
    assert_eq!(delta.apply(&old), Err(removed("www.glb.foobar.com")));

    let mut other = old.clone();
    other.records[0].ttl += 1;
    let digest = DeltaError::Digest { zone: old.zone.clone(), generation: 13 };
    assert_eq!(whole.apply(&other), Err(digest));
    assert_eq!(whole.apply(&old), Ok(new));
}

/// Digests go between hosts and releases: they must not change with the code.
#[test]
fn digests_are_for_ever() {
    assert_eq!(samples::fleet().stamp().digest, 0xbec0_67e8_a31a_96d8);
    assert_eq!(samples::catalogue().digest(), 0x618a_3904_fbae_2caa);
}
