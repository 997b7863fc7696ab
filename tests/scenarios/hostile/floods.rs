//! Peers with certificates that keep to the protocol and mean harm all the same: they say too much, or the
//! same again, or things out of order; or they write an octet a second, or never read. dns-b is the real
//! program here, so its memory can be looked at.

use std::time::{Duration, Instant};

use dglb_core::{
    catalogue::CatalogueUpdate,
    net::Prefix,
    proto::{
        Number,
        message::{
            BudgetAck, ByeReason, CatalogueAck, EntryKind, Map, MapEntry, Message, Nonce, PeerRole, Proof, ProofSecret,
            Ready, RefusedReason, Report, Resync, SeenOutcome, Unmap, Want,
        },
    },
    report::{Figures, Health, RankedSite, Ranking},
};
use dglb_scenarios::{
    Admin, Counters, Ground, LONG,
    binaries::{self, Program},
    configs::{self, Files, WWW, in_label},
    eventually,
    ground::dns,
    intruder::{End, Intruder},
    peer::Peer,
    question::Question,
    scenario, so,
};
use hickory_proto::rr::RecordType;
use tokio::io::AsyncWriteExt;

use super::{map, resident};

/// How long a change of the honest peer may take to show, on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(20);
/// What a flood may cost, in KiB.
const MEMORY: u64 = 96 << 10;

/// dns-b, who publishes to it, and an honest DNS-LB that is played.
struct World {
    ground: Ground,
    _files: Files,
    process: Program,
    admin: Admin,
    _publisher: Peer,
    honest: Peer,
    generation: u64,
    before: Counters,
}

impl World {
    /// With these lines in `[map.quota]`.
    async fn new(ground: Ground, quota: &str) -> Self {
        let mut extra = format!("[map.quota]\n{quota}\n");
        for n in 1..=3 {
            extra += &format!("[[peer]]\nidentity = 'evil{n}'\nrole = 'dns-lb'\nmay-map = ['10.{}.0.0/16']\n", 100 + n);
        }
        extra += "[[peer]]\nidentity = 'evil-sync'\nrole = 'dns-a-sync'\nmay-publish = ['evil.test']\n";
        let files = configs::dns_b(&ground, 1, 1, 1, &extra);
        // Nobody answers at the honest one's address. Until that has shown it counts as well.
        files.replace("interval = '500ms'\ntimeout = '2s'\nfall = 3", "fall = 100");
        let process = binaries::start("dns-b", &files);
        let admin = Admin::new(files.admin);
        eventually("dns-b runs", async || admin.fetch("/livez").await.map(drop)).await;
        let publisher = Peer::publisher(ground.map(1), &configs::catalogue(&ground, 2, 1)).await;
        let honest = Peer::dial(ground.map(1), "lb1", PeerRole::DnsLb).await;
        let before = admin.counters().await;
        let mut world =
            Self { ground, _files: files, process, admin, _publisher: publisher, honest, generation: 0, before };
        world.honest_reports(0).await;
        world.honest_maps(true).await;
        world.before = world.admin.counters().await;
        world
    }

    async fn hostile(&self, n: u8) -> Intruder {
        Intruder::established(self.ground.ip(99), self.ground.map(1), &format!("evil{n}"), PeerRole::DnsLb).await
    }

    /// The honest DNS-LB comes to its ISP's resolver, or leaves it for another; how long it takes until
    /// whoever asks from there is answered otherwise.
    async fn honest_maps(&mut self, beside: bool) -> Duration {
        self.generation += 1;
        let (generation, begin, isp) = (self.generation, Instant::now(), self.ground.isp(1));
        let resolver = if beside { isp } else { [10, 1, 0, 1].into() };
        self.honest.say(Message::Map(map(generation, &[resolver])));
        eventually("its MAP decides", async || {
            // It is beside the resolver, though not handed out: it is a name that nobody checks.
            let before = self.admin.decisions("direct").await;
            Question::new(isp, WWW, RecordType::A).ask(dns(self.ground.referral(1))).await;
            let direct = self.admin.decisions("direct").await - before;
            so((direct == 1) == beside, direct)
        })
        .await;
        let took = begin.elapsed();
        let ack = |m| if let Message::MapAck(ack) = m { (ack.generation == generation).then_some(ack) } else { None };
        let ack = self.honest.hear("MAP-ACK", ack).await;
        assert_eq!((ack.accepted, ack.refused.len()), (1, 0), "{ack:?}");
        took
    }

