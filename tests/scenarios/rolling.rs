//! The set of dns-bs and of fall-backs changes while clients look up through real resolvers: a dns-b
//! comes, the fall-back addresses of another change, a third goes. No look-up fails.
//!
//! The steps are those of `docs/operations.md`. Times to live are seconds, so that "one TTL later" is
//! within a test's patience; with an hour and a day it takes longer and is the same.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use dglb_ca::Ephemeral;
use dglb_lab::{
    HostSpec, Options, Signal, Topology, programs, sandbox,
    world::{DnsA, ISPS, Plan, Resolver, World},
};
use toml::Value;

/// How long a step may take until all have heard of it.
const SETTLE: Duration = Duration::from_secs(40);
/// Each look-up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two look-ups of a client.
const PACE: Duration = Duration::from_millis(200);
/// Seconds that NS sets of the zone, those of labels, and CNAMEs live.
const TTLS: [u64; 3] = [6, 4, 4];
/// After this, everything that was said before has left every cache. The last two seconds are for what was on its way
/// to one.
const ALL_FORGOTTEN: Duration = Duration::from_secs(TTLS[0] + TTLS[1] + TTLS[2] + 2);
/// Where dns-bs take map links.
const MAP_PORT: u16 = 5_300;

#[test]
fn the_fleet_changes_without_a_failed_look_up_by_unbound_and_bind() {
    let name = "rolling::the_fleet_changes_without_a_failed_look_up_by_unbound_and_bind";
    sandbox::run_test(name, || play([Resolver::Unbound, Resolver::Bind]));
}

#[test]
fn the_fleet_changes_without_a_failed_look_up_by_knot_and_powerdns() {
    let name = "rolling::the_fleet_changes_without_a_failed_look_up_by_knot_and_powerdns";
    sandbox::run_test(name, || play([Resolver::Knot, Resolver::PowerDns]));
}

fn play(resolvers: [Resolver; ISPS]) {
    let kinds = resolvers.map(Resolver::kind).into_iter().chain([DnsA::Bind.kind()]);
    let missing: Vec<String> = kinds.filter_map(|kind| programs::usable(kind).err()).map(|e| e.to_string()).collect();
    if !missing.is_empty() {
        return sandbox::skip(&missing.join("; "));
    }
    let mut plan = Plan::new(7);
    (plan.resolvers, plan.dns_a) = (resolvers, DnsA::Bind);
    let mut peers = String::new();
    let world = World::up_with(plan.clone(), &Options::default(), |topology| {
        peers = prepare(&plan, topology);
        certify(topology);
    });
    let world = world.unwrap_or_else(|error| panic!("{error}"));
    world.settle(SETTLE).unwrap();

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (world, over) = (&world, &over);
        let clients: Vec<_> = (0..ISPS).map(|isp| scope.spawn(move || look_up_until(world, isp, over))).collect();
        let fleet = Rolling { world };
        let rolled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            fleet.b3_comes(&peers);
            fleet.b1_answers_labels_elsewhere();
            fleet.b2_goes();
        }));
        over.store(true, Ordering::Relaxed);
        for (isp, client) in clients.into_iter().enumerate() {
            let (made, failed) = client.join().unwrap();
            assert!(failed.is_empty(), "{resolvers:?}: client{} of {made} look-ups: {failed:#?}", isp + 1);
            assert!(made > 100, "client{} made only {made} look-ups", isp + 1);
        }
        rolled.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Gives all daemons certificates of one authority, b3 among them.
fn certify(topology: &mut Topology) {
    let ca = Ephemeral::new().unwrap();
    for host in &mut topology.hosts {
        let Some(Value::Table(program)) = &mut host.program else { continue };
        let kind = program.get("kind").and_then(Value::as_str).unwrap_or_default();
        let Ok(name) = format!("dglb:{kind}:{}", host.name).parse() else { continue };
        if let Some(Value::Table(files)) = program.get_mut("files") {
            files.extend(ca.files(&name).unwrap().map(|(file, text)| (file.to_owned(), text.into())));
        }
    }
}

