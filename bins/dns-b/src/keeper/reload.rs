//! A new configuration for a dns-b that runs: rights, fleet document, and how answers are found.

use std::time::Instant;

use dglb_core::proto::message::{Bye, ByeReason, Message, PeerRole, Resync};

use super::{Keeper, LinkId, Outgoing};
use crate::config::Config;

impl Keeper {
    /// Takes a configuration over that differs only in what may differ (see [`refusal`]). Whoever
    /// lost its right to be here leaves at once; what a DNS-LB maps is judged again by its new
    /// bounds.
    pub fn reconfigure(&mut self, config: &Config, now: Instant) {
        let bounds = |keeper: &Self, link: &super::Link| {
            keeper.peers.get(&link.identity).map(|p| (p.may_map.clone(), p.prove.clone()))
        };
        let before: Vec<_> = self.links.iter().map(|(id, link)| (*id, bounds(self, link))).collect();
        self.peers.clone_from(&config.peers);
        self.default_group.clone_from(&config.default_group);
        self.dns_lbs = config.map.dns_lbs;
        (self.check, self.max_lease, self.stale_after) = (config.check, config.map.lease, config.stale_after);
        self.quorum = config.quorum;
        self.quotas = config.map.quotas.held;
        self.prove.clone_from(&config.prove);
        self.directory.set_settings(config.settings.clone());
        self.judge_proofs();
        self.give_voices(now);
        self.dismiss_strangers(now);
        for (id, before) in before {
            let after = self.links.get(&id).filter(|l| l.role == PeerRole::DnsLb).map(|l| bounds(self, l));
            if after.is_some_and(|after| after != before) {
                self.send(id, Message::Resync(Resync::Map));
            }
        }
        if self.fleet != config.fleet {
            self.use_fleet(&config.fleet);
        }
        self.renew_default_group();
        self.await_zones();
        self.changed = true;
    }

    fn dismiss_strangers(&mut self, now: Instant) {
        let strangers = self.links.iter().filter(|(_, l)| self.admission(&l.identity, l.role).is_err());
        let strangers: Vec<LinkId> = strangers.map(|(id, _)| *id).collect();
        for link in strangers {
            let text = "no [[peer]] of this identity and role is configured here any more".to_owned();
            self.outbox.push((link, Outgoing::Leave(Bye { reason: ByeReason::Identity, text })));
            self.closed(link, now);
        }
        let gone: Vec<_> = self.lbs.keys().copied().collect();
        for index in gone {
            let identity = self.directory.find_lb(index).map(|lb| lb.identity.clone());
            if identity.is_some_and(|identity| self.admission(&identity, PeerRole::DnsLb).is_err())
                && self.lbs.get(&index).is_some_and(|truth| truth.gone_since.is_none())
            {
                // Not one lease more.
                self.let_lease_run(index, now);
            }
        }
        self.duplicates.retain(|identity| self.peers.contains_key(identity));
        self.expire(now);
    }
}

/// Why a running dns-b cannot take `new` over from `old`, by the name of the key.
///
/// # Errors
/// The first such key, and what to do.
pub fn refusal(old: &Config, new: &Config) -> Result<(), String> {
    let fixed = [
        ("identity", old.identity == new.identity),
        ("dns.referral", old.referral == new.referral),
        ("dns.fallback", old.fallback == new.fallback),
        ("dns.lanes", old.serving.settings.lanes == new.serving.settings.lanes),
        ("dns.rate-limit.table-size", old.serving.settings.rate_table == new.serving.settings.rate_table),
        ("[dns.tcp]", old.serving.settings.tcp == new.serving.settings.tcp),
        ("[dns]", old.serving.settings == new.serving.settings),
        ("map.listen", old.map.listen == new.map.listen),
        ("map.plain-tcp", old.map.security.plain_tcp == new.map.security.plain_tcp),
        ("map.quota", old.map.quotas.link == new.map.quotas.link && old.map.quotas.message == new.map.quotas.message),
        ("map.tls", old.map.security.tls == new.map.security.tls),
        ("admin.listen", old.admin == new.admin),
        ("state-dir", old.state_dir == new.state_dir),
    ];
    if let Some((key, _)) = fixed.iter().find(|(_, same)| !same) {
        return Err(format!("{key} can only be changed by a restart"));
    }
    if old.fleet != new.fleet && new.fleet.serial <= old.fleet.serial {
        let (new, old) = (new.fleet.serial, old.fleet.serial);
        return Err(format!("the fleet document has changed, but its serial {new} is not higher than {old}"));
    }
    Ok(())
}