    /// The honest DNS-LB's report decides what is answered in its name.
    async fn honest_reports(&mut self, best: usize) -> Duration {
        self.generation += 1;
        let begin = Instant::now();
        let site = |place: usize| {
            let n = 1 + (place + best) % 2;
            let address = self.ground.site(n as u8);
            let figures = Figures { address, health: Health::Up, latency_us: Some(1_000 * (1 + place as u32)) };
            RankedSite { site: format!("s{n}"), score: Some(place as f64), addresses: vec![figures], share: 0 }
        };
        let ranking = Ranking {
            service: WWW.parse().unwrap(),
            catalogue: 1,
            sites: (0..2).map(site).collect(),
            unsettled: false,
        };
        let report = Report { generation: self.generation, base: 0, rankings: vec![ranking], removed: vec![] };
        self.honest.say(Message::Report(report));
        let wanted = [self.ground.site(1 + best as u8)];
        let fallback = dns(self.ground.fallback(1));
        eventually("its ranking is answered", async || {
            let reply = Question::new(self.ground.isp(1), &in_label("lb1"), RecordType::A).ask(fallback).await;
            so(reply.addresses() == wanted, reply.addresses())
        })
        .await;
        begin.elapsed()
    }

    /// A change of the honest one shows soon, and questions are answered.
    async fn undisturbed(&mut self) {
        let left = self.honest_maps(false).await;
        let came = self.honest_maps(true).await;
        let reported = [self.honest_reports(1).await, self.honest_reports(0).await];
        let longest = reported.into_iter().chain([left, came]).max().unwrap();
        println!("a change of the honest one shows within {longest:?}");
        assert!(longest < SOON, "{longest:?}");
    }

    /// How much a counter has grown.
    async fn grown(&self, series: &str) -> u64 {
        self.admin.counter(series).await - self.before.of(series)
    }

    /// Waits until so much more is counted of each.
    async fn counted(&self, wanted: &[(&str, u64)]) {
        eventually("everything is counted", async || {
            let now = self.admin.counters().await;
            let grown: Vec<_> =
                wanted.iter().map(|(series, _)| (*series, now.of(series) - self.before.of(series))).collect();
            so(grown == wanted, grown)
        })
        .await;
    }
}

/// Something that costs whoever takes it in more than who says it.
fn flood(n: u64) -> Vec<Message> {
    let name = |text: String| text.parse().unwrap();
    let entry = |k: u16| MapEntry {
        prefix: Prefix::host([10, (n % 250) as u8, (k / 250) as u8, (k % 250) as u8].into()),
        kind: EntryKind::Resolver,
        preference: 1,
        weight: 1,
    };
    let ranking = |k: u64| Ranking {
        service: name(format!("s{}.nowhere.test", n * 50 + k)),
        catalogue: 1,
        sites: vec![],
        unsettled: false,
    };
    let addresses = vec![[127, 0, 0, (n % 250) as u8].into()];
    vec![
        Message::Map(Map { generation: n, lease_ms: 60_000, addresses, entries: (0..300).map(entry).collect() }),
        Message::Report(Report { generation: n, base: 0, rankings: (0..50).map(ranking).collect(), removed: vec![] }),
        Message::Resync(Resync::Catalogue { zone: name(configs::ZONE.to_owned()), held: 0 }),
        Message::Want(Want { service: name(WWW.to_owned()) }),
        Message::Proof(Proof { nonce: Nonce([n as u8; 16]), secret: ProofSecret(vec![1; 64]) }),
        Message::BudgetAck(BudgetAck { generation: n }),
    ]
}

