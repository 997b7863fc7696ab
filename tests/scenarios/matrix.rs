//! The whole chain with real resolvers as DNS-ISP and real BIND as DNS-A: every resolver with every
//! fault, in both zone styles, in every address family, with and without query-name minimisation.
//! Pairwise, not all combinations; each topology is booted once for all its checks.

use std::{
    collections::HashSet,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use dglb_lab::{
    Options, Signal, programs, sandbox,
    world::{DnsA, Families, ISPS, Plan, Resolver, Style, World, site},
};
use hickory_proto::rr::{RData, RecordType, rdata::svcb::SvcParamValue};

/// One topology: the resolvers of ISP 1, whose DNS-LB is killed, and of ISP 2, whose DNS-LB's host
/// is cut off without a word.
#[derive(Clone, Copy, Debug)]
struct Case {
    resolvers: [Resolver; ISPS],
    qmin: [&'static str; ISPS],
    style: Style,
    families: Families,
    /// Whether b1 is down as well.
    dns_b_down: bool,
}

use Families::{Dual, V4, V6};
use Resolver::{Bind, Knot, PowerDns, Unbound};
use Style::{Host, SubZone};

const fn case(
    resolvers: [Resolver; ISPS],
    qmin: [&'static str; ISPS],
    style: Style,
    families: Families,
    dns_b_down: bool,
) -> Case {
    Case { resolvers, qmin, style, families, dns_b_down }
}

/// `every_pair_is_covered` says what this list must hold.
const CASES: [Case; 12] = [
    case([Unbound, Bind], ["on", "on"], SubZone, Dual, false),
    case([Bind, Knot], ["off", "on"], Host, V4, false),
    case([Knot, PowerDns], ["off", "on"], SubZone, V6, false),
    case([PowerDns, Unbound], ["off", "off"], Host, Dual, false),
    case([Unbound, Knot], ["strict", "on"], SubZone, V4, true),
    case([Knot, Bind], ["on", "strict"], Host, Dual, true),
    case([Bind, PowerDns], ["on", "on"], SubZone, V6, true),
    case([PowerDns, Unbound], ["on", "on"], Host, V6, true),
    case([Unbound, PowerDns], ["on", "off"], Host, V4, false),
    case([PowerDns, Knot], ["on", "off"], SubZone, Dual, true),
    case([Bind, Unbound], ["strict", "off"], SubZone, V6, true),
    case([Knot, Bind], ["on", "on"], Host, V4, false),
];

/// How long a topology may take until all its parts have found each other.
const SETTLE: Duration = Duration::from_secs(40);
/// After the death of a site: at most one probe interval (1 s) until the first failure, as much
/// until the immediate re-probe, half a second's patience for each, one address TTL (1 s). The rest
/// is for a loaded machine.
const FAILOVER: Duration = Duration::from_secs(20);
/// Each look-up after a DNS-LB is gone: 5 s are meant (design section 3), and a busy machine gets three times that.
const PATIENCE: Duration = Duration::from_secs(15);
/// Look-ups after a DNS-LB is gone, a second apart.
const LOOK_UPS: u32 = 25;
/// How long a resolver is given to ask a DNS-LB again that came back. Resolvers go easy on servers
/// that were dead, each in its own way and some for many minutes (BIND after an ICMP port
/// unreachable, Unbound until `infra-host-ttl`); meanwhile the fall-backs answer as before.
const PATIENT: Duration = Duration::from_secs(10);
/// Then it is restarted, as if that memory had lapsed.
const TAKE_OVER: Duration = Duration::from_secs(20);

macro_rules! cases {
    ($($name:ident = $number:literal,)*) => {
        $(#[test]
        fn $name() {
            sandbox::run_test(concat!("matrix::", stringify!($name)), || play($number));
        })*
    };
}

cases! {
    case_01 = 0, case_02 = 1, case_03 = 2, case_04 = 3, case_05 = 4, case_06 = 5,
    case_07 = 6, case_08 = 7, case_09 = 8, case_10 = 9, case_11 = 10, case_12 = 11,
}

#[test]
fn every_pair_is_covered() {
    let mut seen = HashSet::new();
    for case in CASES {
        for (isp, resolver) in case.resolvers.into_iter().enumerate() {
            let fault = if isp == 0 { "killed" } else { "cut off" };
            seen.insert(format!("{resolver:?} {:?}", case.style));
            seen.insert(format!("{resolver:?} {:?}", case.families));
            seen.insert(format!("{resolver:?} {}", case.qmin[isp]));
            seen.insert(format!("{resolver:?} {fault} {}", case.dns_b_down));
        }
        seen.insert(format!("{:?} {:?}", case.style, case.families));
        seen.insert(format!("{:?} {}", case.style, case.dns_b_down));
        seen.insert(format!("{:?} {}", case.families, case.dns_b_down));
    }
    let mut wanted = HashSet::new();
    for resolver in Resolver::REAL {
        wanted.extend([SubZone, Host].map(|s| format!("{resolver:?} {s:?}")));
        wanted.extend([V4, V6, Dual].map(|f| format!("{resolver:?} {f:?}")));
        wanted.extend(["on", "off"].map(|q| format!("{resolver:?} {q}")));
        for fault in ["killed", "cut off"] {
            wanted.extend([true, false].map(|down| format!("{resolver:?} {fault} {down}")));
        }
    }
    wanted.extend(["Unbound strict".to_owned(), "Bind strict".to_owned()]);
    for family in [V4, V6, Dual] {
        wanted.extend([true, false].map(|down| format!("{family:?} {down}")));
        wanted.extend([SubZone, Host].map(|s| format!("{s:?} {family:?}")));
    }
    for style in [SubZone, Host] {
        wanted.extend([true, false].map(|down| format!("{style:?} {down}")));
    }
    let missing: Vec<_> = wanted.difference(&seen).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn play(number: usize) {
    let case = CASES[number];
    let kinds = case.resolvers.map(Resolver::kind).into_iter().chain([DnsA::Bind.kind()]);
    let missing: Vec<String> = kinds.filter_map(|kind| programs::usable(kind).err()).map(|e| e.to_string()).collect();
    if !missing.is_empty() {
        return sandbox::skip(&missing.join("; "));
    }
    let mut plan = Plan::new(number as u64);
    (plan.resolvers, plan.qmin, plan.dns_a) = (case.resolvers, case.qmin, DnsA::Bind);
    (plan.style, plan.families) = (case.style, case.families);
    let world = World::up(plan, &Options::default()).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    let play = Play { world: &world, case };
    let settled = world.settle(SETTLE).unwrap();
    play.say(format!("settled after {settled:.1?}"));
    play.everybody_gets_the_best_site();
    play.a_dead_site_is_avoided();
    play.dns_lbs_die();
    play.dns_lbs_take_over_again();
    if case.dns_b_down {
        play.a_cold_look_up_without_a_dns_b();
    }
    play.a_dns_b_comes_back();
}

fn hints(value: &SvcParamValue) -> Vec<IpAddr> {
    match value {
        SvcParamValue::Ipv4Hint(list) => list.0.iter().map(|a| a.0.into()).collect(),
        SvcParamValue::Ipv6Hint(list) => list.0.iter().map(|a| a.0.into()).collect(),
        _ => vec![],
    }
}

struct Play<'w> {
    world: &'w World,
    case: Case,
}

impl Play<'_> {
    /// Shown when the test fails, or with `--nocapture`.
    fn say(&self, what: impl AsRef<str>) {
        let [a, b] = self.case.resolvers;
        println!("{a:?}/{b:?} {:?} {:?}: {}", self.case.style, self.case.families, what.as_ref());
    }

    fn types(&self) -> &'static [RecordType] {
        match self.case.families {
            V4 => &[RecordType::A],
            V6 => &[RecordType::AAAA],
            Dual => &[RecordType::A, RecordType::AAAA],
        }
    }

    fn best(&self, isp: usize) -> usize {
        self.world.plan().distances().best(isp, |_| true)
    }

    /// Which site an ISP's client is sent to, or why to none.
    fn sent_to(&self, isp: usize, rtype: RecordType) -> Result<usize, String> {
        let got = self.world.look_up(isp, rtype, PATIENCE).unwrap();
        got.address().and_then(|a| self.world.site_of(a)).ok_or_else(|| got.describe())
    }

    fn everybody_gets_the_best_site(&self) {
        for isp in 0..ISPS {
            for rtype in self.types() {
                assert_eq!(self.sent_to(isp, *rtype), Ok(self.best(isp)), "{:?} ISP {} {rtype}", self.case, isp + 1);
            }
        }
        (0..ISPS).for_each(|isp| self.its_https_record_names_it(isp));
        // By the right road: the map matched for each ISP's resolver.
        let mapped = |server| self.world.counter(server, "dglb_dns_decisions_total", "decision=\"mapped\"").unwrap();
        let mapped = mapped("b1") + mapped("b2");
        assert!(mapped >= ISPS as u64, "{:?}: the map matched {mapped} times", self.case);
    }

    /// Every resolver hands the HTTPS record on, with the addresses of the ISP's best site as hints.
    fn its_https_record_names_it(&self, isp: usize) {
        let got = self.world.look_up(isp, RecordType::HTTPS, PATIENCE).unwrap();
        let records = got.reply.iter().flat_map(|reply| &reply.answers);
        let params = records.filter_map(|record| match &record.data {
            RData::HTTPS(https) => Some(&https.svc_params),
            _ => None,
        });
        let hints: Vec<IpAddr> = params.flatten().flat_map(|(_, value)| hints(value)).collect();
        let best = self.world.plan().host_addresses(&site(self.best(isp)));
        assert_eq!(hints, best, "{:?} ISP {}: {:?}", self.case, isp + 1, got.reply);
    }

    fn a_dead_site_is_avoided(&self) {
        let dead = self.best(0);
        let next = self.world.plan().distances().best(0, |s| s != dead);
        self.world.lab().kill(&site(dead), Signal::Kill).unwrap();
        self.moves_to(next, FAILOVER);
        assert_eq!(self.sent_to(1, self.world.qtype()), Ok(self.best(1)), "the other ISP's site lives");
        self.world.lab().start(&site(dead)).unwrap();
        self.moves_to(dead, FAILOVER);
    }

    fn moves_to(&self, wanted: usize, within: Duration) {
        let what = format!("client1 is sent to {}", site(wanted));
        let took = self.world.wait(&what, within, || {
            let at = self.sent_to(0, self.world.qtype());
            Ok((at == Ok(wanted), format!("{at:?}")))
        });
        self.say(format!("{what} after {:.1?}", took.unwrap()));
    }

    /// With warm caches: nobody may notice but by the resolver's retry, and the answers stay those
    /// of the DNS-LB that is gone.
    fn dns_lbs_die(&self) {
        let lab = self.world.lab();
        (0..ISPS).for_each(|isp| assert!(self.sent_to(isp, self.world.qtype()).is_ok()));
        lab.kill("lb1", Signal::Kill).unwrap();
        lab.cut_host("lb2").unwrap();
        if self.case.dns_b_down {
            lab.kill("b1", Signal::Kill).unwrap();
        }
        thread::scope(|scope| {
            let watched: Vec<_> =
                (0..ISPS).map(|isp| scope.spawn(move || self.look_ups_without_a_failure(isp))).collect();
            watched.into_iter().for_each(|w| w.join().unwrap());
        });
    }

    fn look_ups_without_a_failure(&self, isp: usize) {
        let mut slowest = Duration::ZERO;
        let mut wrong = Vec::new();
        for n in 1..=LOOK_UPS {
            let started = Instant::now();
            let got = self.world.look_up(isp, self.world.qtype(), PATIENCE).unwrap();
            slowest = slowest.max(got.took);
            if got.address().and_then(|a| self.world.site_of(a)) != Some(self.best(isp)) {
                wrong.push(format!("{n}: {}", got.describe()));
            }
            thread::sleep(Duration::from_secs(1).saturating_sub(started.elapsed()));
        }
        self.say(format!("client{}: the slowest of {LOOK_UPS} look-ups took {slowest:.2?}", isp + 1));
        assert!(wrong.is_empty(), "{:?} ISP {}: {wrong:?}", self.case, isp + 1);
        assert!(slowest < PATIENCE, "{:?} ISP {}: {slowest:?}", self.case, isp + 1);
    }

    /// Shown by the DNS-LBs' own query counters.
    fn dns_lbs_take_over_again(&self) {
        let lab = self.world.lab();
        lab.heal_host("lb2").unwrap();
        let before = self.answered("lb2");
        lab.start("lb1").unwrap();
        thread::scope(|scope| {
            let waits = [(0, "lb1", 0), (1, "lb2", before)];
            let waits = waits.map(|(isp, lb, before)| scope.spawn(move || self.takes_over(isp, lb, before)));
            waits.into_iter().for_each(|w| w.join().unwrap());
        });
    }

    fn answered(&self, lb: &str) -> u64 {
        self.world.counter(lb, "dglb_dns_decisions_total", "decision=\"label\"").unwrap()
    }

    fn takes_over(&self, isp: usize, lb: &str, before: u64) {
        let what = format!("{lb} answers its ISP's resolver again");
        let look = || {
            let got = self.world.look_up(isp, self.world.qtype(), PATIENCE)?;
            assert!(got.succeeded(), "{:?}: while {lb} comes back: {}", self.case, got.describe());
            self.world.murmur(isp, 5)?;
            let now = self.answered(lb);
            Ok((now > before, format!("{now} answers after {before}")))
        };
        if let Ok(took) = self.world.wait(&what, PATIENT, look) {
            return self.say(format!("{what} after {took:.1?}"));
        }
        self.world.lab().restart(&format!("isp{}", isp + 1)).unwrap();
        let took = self.world.wait(&what, TAKE_OVER, look).unwrap();
        self.say(format!("{what} {took:.1?} after that forgot its death"));
    }

    /// A resolver that has nothing in its cache finds its way without b1.
    fn a_cold_look_up_without_a_dns_b(&self) {
        for isp in 0..ISPS {
            self.world.lab().restart(&format!("isp{}", isp + 1)).unwrap();
            let got = self.world.look_up(isp, self.world.qtype(), PATIENCE).unwrap();
            self.say(format!("a cold look-up without b1 took {:.2?}", got.took));
            assert!(got.succeeded(), "{:?} ISP {}: {}", self.case, isp + 1, got.describe());
        }
    }

    /// Killed (or killed already) and started again: it learns everything anew.
    fn a_dns_b_comes_back(&self) {
        let lab = self.world.lab();
        lab.kill("b1", Signal::Kill).unwrap();
        (0..ISPS).for_each(|isp| assert!(self.sent_to(isp, self.world.qtype()).is_ok()));
        lab.start("b1").unwrap();
        let took = self.world.wait_handed_out(SETTLE).unwrap();
        self.say(format!("b1 hands out every DNS-LB again after {took:.1?}"));
        (0..ISPS).for_each(|isp| assert_eq!(self.sent_to(isp, self.world.qtype()), Ok(self.best(isp))));
    }
}
