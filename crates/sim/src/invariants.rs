//! What must hold, and how it is looked at: from outside, by asking [`Responder`] and reading the
//! tables, never by the keepers' own account.
//!
//! [`Responder`]: dglb_core::dns::Responder

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use dglb_core::{
    directory::LbState,
    dns::{Decision, Role},
    identity::Identity,
    name::Name,
};

use crate::{
    Invariant, Ms,
    ask::{A, NXDOMAIN, SERVFAIL, ask},
    content::{self, SERVICES},
    dns_b::{BACKLOG, DnsB},
    endpoint::{COMMANDS, INBOUND},
    oracle::Difference,
    process::{Daemon, Kind},
    world::World,
};

pub(crate) type Held = Result<(), Difference>;

/// Where a resolver sits that nobody sits beside.
const STRANGER: [u8; 4] = [192, 0, 2, 200];

/// The name of a service at a label.
fn at_label(service: &str, lb: &Identity) -> Name {
    content::name(&format!("{service}.{lb}"))
}

impl World {
    /// After everything that a host has done: what can be seen at it alone.
    pub(crate) fn inspect(&mut self, host: usize) {
        let mut held = self.bounded(host).and_then(|()| self.one_link(host));
        let Some(process) = &mut self.hosts[host].process else { return };
        let changed = process.daemon.take_changed();
        process.changed |= changed;
        if self.oracle.take_stirred(host) || changed {
            held = held.and_then(|()| self.served(host));
        }
        if changed {
            held = held.and_then(|()| self.of_one_edition(host));
        }
        self.note(held);
    }

    pub(crate) fn note(&mut self, held: Held) {
        if let Err(difference) = held {
            self.broken.get_or_insert(difference);
        }
    }

    /// Now and then: what is seen by asking, and at several hosts together.
    pub(crate) fn look(&mut self) {
        self.oracle.counts.looks += 1;
        let changed = |host: &crate::process::Host| host.process.as_ref().is_some_and(|p| p.changed);
        let changed: Vec<bool> = self.hosts.iter().map(changed).collect();
        for host in (0..self.size.bs).filter(|host| changed[*host]) {
            let held = self.referred(host);
            self.note(held);
        }
        let fresh = self.oracle.take_fresh();
        let held = self.known(|host, label| changed[host] || fresh.contains(label));
        self.note(held);
        for process in self.hosts.iter_mut().filter_map(|host| host.process.as_mut()) {
            process.changed = false;
        }
    }

    /// 7: whatever waits is bounded.
    fn bounded(&self, host: usize) -> Held {
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        for (link, end) in &process.ends {
            let (commands, inbound) = end.endpoint.waiting();
            if commands > COMMANDS || inbound > INBOUND {
                let text = format!("host {host} link {link}: {commands} messages and {inbound} octets wait");
                return Err((Invariant::Bounded, text));
            }
        }
        match &process.daemon {
            Daemon::B(b) if b.longest_backlog() > BACKLOG => {
                Err((Invariant::Bounded, format!("host {host}: {} messages wait for a link", b.longest_backlog())))
            }
            _ => Ok(()),
        }
    }

    /// 6: one live link of an identity.
    fn one_link(&self, host: usize) -> Held {
        let (Some(process), Some(b)) = (&self.hosts[host].process, self.hosts[host].b()) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        let live = process.ends.iter().filter(|(_, end)| end.endpoint.session.is_established());
        for (identity, _) in live.filter_map(|(link, _)| b.links.get(link)) {
            if !seen.insert(identity) {
                return Err((Invariant::OneLink, format!("two links of {identity} live at host {host}")));
            }
        }
        Ok(())
    }

    /// 1, 2 and 5: the tables are what was acknowledged and lives.
    fn served(&self, host: usize) -> Held {
        let Some(b) = self.hosts[host].b() else { return Ok(()) };
        self.oracle.compare(host, b.keeper.directory(), self.now)
    }