#[test]
fn who_floods_within_its_rights_is_held_back_and_then_told_to_leave() {
    scenario("hostile::floods::who_floods_within_its_rights_is_held_back_and_then_told_to_leave", async |ground| {
        // A burst of 2 000 frames, then 20 a second.
        let mut world =
            World::new(ground, "frames-per-second = 20\npatience = '8s'\nentries = 100\nservices = 40").await;
        let resident_before = resident(world.process.id());
        let evil = world.hostile(1).await;
        let (mut reader, mut writer) = tokio::io::split(evil.stream);
        // It reads, or it would be closed for that.
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        let flooding = tokio::spawn(async move {
            for n in 1.. {
                for message in flood(n) {
                    let encoded = message.encode().unwrap();
                    let length = u32::try_from(4 + encoded.body().len()).unwrap().to_be_bytes();
                    let header = [&length[..], &encoded.number().0.to_be_bytes(), &[0, 0]].concat();
                    if writer.write_all(&[&header[..], encoded.body()].concat()).await.is_err() {
                        return n;
                    }
                }
                if writer.flush().await.is_err() {
                    return n;
                }
            }
            0
        });
        eventually("it is held back", async || {
            let throttled = world.grown("dglb_link_throttled_total").await;
            so(throttled > 0, throttled)
        })
        .await;
        for _ in 0..5 {
            world.undisturbed().await;
        }
        let said = tokio::time::timeout(LONG, flooding).await.expect("it is told to leave").unwrap();
        assert!(said >= 300, "{said} rounds until it was");
        reading.abort();
        eventually("that is counted", async || {
            let counters = world.admin.counters().await;
            let ends = (counters.of("dglb_link_over_quota_total"), counters.of("dglb_link_violations_total"));
            so(ends == (1, 0), ends)
        })
        .await;
        eventually("what was too much is counted", async || {
            let mut counts = Vec::new();
            for quota in ["entries", "services", "proofs", "asked"] {
                counts.push(world.grown(&format!("dglb_over_quota_total{{quota=\"{quota}\"}}")).await);
            }
            so(counts.iter().all(|count| *count > 0), counts)
        })
        .await;
        let grown = resident(world.process.id()).saturating_sub(resident_before);
        assert!(grown < MEMORY, "{grown} KiB more");
        world.undisturbed().await;
        assert_eq!(world.grown("dglb_link_timed_out_total").await, 0);
    });
}

#[test]
fn what_is_said_again_or_out_of_order_changes_nothing() {
    scenario("hostile::floods::what_is_said_again_or_out_of_order_changes_nothing", async |ground| {
        let mut world = World::new(ground, "").await;
        let mut evil = world.hostile(1).await;
        // Before anything that it could be about.
        let zone: dglb_core::name::Name = configs::ZONE.parse().unwrap();
        let servers = vec!["b1".parse().unwrap()];
        evil.say(&Message::Ready(Ready { map_generation: 7, servers })).await;
        evil.say(&Message::BudgetAck(BudgetAck { generation: 9 })).await;
        let ack = CatalogueAck { zone: zone.clone(), generation: 5, held: 5, refused: None };
        evil.say(&Message::CatalogueAck(ack)).await;
        evil.say(&Message::Unmap(Unmap { generation: 0, prefixes: vec![] })).await;
        let proof = Message::Proof(Proof { nonce: Nonce([9; 16]), secret: ProofSecret(vec![1]) });
        evil.say(&proof).await;
        let mut refused = 0;
        while refused == 0 {
            if let Some(Message::Seen(seen)) = evil.next().await {
                let SeenOutcome::Refused { reason, .. } = seen.outcome else { panic!("{seen:?}") };
                assert_eq!(reason, RefusedReason::UnknownNonce);
                refused += 1;
            }
        }
        // A MAP, then an older one, then both again and again, octet by octet the same.
        let new = evil.frame(Number::MAP.0, Message::Map(map(5, &[[10, 101, 0, 1].into()])).encode().unwrap().body());
        let old = evil.frame(Number::MAP.0, Message::Map(map(4, &[[10, 101, 0, 2].into()])).encode().unwrap().body());
        for _ in 0..50 {
            evil.send(&[&new[..], &old].concat()).await;
        }
        let mut acks = (0, 0);
        while acks.0 + acks.1 < 100 {
            match evil.next().await {
                Some(Message::MapAck(ack)) if ack.refused.is_empty() => {
                    assert_eq!(ack.accepted, 1);
                    acks.0 += 1;
                }
                Some(Message::MapAck(ack)) => {
                    assert_eq!(ack.refused[0].reason, RefusedReason::Stale);
                    acks.1 += 1;
                }
                Some(_) => {}
                None => panic!("thrown out"),
            }
        }
        assert_eq!(acks, (50, 50));
        // COMMIT without BEGIN, however well everything went until then.
        let commit = evil.frame(Number::COMMIT.0, &[]);
        evil.send(&commit).await;
        assert_eq!(evil.end().await, End::Bye(ByeReason::Protocol));
        let wanted = [
            ("dglb_link_violations_total", 1),
            ("dglb_stale_messages_total", 1 + 50),
            ("dglb_proofs_refused_total{reason=\"unknown-nonce\"}", 1),
        ];
        world.counted(&wanted).await;
        world.undisturbed().await;
    });
}

