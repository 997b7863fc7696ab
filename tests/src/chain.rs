//! The whole chain on one ground: a DNS-A with its agent, sites, dns-bs, DNS-LBs.

use dglb_node::lifecycle::Daemon;
use dns_a_sync::DnsASync;
use dns_b::DnsB;
use dns_lb::DnsLb;
use hickory_proto::{op::ResponseCode, rr::RecordType};
use serde_json::Value;

use crate::{
    configs::{self, Files},
    dns_a::DnsA,
    ground::{Ground, dns},
    question::{Question, Reply},
    running::Running,
    sites::Site,
    wait::{eventually, so},
};

/// A running chain. dns-bs and DNS-LBs are counted from 1, as their names are.
#[derive(Debug)]
pub struct Chain {
    /// Where it plays.
    pub ground: Ground,
    /// The enterprise's server.
    pub dns_a: DnsA,
    /// The agent beside it.
    pub sync: Running<DnsASync>,
    /// The sites; the first is the cheapest, the last the customer's first.
    pub sites: Vec<Site>,
    servers: Vec<Member<DnsB>>,
    lbs: Vec<Member<DnsLb>>,
}

/// A daemon that may be down, and the files that it starts from.
#[derive(Debug)]
struct Member<D> {
    files: Files,
    running: Option<Running<D>>,
}

/// How many of what.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// dns-bs.
    pub servers: u8,
    /// DNS-LBs.
    pub lbs: u8,
    /// Sites.
    pub sites: u8,
}