/// Looks up again and again; how often, and what failed.
fn look_up_until(world: &World, isp: usize, over: &AtomicBool) -> (u32, Vec<String>) {
    let (mut made, mut failed) = (0, Vec::new());
    let started = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let got = world.look_up(isp, world.qtype(), PATIENCE).unwrap();
        made += 1;
        if got.address().and_then(|a| world.site_of(a)).is_none() {
            failed.push(format!("at {:.1?}: {}", started.elapsed(), got.describe()));
        }
        thread::sleep(PACE.saturating_sub(began.elapsed()));
    }
    (made, failed)
}

/// Adds b3, which everybody dials and which has no `[[peer]]` yet; gives b1 a second fall-back address
/// of each family; makes all times to live short. Returns b3's peers.
fn prepare(plan: &Plan, topology: &mut Topology) -> String {
    let at = topology.hosts.iter().position(|h| h.name == "b2").expect("there is a b2");
    let mut b3 = HostSpec::new("b3", addresses(plan, "b3"));
    b3.program.clone_from(&topology.hosts[at].program);
    topology.hosts.insert(at + 1, b3);
    let dial = format!(
        "\n[[dns-b]]\nidentity = \"b3\"\naddress = \"{}\"\n",
        SocketAddr::new(plan.host_addresses("b3")[0], MAP_PORT)
    );
    let mut peers = String::new();
    for host in &mut topology.hosts {
        match host.name.as_str() {
            "b1" => {
                host.addresses.extend(new_fallback(plan));
                let all = plan.fallback_addresses("b1").into_iter().chain(new_fallback(plan));
                let all = format!("[dns]\nfallback = {}", list(all.map(|a| SocketAddr::new(a, 53))));
                edit(host, |config| config.replace("[dns]", &all));
            }
            "b3" => {
                for (b2, b3) in plan.host_addresses("b2").iter().zip(plan.host_addresses("b3")) {
                    for port in [MAP_PORT, 853, 443] {
                        let at = |address: IpAddr| SocketAddr::new(address, port).to_string();
                        edit(host, |config| config.replace(&at(*b2), &at(b3)));
                    }
                }
                edit(host, |config| {
                    let config = config.replace("identity = \"b2\"", "identity = \"b3\"");
                    let (mine, all) = config.split_at(config.find("[[peer]]").expect("b2 has peers"));
                    peers = all.to_owned();
                    // The default group's member is a peer, so it has to wait, too.
                    let (first, rest) = mine.split_once("[[default]]").expect("b2 has a default");
                    let (default, rest) = rest.split_at(rest.find("[admin]").expect("b2 has an admin endpoint"));
                    peers.push_str(&format!("\n[[default]]{default}"));
                    format!("{first}{rest}")
                });
            }
            "sync" => edit(host, |config| {
                let short = format!("style = \"sub-zone\"\ncname-ttl = \"{}s\"", TTLS[2]);
                format!("{}{dial}", config.replace("style = \"sub-zone\"", &short))
            }),
            "lb1" | "lb2" | "lb3" => edit(host, |config| format!("{config}{dial}")),
            _ => {}
        }
        if ["b1", "b2", "b3"].contains(&host.name.as_str()) {
            let all = if host.name == "b3" { &["b1", "b2", "b3"][..] } else { &["b1", "b2"] };
            let serial = if host.name == "b3" { 2 } else { 1 };
            let text = fleet(serial, all.iter().map(|b| (*b, plan.fallback_addresses(b))), plan);
            let program = host.program.as_mut().and_then(|p| p.get_mut("files")).expect("a dns-b has files");
            program.as_table_mut().expect("files").insert("fleet.toml".to_owned(), text.into());
        }
    }
    peers
}

fn addresses(plan: &Plan, server: &str) -> Vec<IpAddr> {
    plan.host_addresses(server).into_iter().chain(plan.fallback_addresses(server)).collect()
}

/// Where b1 answers labels from the second step on.
fn new_fallback(plan: &Plan) -> Vec<IpAddr> {
    let next = |address: IpAddr| match address {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + 1).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + 1).into()),
    };
    plan.fallback_addresses("b1").into_iter().map(next).collect()
}

fn edit(host: &mut HostSpec, change: impl FnOnce(&str) -> String) {
    let config = host.program.as_mut().and_then(|p| p.get_mut("config")).expect("a daemon has a configuration");
    let new = change(config.as_str().expect("a text"));
    *config = new.into();
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| format!("\"{}\"", i.to_string())).collect();
    format!("[{}]", items.join(", "))
}

