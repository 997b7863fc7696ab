//! Certificates of whole daemons, as an operator handles them: real processes, certificates and lists made
//! by `dglbctl ca`, files that are followed. One POP is put out at once, and nothing else changes; renewed
//! certificates cost no link.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use dglb_scenarios::{
    Admin, Ground,
    binaries::{self, Program},
    chain::leads_to,
    configs::{self, Files, WWW, in_label},
    dns_a::DnsA,
    eventually,
    ground::dns,
    question::{Question, Reply},
    scenario,
    sites::Site,
    so,
    wait::LONG,
};
use hickory_proto::{op::ResponseCode, rr::RecordType};
use serde_json::Value;

/// Everybody who has a certificate.
const HOSTS: [(&str, &str); 5] =
    [("dns-b", "b1"), ("dns-b", "b2"), ("dns-lb", "lb1"), ("dns-lb", "lb2"), ("dns-a-sync", "sync")];

/// `dglbctl ca` with a directory of its own.
struct Ca(tempfile::TempDir);

impl Ca {
    fn new() -> Self {
        let ca = Self(tempfile::tempdir().unwrap());
        ca.run(&["init"]);
        for (role, identity) in HOSTS {
            ca.run(&["issue", "--role", role, "--identity", identity]);
        }
        ca
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join("ca")
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = binaries::command("dglbctl", [&["ca"], arguments].concat());
        command.env("DGLB_CA", self.directory());
        let output = binaries::run(command, LONG);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Where the files of a host are.
    fn host(&self, (role, identity): (&str, &str)) -> PathBuf {
        self.directory().join("hosts").join(format!("{role}-{identity}"))
    }
}

/// A daemon that runs as a process.
struct Process {
    admin: Admin,
    _program: Program,
    _files: Files,
}

impl Process {
    /// With the certificates that lie there.
    fn start(kind: &str, files: Files, certificates: &Path) -> Self {
        files.replace("'tls/", &format!("'{}/", certificates.display()));
        Self { admin: Admin::new(files.admin), _program: binaries::start(kind, &files), _files: files }
    }

    /// Its status; null until it runs.
    async fn status(&self) -> Value {
        match self.admin.fetch("/api/v1/status").await {
            Ok((_, text)) => serde_json::from_str(&text).unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }
}

struct Play {
    ground: Ground,
    servers: [Process; 2],
    lbs: [Process; 2],
    _rest: (DnsA, Vec<Site>, Process),
    /// Last, as its files are followed for as long as they run.
    ca: Ca,
}

impl Play {
    async fn start(ground: Ground) -> Self {
        let ca = Ca::new();
        let dns_a = DnsA::start(dns(ground.ip(241))).await;
        let mut sites = Vec::new();
        for n in 1..=2 {
            dns_a.set(&format!("s{n}"), &[ground.site(n)]);
            sites.push(Site::start(ground.site(n)).await);
        }
        let server = |n| Process::start("dns-b", configs::dns_b(&ground, n, 2, 2, ""), &ca.host(HOSTS[n as usize - 1]));
        let servers = [server(1), server(2)];
        let lb = |n| Process::start("dns-lb", configs::dns_lb(&ground, n, 2), &ca.host(HOSTS[n as usize + 1]));
        let lbs = [lb(1), lb(2)];
        let files = configs::dns_a_sync(&ground, dns(ground.ip(241)), 2, 2);
        let sync = Process::start("dns-a-sync", files, &ca.host(HOSTS[4]));
        let play = Self { ground, servers, lbs, _rest: (dns_a, sites, sync), ca };
        for server in &play.servers {
            eventually("both DNS-LBs are handed out", async || {
                let status = server.status().await;
                let lbs = status["dns_lbs"].as_array().cloned().unwrap_or_default();
                let fit = |lb: &&Value| lb["handed_out"] == true && lb["services_ranked"] == 1;
                so(lbs.iter().filter(fit).count() == 2 && status["filling"] == false, status)
            })
            .await;
        }
        play
    }

    /// How a dns-b answers the resolver of an ISP.
    async fn ask(&self, server: u8, isp: u8) -> Reply {
        Question::new(self.ground.isp(isp), WWW, RecordType::A).ask(dns(self.ground.referral(server))).await
    }