impl Chain {
    /// Starts everything; `extra` gives more of the n-th dns-b's configuration.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(ground: Ground, size: Size, extra: impl Fn(&Ground, u8) -> String) -> Self {
        let dns_a = DnsA::start(dns(ground.ip(241))).await;
        let mut sites = Vec::new();
        for n in 1..=size.sites {
            dns_a.set(&format!("s{n}"), &[ground.site(n)]);
            sites.push(Site::start(ground.site(n)).await);
        }
        let (mut servers, mut lbs) = (Vec::new(), Vec::new());
        for n in 1..=size.servers {
            let files = configs::dns_b(&ground, n, size.servers, size.lbs, &extra(&ground, n));
            servers.push(Member { running: Some(Running::start(&files).await), files });
        }
        for n in 1..=size.lbs {
            let files = configs::dns_lb(&ground, n, size.servers);
            lbs.push(Member { running: Some(Running::start(&files).await), files });
        }
        let files = configs::dns_a_sync(&ground, dns(ground.ip(241)), size.servers, size.sites);
        let sync = Running::start(&files).await;
        Self { ground, dns_a, sync, sites, servers, lbs }
    }

    /// Starts everything and waits until every dns-b hands out every DNS-LB.
    ///
    /// # Panics
    /// When something does not start, or not in time.
    pub async fn settled(ground: Ground, size: Size, extra: impl Fn(&Ground, u8) -> String) -> Self {
        let chain = Self::start(ground, size, extra).await;
        chain.settle().await;
        chain
    }

    /// Waits until every dns-b that runs hands out every DNS-LB that runs, and expects no other.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn settle(&self) {
        for server in (1..=self.servers.len()).filter(|n| self.servers[n - 1].running.is_some()) {
            for lb in (1..=self.lbs.len()).filter(|n| self.lbs[n - 1].running.is_some()) {
                self.until_handed_out(server, lb).await;
            }
            eventually(&format!("b{server} waits for nobody more"), async || {
                let filling = self.b(server).status().await["filling"].clone();
                so(filling == false, filling)
            })
            .await;
        }
    }

    /// Waits until a dns-b hands out a DNS-LB for the service.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn until_handed_out(&self, server: usize, lb: usize) {
        eventually(&format!("b{server} hands out lb{lb}"), async || {
            let seen = self.seen_by(server, lb).await;
            let fit = seen["handed_out"] == true && seen["state"] == "alive" && seen["services_ranked"] == 1;
            so(fit, seen)
        })
        .await;
    }

    /// What a dns-b's status says of a DNS-LB; null if it does not know it.
    ///
    /// # Panics
    /// When the dns-b is down.
    pub async fn seen_by(&self, server: usize, lb: usize) -> Value {
        let status = self.b(server).status().await;
        let all = status["dns_lbs"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|seen| seen["identity"] == format!("lb{lb}")).unwrap_or_default()
    }

    /// A dns-b.
    ///
    /// # Panics
    /// When it is down.
    pub fn b(&self, n: usize) -> &Running<DnsB> {
        self.servers[n - 1].running.as_ref().expect("the dns-b runs")
    }

    /// A DNS-LB.
    ///
    /// # Panics
    /// When it is down.
    pub fn lb(&self, n: usize) -> &Running<DnsLb> {
        self.lbs[n - 1].running.as_ref().expect("the DNS-LB runs")
    }

    /// Stops a dns-b in good order.
    ///
    /// # Panics
    /// When it is down, or does not stop in time.
    pub async fn stop_b(&mut self, n: usize) {
        self.servers[n - 1].running.take().expect("the dns-b runs").stop().await;
    }

    /// Starts a dns-b again.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_b(&mut self, n: usize) {
        let member = &mut self.servers[n - 1];
        member.running = Some(Running::start(&member.files).await);
    }

    /// Changes the configuration file of a dns-b that runs, and has it read anew.
    ///
    /// # Panics
    /// When it is down, or does not take the change.
    pub fn reload_b(&mut self, n: usize, old: &str, new: &str) {
        let Member { files, running } = &mut self.servers[n - 1];
        files.replace(old, new);
        let config = DnsB::load(&files.main()).unwrap_or_else(|error| panic!("{error}")).value;
        running.as_mut().expect("the dns-b runs").daemon.reload(config).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Changes the configuration file of a dns-b, for its next start.
    ///
    /// # Panics
    /// When `old` is not in it.
    pub fn change_b(&self, n: usize, old: &str, new: &str) {
        self.servers[n - 1].files.replace(old, new);
    }

    /// Changes the configuration file of a DNS-LB, for its next start.
    ///
    /// # Panics
    /// When `old` is not in it.
    pub fn change_lb(&self, n: usize, old: &str, new: &str) {
        self.lbs[n - 1].files.replace(old, new);
    }

    /// Where a file of a dns-b is, beside its configuration.
    pub fn path_b(&self, n: usize, name: &str) -> String {
        self.servers[n - 1].files.path(name).display().to_string()
    }

    /// Where a file of a DNS-LB is, beside its configuration.
    pub fn path_lb(&self, n: usize, name: &str) -> std::path::PathBuf {
        self.lbs[n - 1].files.path(name)
    }

    /// Stops a DNS-LB in good order.
    ///
    /// # Panics
    /// When it is down, or does not stop in time.
    pub async fn stop_lb(&mut self, n: usize) {
        self.lbs[n - 1].running.take().expect("the DNS-LB runs").stop().await;
    }

    /// Starts a DNS-LB again.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_lb(&mut self, n: usize) {
        let member = &mut self.lbs[n - 1];
        member.running = Some(Running::start(&member.files).await);
    }

    /// Asks the referral address of a dns-b for IPv4 addresses, as the resolver of the n-th ISP.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn ask_b(&self, server: u8, isp: u8, name: &str) -> Reply {
        Question::new(self.ground.isp(isp), name, RecordType::A).ask(dns(self.ground.referral(server))).await
    }

    /// Asks the fall-back address of a dns-b for IPv4 addresses.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn ask_fallback(&self, server: u8, name: &str) -> Reply {
        Question::new(self.ground.isp(1), name, RecordType::A).ask(dns(self.ground.fallback(server))).await
    }

    /// Asks a DNS-LB for IPv4 addresses.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn ask_lb(&self, lb: u8, name: &str) -> Reply {
        Question::new(self.ground.isp(lb), name, RecordType::A).ask(dns(self.ground.lb(lb))).await
    }
}

/// No more in a dns-b's configuration than is there anyway.
pub fn nothing_more(_: &Ground, _: u8) -> String {
    String::new()
}

/// The reply leads into a DNS-LB's label zone, for so many seconds.
///
/// # Panics
/// When it does not.
pub fn leads_to(reply: &Reply, lb: &str, ttl: u32) {
    assert_eq!(reply.code(), ResponseCode::NoError);
    assert!(reply.is_authoritative());
    // The case of the question's letters comes back, in what is shared with it, too.
    let alias = reply.alias().map(|(target, ttl)| (target.to_lowercase(), ttl));
    assert_eq!(alias, Some((format!("{}.", configs::in_label(lb)), ttl)));
}