    /// 4 and 5: all answers of one host are of one edition, and of none before the last one seen.
    fn of_one_edition(&mut self, host: usize) -> Held {
        let editions = {
            let stranger = IpAddr::from(STRANGER);
            let entry = &self.hosts[host];
            let kind = entry.kind;
            let Some(process) = &entry.process else { return Ok(()) };
            match &process.daemon {
                Daemon::B(b) => editions_of_b(b, stranger),
                Daemon::Lb(lb) => {
                    let own = kind.identity();
                    let names = SERVICES.map(|service| at_label(service, &own));
                    let asked = names.iter().map(|name| ask(lb.keeper.directory(), stranger, (name, A), Role::DnsLb));
                    asked.flat_map(|reply| reply.addresses).filter_map(content::edition_of).collect()
                }
                Daemon::Publisher(_) => return Ok(()),
            }
        };
        let (Some(first), Some(last)) = (editions.first().copied(), editions.last().copied()) else { return Ok(()) };
        if first != last {
            let text = format!("host {host} answers from editions {editions:?} of the catalogue at once");
            return Err((Invariant::Whole, text));
        }
        let Some(process) = &mut self.hosts[host].process else { return Ok(()) };
        let before = std::mem::replace(&mut process.edition, first);
        self.oracle.counts.editions += u64::from(before != first);
        if first < before {
            return Err((Invariant::Newest, format!("host {host} answers from edition {first} after {before}")));
        }
        Ok(())
    }

    /// 1, by asking: whoever is heard, checked and ready gets its own resolvers.
    fn referred(&mut self, host: usize) -> Held {
        let now = self.now;
        let Some(b) = self.hosts[host].b() else { return Ok(()) };
        let www = content::name("www");
        let mut beside: BTreeMap<IpAddr, BTreeMap<&Identity, bool>> = BTreeMap::new();
        for (identity, prefix, heard) in self.oracle.alive(host).filter(|(_, prefix, _)| prefix.bits() == 32) {
            beside.entry(prefix.address()).or_default().insert(identity, heard);
        }
        let mut handed = Vec::new();
        for (resolver, identities) in &beside {
            let reply = b.ask(*resolver, (&www, A), Role::Referral);
            let lb =
                identities.keys().find(|id| reply.alias.as_ref().is_some_and(|(to, _)| *to == at_label("www", id)));
            match (lb, &reply.alias) {
                (Some(lb), Some((_, ttl))) => handed.push((Identity::clone(lb), Ms::from(*ttl))),
                (None, Some((to, _))) => {
                    let text = format!("host {host} sends {resolver} to {to} and not to {identities:?}");
                    return Err((Invariant::Served, text));
                }
                _ if identities.iter().any(|(identity, heard)| *heard && fit(b, identity)) => {
                    let text = format!("host {host} does not send {resolver} to {identities:?}: {:?}", reply.decision);
                    return Err((Invariant::Served, text));
                }
                _ => {}
            }
        }
        for (identity, ttl) in handed {
            self.oracle.handed_out(&identity, now + 1_000 * (ttl + Ms::from(content::LABEL_TTL)));
        }
        Ok(())
    }

    /// 8: labels that may be in a cache are denied by nobody. Looked at is where something is new.
    fn known(&self, news: impl Fn(usize, &Identity) -> bool) -> Held {
        let stranger = IpAddr::from(STRANGER);
        for identity in self.oracle.cached(self.now) {
            let name = at_label("www", identity);
            for host in (0..self.size.bs).filter(|host| news(*host, identity)) {
                let Some(b) = self.hosts[host].b() else { continue };
                for role in [Role::Referral, Role::Fallback] {
                    let reply = b.ask(stranger, (&name, A), role);
                    let ready = b.keeper.directory().has_zones();
                    if reply.rcode == NXDOMAIN || ready && reply.rcode != 0 {
                        let text = format!("host {host} says {} to {name} ({role:?})", reply.rcode);
                        return Err((Invariant::Known, text));
                    }
                }
            }
            for host in (self.size.bs..self.hosts.len()).filter(|host| news(*host, identity)) {
                let own = self.hosts[host].kind.identity() == *identity;
                let Some(lb) = self.hosts[host].lb().filter(|_| own) else { continue };
                let reply = ask(lb.keeper.directory(), stranger, (&name, A), Role::DnsLb);
                if reply.rcode != 0 && reply.rcode != SERVFAIL || reply.rcode == 0 && reply.addresses.is_empty() {
                    return Err((Invariant::Known, format!("host {host} says {} to {name}, its own", reply.rcode)));
                }
            }
        }
        Ok(())
    }

    /// 3: the network is whole again and everybody has had time.
    pub(crate) fn last_look(&mut self) {
        let held = self.agreed().and_then(|()| self.all_mapped());
        self.note(held);
    }