fn fleet<'s>(serial: u32, servers: impl Iterator<Item = (&'s str, Vec<IpAddr>)>, plan: &Plan) -> String {
    let [apex, label, _] = TTLS;
    let mut text = format!(
        "serial = {serial}\noperator-zone = \"ops.test\"\nhostmaster = \"hostmaster.ops.test\"\n\
         [ttl]\napex-ns = {apex}\nlabel-ns = {label}\n"
    );
    for (server, fallback) in servers {
        let referral = list(plan.host_addresses(server));
        text.push_str(&format!(
            "[[dns-b]]\nidentity = \"{server}\"\nreferral = {referral}\nfallback = {}\n",
            list(fallback)
        ));
    }
    text
}

/// An operator at work.
struct Rolling<'w> {
    world: &'w World,
}

impl Rolling<'_> {
    fn plan(&self) -> &Plan {
        self.world.plan()
    }

    /// The new dns-b first learns all there is; only then do the others name it.
    fn b3_comes(&self, peers: &str) {
        let path = self.world.lab().host_dir("b3").unwrap().join("dns-b.toml");
        let alone = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{alone}\n{peers}")).unwrap();
        self.reload("b3");
        self.world.wait_handed_out_by("b3", SETTLE).unwrap();
        self.publish(2, &["b1", "b2", "b3"], &["b1", "b2"], &self.plan().fallback_addresses("b1"));
        self.world.wait_delegated_to(3, SETTLE).unwrap();
        self.dwell();
        assert!(self.answered("b3") > 0, "b3 was asked nothing");
    }

    /// It listens on both addresses; the document names the new one.
    fn b1_answers_labels_elsewhere(&self) {
        self.publish(3, &["b1", "b2", "b3"], &["b1", "b2", "b3"], &new_fallback(self.plan()));
        self.dwell();
    }

    /// The others name it no more; it answers until nobody remembers it.
    fn b2_goes(&self) {
        self.publish(4, &["b1", "b3"], &["b1", "b3"], &new_fallback(self.plan()));
        self.world.wait_delegated_to(2, SETTLE).unwrap();
        // It still has the document of before, and everybody says so.
        for lb in ["lb1", "lb2", "lb3"] {
            let disagreements = self.world.counter(lb, "dglb_lb_fleet_disagreements", "").unwrap();
            assert_eq!(disagreements, 1, "at {lb}");
        }
        self.dwell();
        let before = self.answered("b2");
        self.dwell();
        assert_eq!(self.answered("b2"), before, "somebody still remembers b2");
        self.world.lab().kill("b2", Signal::Kill).unwrap();
        self.dwell();
    }

    /// A new fleet document at `at`, taken over by every DNS-LB.
    fn publish(&self, serial: u32, named: &[&str], at: &[&str], b1: &[IpAddr]) {
        let plan = self.plan();
        let fallback = |b: &str| if b == "b1" { b1.to_vec() } else { plan.fallback_addresses(b) };
        let text = fleet(serial, named.iter().map(|b| (*b, fallback(b))), plan);
        for server in at {
            fs::write(self.world.lab().host_dir(server).unwrap().join("fleet.toml"), &text).unwrap();
            self.reload(server);
        }
        for server in at {
            self.holds(server, serial);
        }
        ["lb1", "lb2", "lb3"].iter().for_each(|lb| self.holds(lb, serial));
    }

    fn reload(&self, host: &str) {
        self.world.lab().kill(host, Signal::Hup).unwrap();
    }

    fn holds(&self, host: &str, serial: u32) {
        let what = format!("{host} holds the fleet document {serial}");
        let look = || {
            let status = self.world.status(host)?;
            Ok((status["fleet"]["serial"] == serial, status["fleet"].to_string()))
        };
        self.world.wait(&what, SETTLE, look).unwrap();
    }

    /// Questions that a server has answered, checks of DNS-LBs not among them.
    fn answered(&self, host: &str) -> u64 {
        self.world.counter(host, "dglb_dns_decisions_total", "").unwrap()
    }

    /// Until all caches have forgotten what they knew; the clients go on meanwhile.
    fn dwell(&self) {
        thread::sleep(ALL_FORGOTTEN);
    }
}
