//! Services that a zone of ours will have in a generation of its catalogue that has not come here. Another
//! dns-b may hand them out already, so they are not denied: who asks hears that this server is not ready
//! (design section 3), and asks the next one.

use std::{collections::BTreeSet, sync::Arc};

use crate::name::Name;

/// Longest name in octets (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;

/// Which services those are; mostly none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coming(Option<Arc<BTreeSet<Name>>>);

impl Coming {
    /// These and no others.
    pub(crate) fn services(services: BTreeSet<Name>) -> Self {
        Self((!services.is_empty()).then(|| Arc::new(services)))
    }

    /// Whether the name made of these labels in front of the zone is one of them.
    #[inline]
    pub(crate) fn holds(&self, relative: &[u8], zone: &Name) -> bool {
        match &self.0 {
            None => false,
            Some(services) => among(services, relative, zone),
        }
    }
}

#[cold]
fn among(services: &BTreeSet<Name>, relative: &[u8], zone: &Name) -> bool {
    let mut wire = [0; MAX_NAME];
    let (length, zone) = (relative.len(), zone.wire());
    let Some(name) = wire.get_mut(..length + zone.len()) else { return false };
    name[..length].copy_from_slice(relative);
    name[length..].copy_from_slice(zone);
    services.contains(&*name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_labels_and_their_zone() {
        let zone: Name = "glb.test".parse().unwrap();
        assert!(!Coming::default().holds(b"\x03new", &zone));
        let coming = Coming::services(["new.glb.test".parse().unwrap()].into());
        assert!(coming.holds(b"\x03new", &zone));
        assert!(!coming.holds(b"\x03new", &"other.test".parse().unwrap()));
        assert!(!coming.holds(b"\x03old", &zone) && !coming.holds(b"", &zone));
        assert!(!coming.holds(&[1; 255], &zone), "no such name can be");
    }
}
