//! When this host reaches nothing at all (`measurements::own_fault` says what follows).

use super::{Effects, Keeper};

impl Keeper {
    /// This host was cut off and is not any more: all sites are probed now.
    pub(super) fn reached_again(&mut self, effects: &mut Effects) {
        self.metrics.cut_off.set(0);
        tracing::warn!("this host is not cut off any more: all sites are judged anew");
        let services = self.catalogues.values().flat_map(|zone| &zone.services);
        let sites = services.flat_map(|service| service.sites.iter().map(|site| (&service.name, &site.name)));
        effects.probe_now.extend(sites.map(|(service, site)| (service.clone(), site.clone())));
    }

    /// Whoever reaches neither a dns-b nor any of several sites is cut off.
    pub(super) fn look_at_ourselves(&mut self, effects: &mut Effects) {
        if self.linked.is_empty() && self.measurements.is_all_lost() {
            tracing::error!("neither a dns-b nor any site can be reached: the last good order stands");
            self.metrics.cut_offs.inc();
            let changes = self.measurements.blame_ourselves();
            self.ranked(changes, Vec::new(), effects);
        }
    }
}