    /// What is handed out for a site.
    fn a_site(&self, reply: &Reply) {
        let addresses = reply.addresses();
        assert_eq!((reply.code(), addresses.len()), (ResponseCode::NoError, 1), "{reply:?}");
        assert!((1..=2).any(|n| addresses[0] == self.ground.site(n)), "{reply:?}");
    }
}

/// The links of a dns-b, by who is there, with the seconds that they are up.
fn links(status: &Value) -> Vec<(String, u64)> {
    let links = status["links"].as_array().cloned().unwrap_or_default();
    let link = |link: &Value| (link["identity"].as_str().unwrap().to_owned(), link["up_seconds"].as_u64().unwrap());
    let mut links: Vec<_> = links.iter().map(link).collect();
    links.sort();
    links
}

fn who(status: &Value) -> Vec<String> {
    links(status).into_iter().map(|(who, _)| who).collect()
}

#[test]
fn a_pop_is_put_out_at_once_and_nothing_else_changes() {
    scenario("revocation::a_pop_is_put_out_at_once_and_nothing_else_changes", async |ground| {
        let play = Play::start(ground).await;
        for server in 1..=2 {
            leads_to(&play.ask(server, 1).await, "lb1", 3_600);
        }
        let mut established = Vec::new();
        for server in &play.servers {
            assert_eq!(who(&server.status().await), ["lb1", "lb2", "sync"]);
            established.push(server.admin.counter("dglb_link_established_total").await);
        }

        play.ca.run(&["revoke", "--role", "dns-lb", "--identity", "lb1"]);
        let revoked = Instant::now();
        for (server, established) in play.servers.iter().zip(&established) {
            eventually("lb1's link is over", async || {
                let status = server.status().await;
                so(who(&status) == ["lb2", "sync"], status["links"].clone())
            })
            .await;
            println!("its link was over {:.1?} after its certificate was revoked", revoked.elapsed());
            eventually("it is refused when it comes again", async || {
                let refused = server.admin.counter("dglb_link_tls_failures_total{reason=\"revoked\"}").await;
                so(refused > 0, refused)
            })
            .await;
            let counters = server.admin.counters().await;
            assert_eq!((counters.of("dglb_link_revoked_total"), counters.of("dglb_link_up")), (1, 2));
            assert_eq!(counters.of("dglb_link_established_total"), *established, "no other link was made anew");
        }
        // It was told why, and what it hears since says the same.
        eventually("lb1 knows", async || {
            let status = play.lbs[0].status().await;
            let reasons = status["links"].as_array().cloned().unwrap_or_default();
            let knows = |link: &Value| link["reason"].as_str().is_some_and(|r| r.to_lowercase().contains("revoked"));
            so(reasons.len() == 2 && reasons.iter().all(knows), reasons)
        })
        .await;

        // Its clients are served on: with its name while its lease runs, by others' measurements after that.
        for server in 1..=2 {
            eventually("nobody is sent to lb1 any more", async || {
                let reply = play.ask(server, 1).await;
                assert_eq!(reply.code(), ResponseCode::NoError, "{reply:?}");
                let alias = reply.alias().map(|(target, _)| target.to_lowercase());
                so(alias.is_none_or(|target| !target.contains(".lb1.")), &reply)
            })
            .await;
            play.a_site(&play.ask(server, 1).await);
            let label = Question::new(play.ground.isp(1), &in_label("lb1"), RecordType::A);
            play.a_site(&label.ask(dns(play.ground.fallback(server))).await);
            leads_to(&play.ask(server, 2).await, "lb2", 3_600);
        }
    });
}

#[test]
fn certificates_are_renewed_without_losing_a_link() {
    scenario("revocation::certificates_are_renewed_without_losing_a_link", async |ground| {
        let play = Play::start(ground).await;
        let applied = "dglb_link_certificate_reloads_total{outcome=\"applied\"}";
        let left = "dglb_link_certificate_remaining_seconds{whose=\"own\"}";
        let daemons = [(HOSTS[0], &play.servers[0]), (HOSTS[2], &play.lbs[0])];
        let before = links(&play.servers[0].status().await);
        for ((role, identity), daemon) in daemons {
            assert!(daemon.admin.counter(left).await < 91 * 86_400);
            play.ca.run(&["renew", "--role", role, "--identity", identity, "--days", "300"]);
            eventually("the new certificate is shown", async || {
                let counters = daemon.admin.counters().await;
                so(counters.of(applied) == 1 && counters.of(left) > 200 * 86_400, counters.of(left))
            })
            .await;
        }
        // The links are those of before, and what was said over them stands.
        let server = &play.servers[0];
        let after = links(&server.status().await);
        assert_eq!(after.len(), 3);
        for ((was, before), (is, after)) in before.iter().zip(&after) {
            assert!(was == is && after >= before, "{before:?} {after:?}");
        }
        let counters = server.admin.counters().await;
        assert_eq!((counters.of("dglb_link_established_total"), counters.of("dglb_link_up")), (3, 3));
        assert_eq!(counters.of("dglb_leases_ended_total"), 0);
        leads_to(&play.ask(1, 1).await, "lb1", 3_600);
    });
}