#[test]
fn who_writes_an_octet_a_second_or_never_reads_is_let_go() {
    scenario("hostile::floods::who_writes_an_octet_a_second_or_never_reads_is_let_go", async |ground| {
        let mut world = World::new(ground, "").await;
        let resident_before = resident(world.process.id());
        let mut slow = world.hostile(1).await;
        let frame = slow.frame(Number::MAP.0, Message::Map(map(1, &[])).encode().unwrap().body());
        let trickle = tokio::spawn(async move {
            // All but the last octet: the frame is never whole.
            for at in 0..frame.len() - 1 {
                slow.send(&frame[at..=at]).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            slow.end().await
        });
        // It asks for answers that are larger than its questions, and takes none of them.
        let mut deaf = world.hostile(2).await;
        let entry = |k: u32| MapEntry {
            prefix: Prefix::host(std::net::Ipv4Addr::from_bits(0x0a01_0000 + k).into()),
            kind: EntryKind::Client,
            preference: 1,
            weight: 1,
        };
        let entries: Vec<MapEntry> = (0..3_000).map(entry).collect();
        let deafness = tokio::spawn(async move {
            for generation in 1..=300 {
                let entries = entries.clone();
                deaf.say(&Message::Map(Map { generation, lease_ms: 60_000, addresses: vec![], entries })).await;
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
            drop(deaf);
        });
        let ended = async |series: &'static str| {
            eventually(series, async || {
                let count = world.admin.counter(series).await;
                so(count == 1, count)
            })
            .await;
        };
        ended("dglb_link_timed_out_total").await;
        ended("dglb_link_slow_total").await;
        assert_eq!(trickle.await.unwrap(), End::Bye(ByeReason::TimedOut));
        let grown = resident(world.process.id()).saturating_sub(resident_before);
        assert!(grown < MEMORY, "{grown} KiB more");
        deafness.abort();
        world.undisturbed().await;
        assert_eq!(world.grown("dglb_link_violations_total").await, 0);
    });
}

#[test]
fn a_dns_lb_says_nothing_long_and_a_publisher_publishes_no_more_than_it_may() {
    let name = "hostile::floods::a_dns_lb_says_nothing_long_and_a_publisher_publishes_no_more_than_it_may";
    scenario(name, async |ground| {
        let mut world = World::new(ground, "message = '1MiB'\nservices = 10").await;
        let mut evil = world.hostile(1).await;
        // REPORT, of 1 MiB and an octet.
        let begin = evil.frame(Number::BEGIN.0, &[0x08, 0x30, 0x10, 0x81, 0x80, 0x40]);
        evil.send(&begin).await;
        assert_eq!(evil.end().await, End::Bye(ByeReason::Protocol));
        // Who publishes may; and not more than its share in the end.
        let mut sync = Peer::dial(world.ground.map(1), "evil-sync", PeerRole::DnsASync).await;
        let mut zone = configs::catalogue(&world.ground, 1, 1);
        zone.zone = "evil.test".parse().unwrap();
        let service = zone.services.remove(0);
        let named = |n: usize| dglb_core::catalogue::Service {
            name: format!("s{n}.evil.test").parse().unwrap(),
            host: format!("host{n}.evil-host.test").parse().unwrap(),
            ..service.clone()
        };
        for (generation, services, refused) in [(1, 10, false), (2, 11, true), (3, 9, false)] {
            let services = (0..services).map(named).collect();
            let news = dglb_core::catalogue::ZoneCatalogue { generation, services, ..zone.clone() };
            sync.say(Message::Catalogue(Box::new(CatalogueUpdate::Snapshot(news))));
            let ack = |m| if let Message::CatalogueAck(ack) = m { Some(ack) } else { None };
            let ack = sync.hear("CATALOGUE-ACK", ack).await;
            assert_eq!(ack.refused.is_some(), refused, "{ack:?}");
        }
        let wanted = [("dglb_over_quota_total{quota=\"services\"}", 1), ("dglb_link_violations_total", 1)];
        world.counted(&wanted).await;
        world.undisturbed().await;
    });
}