    /// Every dns-b answers every question alike.
    fn agreed(&self) -> Held {
        let mut resolvers: BTreeSet<IpAddr> = BTreeSet::from([IpAddr::from(STRANGER)]);
        for host in 0..self.size.bs {
            resolvers.extend(self.oracle.alive(host).map(|(_, prefix, _)| prefix.address()));
        }
        let mut questions: Vec<(IpAddr, Name, Role)> = Vec::new();
        for service in SERVICES {
            questions.extend(resolvers.iter().map(|r| (*r, content::name(service), Role::Referral)));
            for n in 0..self.size.lbs {
                let at = |role| (IpAddr::from(STRANGER), at_label(service, &content::lb(n)), role);
                questions.extend([at(Role::Referral), at(Role::Fallback)]);
            }
        }
        for (resolver, name, role) in questions {
            let replies = (0..self.size.bs).map(|host| self.hosts[host].b().map(|b| b.ask(resolver, (&name, A), role)));
            let replies: Vec<_> = replies.collect();
            if replies.iter().any(|reply| reply.as_ref().map(|r| &r.octets) != replies[0].as_ref().map(|r| &r.octets)) {
                let short = |r: &crate::ask::Reply| format!("{:?} {:?} {:?}", r.decision, r.alias, r.addresses);
                let all: Vec<_> = replies.iter().flatten().map(short).collect();
                let known: Vec<_> = (0..self.size.bs).filter_map(|host| self.hosts[host].b().map(standing)).collect();
                let text = format!("{name} for {resolver} ({role:?}): {all:?}; {}", known.join("; "));
                return Err((Invariant::Converged, text));
            }
        }
        Ok(())
    }

    /// Every DNS-LB's newest process has the resolvers that it sits beside, at every dns-b.
    fn all_mapped(&self) -> Held {
        for n in 0..self.size.lbs {
            let own = |host: &usize| self.hosts[*host].kind == Kind::Lb(n);
            let started = |host: &usize| self.hosts[*host].process.as_ref().map(|p| p.started);
            let running = (0..self.hosts.len()).filter(own).filter(|host| started(host).is_some());
            let Some(newest) = running.max_by_key(started) else { continue };
            let wanted: BTreeSet<IpAddr> = self.hosts[newest].claim.resolvers.iter().copied().collect();
            let wanted: BTreeSet<IpAddr> = wanted.into_iter().filter(|a| *a != IpAddr::from([10, 250, 0, 1])).collect();
            let identity = content::lb(n);
            for host in 0..self.size.bs {
                let at = self.oracle.alive(host).filter(|(id, prefix, _)| **id == identity && prefix.bits() == 32);
                let held: BTreeSet<IpAddr> = at.map(|(_, prefix, _)| prefix.address()).collect();
                let ready = self.hosts[host].b().is_some_and(|b| fit(b, &identity));
                if held != wanted || !ready {
                    let text = format!("{identity} has {held:?} of {wanted:?} at host {host}, fit: {ready}");
                    return Err((Invariant::Converged, text));
                }
            }
        }
        Ok(())
    }
}

/// Whether a dns-b has every reason to hand a DNS-LB out for `www`.
fn fit(b: &DnsB, identity: &Identity) -> bool {
    let directory = b.keeper.directory();
    let lb = directory.lb_of(identity).and_then(|index| directory.find_lb(index));
    let well = lb.is_some_and(|lb| lb.handed_out && lb.state == LbState::Alive && !lb.drained);
    let label = at_label("www", identity);
    well && b.ask(IpAddr::from(STRANGER), (&label, A), Role::Fallback).decision == Decision::Label
}

/// What a dns-b thinks of every DNS-LB, for who looks for the reason of a difference.
fn standing(b: &DnsB) -> String {
    let of = |(_, lb): (_, &dglb_core::directory::Lb)| {
        let handed = if lb.handed_out { ", handed out" } else { "" };
        let borrows = if lb.borrows.is_some() { ", borrows" } else { "" };
        format!("{} {:?}{handed}{borrows}", lb.identity, lb.state)
    };
    b.keeper.directory().lbs().map(of).collect::<Vec<_>>().join(", ")
}

fn editions_of_b(b: &DnsB, stranger: IpAddr) -> BTreeSet<u16> {
    let mut questions = vec![(content::name("edition"), Role::Referral)];
    questions.extend(SERVICES.map(|service| (content::name(service), Role::Referral)));
    for (_, lb) in b.keeper.directory().lbs().take(2) {
        questions.extend(["api", "www"].map(|service| (at_label(service, &lb.identity), Role::Fallback)));
    }
    let replies = questions.iter().map(|(name, role)| b.ask(stranger, (name, A), *role));
    replies.flat_map(|reply| reply.addresses).filter_map(content::edition_of).collect()
}
