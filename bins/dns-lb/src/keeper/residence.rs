//! Where this DNS-LB is: what it proves to dns-bs, and whether its ISP's users reach it.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use dglb_core::{
    directory::ZoneEntry,
    identity::Identity,
    name::Name,
    proto::message::{Challenge, Seen, SeenOutcome},
};

use super::{Effects, Keeper};
use crate::{metrics::OutcomeLabels, proof::Declined, registration::Claim};

/// What was not seen for so long is mapped by no dns-b any more: the longest that dns-bs wait.
const FORGET: Duration = Duration::from_secs(3_600);

impl Keeper {
    /// Claims another place from now on; whoever asks for this DNS-LB's name is told its new addresses.
    pub(super) fn claim(&mut self, claim: Claim, effects: &mut Effects) {
        if self.settings.claim.addresses != claim.addresses {
            tracing::info!(addresses = ?claim.addresses, "asked at other addresses from now on");
            let identity = &self.settings.identity;
            let stated = self.fleet.as_ref().is_some_and(|f| f.labels.iter().any(|l| l.identity == *identity));
            if !stated {
                self.directory.update_lb(self.own, |lb| lb.addresses.clone_from(&claim.addresses));
                effects.answers = true;
            }
        }
        if self.settings.claim.resolvers != claim.resolvers {
            self.self_check.hurry();
        }
        self.settings.claim = claim.clone();
        effects.send.extend(self.registration.set_claim(claim));
    }

    pub(super) fn challenged(&mut self, server: &Identity, challenge: &Challenge, now: Instant, effects: &mut Effects) {
        let operator_zone = self.fleet.as_ref().map(|fleet| &fleet.operator_zone);
        let resolvers = &self.registration.claim().resolvers[..];
        let outcome = match self.proofs.challenged(server, challenge, (operator_zone, resolvers), now) {
            Ok(look_ups) => {
                effects.look_ups.extend(look_ups);
                "met"
            }
            Err(Declined::NotReady) => "not-ready",
            Err(Declined::TooFast) => "too-fast",
            Err(Declined::Foreign) => "foreign",
        };
        self.metrics.challenges.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(super) fn seen(&mut self, server: &Identity, seen: Seen, now: Instant) {
        let outcome = if matches!(seen.outcome, SeenOutcome::Mapped { .. }) { "mapped" } else { "refused" };
        self.metrics.proofs.get_or_create(&OutcomeLabels { outcome }).inc();
        let said = seen.outcome.clone();
        if self.proofs.seen(server, seen, now) {
            match said {
                SeenOutcome::Mapped { address, prefix } => {
                    tracing::info!(%server, %address, %prefix, "my ISP's resolver was seen there");
                }
                SeenOutcome::Refused { text, .. } => {
                    tracing::warn!(%server, reason = text, "proof of residence refused");
                }
            }
        }
    }

    /// Where an own question arrived.
    pub(super) fn arrived(&mut self, resolver: IpAddr, arrived: crate::self_check::Arrived) {
        self.metrics.self_checks.get_or_create(&OutcomeLabels { outcome: arrived.as_str() }).inc();
        if self.self_check.arrived(resolver, arrived) {
            match self.self_check.reaches(&resolver) {
                Some(false) => tracing::warn!(%resolver, "the users of this resolver do not reach this DNS-LB"),
                _ => tracing::info!(%resolver, "the users of this resolver reach this DNS-LB"),
            }
        }
    }

    /// What a second's care is enough for.
    pub(super) fn look_after_residence(&mut self, now: Instant, effects: &mut Effects) {
        self.proofs.forget(now, FORGET);
        // Before all dns-bs know it, its label leads nowhere yet.
        if !self.registration.is_ready() {
            return;
        }
        let Some(label_zone) = self.label_zone() else { return };
        let resolvers = &self.registration.claim().resolvers;
        effects.checks.extend(self.self_check.due(&label_zone, resolvers, now, rand::random()));
    }

    /// The shortest of its label zones; where something else has its name, it has none.
    fn label_zone(&self) -> Option<Name> {
        let identity = &self.settings.identity;
        let zones = self.directory.zones().filter(|zone| !zone.occupies(identity.wire_label()));
        let shortest = zones.map(ZoneEntry::name).min_by_key(|name| (name.wire().len(), *name))?;
        shortest.child(identity.as_str()).ok()
    }
}
