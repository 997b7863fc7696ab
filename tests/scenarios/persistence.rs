//! What outlives a restart, an end without warning, and a second process.

use std::time::{Duration, Instant};

use dglb_core::{
    net::Prefix,
    proto::message::{EntryKind, Map, MapEntry, Message, PeerRole},
};
use dglb_scenarios::{
    Chain, Ground, Size, binaries,
    chain::leads_to,
    configs::{self, ADDRESS_TTL, Files, WWW, in_label},
    eventually,
    ground::dns,
    peer::Peer,
    question::Question,
    scenario, so,
};
use hickory_proto::rr::RecordType;

/// Beside the configuration file.
const HERE: &str = "state-dir = '.'";

fn here(_: &Ground, _: u8) -> String {
    HERE.to_owned()
}

#[test]
fn a_dns_b_answers_from_its_store_before_anybody_is_back() {
    scenario("persistence::a_dns_b_answers_from_its_store_before_anybody_is_back", async |ground| {
        let size = Size { servers: 1, lbs: 2, sites: 2 };
        let mut chain = Chain::settled(ground, size, here).await;
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 3_600);
        chain.stop_b(1).await;
        // Its peers do not find it any more.
        chain.change_b(
            1,
            &format!("listen = ['{}']", chain.ground.map(1)),
            &format!("listen = ['{}']", chain.ground.at(11, 5_301)),
        );
        let begin = Instant::now();
        chain.start_b(1).await;
        // A DNS-LB that is not back yet is suspect, and its name a guess.
        for lb in 1..=2 {
            leads_to(&chain.ask_b(1, lb, WWW).await, &format!("lb{lb}"), 60);
            let reply = chain.ask_fallback(1, &in_label(&format!("lb{lb}"))).await;
            assert_eq!((reply.addresses(), reply.ttl()), (configs::only(chain.ground.site(1)), ADDRESS_TTL));
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
        let status = chain.b(1).status().await;
        assert_eq!((status["links"].as_array().map(Vec::len), &status["prefixes"]), (Some(0), &4.into()));
        assert_eq!(chain.b(1).counters().await.decisions("suspect"), 2);
        // One lease, of 5 s, and no longer.
        eventually("the leases end", async || so(chain.seen_by(1, 1).await["state"] == "gone", "still there")).await;
        assert!(begin.elapsed() >= Duration::from_secs(4), "after {:?}", begin.elapsed());
        assert_eq!(chain.b(1).counter("dglb_leases_ended_total").await, 2);
        assert_eq!(chain.b(1).counter("dglb_store_failing").await, 0);
    });
}

#[test]
fn a_dns_b_that_restarts_in_time_has_its_peers_go_on() {
    scenario("persistence::a_dns_b_that_restarts_in_time_has_its_peers_go_on", async |ground| {
        let size = Size { servers: 1, lbs: 1, sites: 2 };
        let mut chain = Chain::settled(ground, size, here).await;
        let before = chain.seen_by(1, 1).await;
        chain.stop_b(1).await;
        chain.start_b(1).await;
        chain.settle().await;
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 3_600);
        let after = chain.seen_by(1, 1).await;
        assert_eq!(before["map_generation"], after["map_generation"], "nothing had to be said again");
        assert_eq!(chain.b(1).counter("dglb_leases_ended_total").await, 0);
    });
}

#[test]
fn a_dns_lb_answers_from_its_store_with_no_dns_b_in_reach() {
    scenario("persistence::a_dns_lb_answers_from_its_store_with_no_dns_b_in_reach", async |ground| {
        let size = Size { servers: 1, lbs: 1, sites: 3 };
        let mut chain = Chain::settled(ground, size, |_, _| String::new()).await;
        chain.stop_lb(1).await;
        chain.change_lb(1, "identity = 'lb1'", &format!("identity = 'lb1'\n{HERE}"));
        chain.start_lb(1).await;
        // By its own ranking: before it has one it answers with what a dns-b says.
        eventually("lb1 has measured", async || {
            let before = chain.lb(1).decisions("label").await;
            let reply = chain.ask_lb(1, &in_label("lb1")).await;
            let by_itself = chain.lb(1).decisions("label").await > before;
            so(by_itself && reply.addresses() == configs::only(chain.ground.site(1)), reply)
        })
        .await;
        chain.stop_lb(1).await;
        chain.stop_b(1).await;
        // Not even the sites are there: what is answered is what was measured before.
        let sites = std::mem::take(&mut chain.sites);
        drop(sites);
        chain.start_lb(1).await;
        let reply = chain.ask_lb(1, &in_label("lb1")).await;
        assert_eq!((reply.addresses(), reply.ttl()), (configs::only(chain.ground.site(1)), ADDRESS_TTL));
        assert_eq!(chain.lb(1).decisions("label").await, 1);
    });
}

#[test]
fn a_store_has_one_process() {
    scenario("persistence::a_store_has_one_process", async |ground| {
        let first = configs::dns_b(&ground, 1, 2, 1, HERE);
        let _running = dglb_scenarios::Running::<dns_b::DnsB>::start(&first).await;
        let state = format!("state-dir = '{}'", first.path("").display());
        let second = configs::dns_b(&ground, 2, 2, 1, &state);
        let command = binaries::command("dns-b", ["--config".as_ref(), second.main().as_os_str()]);
        let output = tokio::task::spawn_blocking(|| binaries::run(command, dglb_scenarios::LONG)).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(70), "{said}");
        assert!(said.contains("dns-b.redb: another process has it open"), "{said}");
    });
}

#[test]
fn an_unreadable_store_is_set_aside_and_said() {
    scenario("persistence::an_unreadable_store_is_set_aside_and_said", async |ground| {
        let files = configs::dns_b(&ground, 1, 1, 1, HERE);
        files.write("dns-b.redb", "this is no store");
        let running = dglb_scenarios::Running::<dns_b::DnsB>::start(&files).await;
        assert_eq!(running.counter("dglb_store_set_aside_total").await, 1);
        let aside = std::fs::read_to_string(files.path("dns-b.redb.set-aside-1")).unwrap();
        assert_eq!(aside, "this is no store");
        running.stop().await;
    });
}

/// Ends of the process without warning.
const KILLS: u64 = 12;

/// What a peer has heard of its own.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// The newest generation that was acknowledged.
    acknowledged: u64,
    /// The newest that was sent.
    sent: u64,
}

#[test]
fn nothing_acknowledged_is_lost_however_often_it_is_killed() {
    scenario("persistence::nothing_acknowledged_is_lost_however_often_it_is_killed", async |ground| {
        let files = configs::dns_b(&ground, 1, 1, 1, HERE);
        let (mut map, mut zone) = (Heard::default(), Heard::default());
        let mut commits = 0;
        for kill in 0..KILLS {
            let program = binaries::start("dns-b", &files);
            let server = ground.map(1);
            let lb = dial(server, "lb1", PeerRole::DnsLb).await;
            let sync = dial(server, "sync", PeerRole::DnsASync).await;
            let catalogues = &sync.welcome.catalogues;
            let published = catalogues.first().map_or(0, |held| held.generation);
            assert!(
                published >= zone.acknowledged && published <= zone.sent,
                "kill {kill}: zone {published}, {zone:?}"
            );
            let held = lb.welcome.map_generation;
            assert!(held >= map.acknowledged && held <= map.sent, "kill {kill}: map {held}, {map:?}");
            if published > 0 {
                let reply = Question::new(ground.isp(1), WWW, RecordType::A).ask(dns(ground.referral(1))).await;
                assert!(!reply.addresses().is_empty() || reply.alias().is_some(), "kill {kill}: {reply:?}");
            }
            // SplitMix64's constants: moments that are spread out, and the same in every run.
            let moment = Duration::from_millis(10 + (kill + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 190);
            let before = map.acknowledged;
            (map, zone, ()) = tokio::join!(
                speak(lb, map, |generation| Message::Map(mapping(&ground, generation))),
                speak(sync, zone, |generation| Message::snapshot(configs::catalogue(&ground, 1, generation))),
                async {
                    tokio::time::sleep(moment).await;
                    drop(program);
                },
            );
            commits += map.acknowledged - before;
        }
        assert!(commits > KILLS, "only {commits} acknowledgements in all");
    });
}

/// As soon as it listens.
async fn dial(server: std::net::SocketAddr, identity: &str, role: PeerRole) -> Peer {
    let mut up = None;
    eventually(&format!("{identity} is let in"), async || {
        up = Peer::try_dial(server, identity, role).await.ok();
        so(up.is_some(), "not yet")
    })
    .await;
    up.expect("it is up")
}

/// As many entries as make a record of some length, all of them other ones in each generation.
fn mapping(ground: &Ground, generation: u64) -> Map {
    let entry = |n: u64| {
        let host = (generation * 50 + n) % 65_000;
        let address = std::net::Ipv4Addr::from(0x0a01_0000 + u32::try_from(host).expect("it is small"));
        MapEntry { prefix: Prefix::host(address.into()), kind: EntryKind::Resolver, preference: 1, weight: 1 }
    };
    Map { generation, lease_ms: 60_000, addresses: vec![ground.lb(1)], entries: (0..50).map(entry).collect() }
}

/// Says one generation after the other, a few ahead of what is acknowledged, until the link is gone.
async fn speak(mut peer: Peer, mut heard: Heard, say: impl Fn(u64) -> Message) -> Heard {
    heard.sent = heard.sent.max(heard.acknowledged);
    loop {
        while heard.sent < heard.acknowledged + 4 || heard.sent == 0 {
            if !peer.try_say(say(heard.sent + 1)) {
                return heard;
            }
            heard.sent += 1;
        }
        match peer.next().await {
            Some(Message::MapAck(ack)) => heard.acknowledged = heard.acknowledged.max(ack.generation),
            Some(Message::CatalogueAck(ack)) if ack.refused.is_none() => {
                heard.acknowledged = heard.acknowledged.max(ack.generation);
            }
            Some(_) => {}
            None => return heard,
        }
    }
}

#[test]
fn a_store_goes_through_dglbctl_and_back() {
    scenario("persistence::a_store_goes_through_dglbctl_and_back", async |ground| {
        let size = Size { servers: 1, lbs: 1, sites: 2 };
        let mut chain = Chain::settled(ground, size, here).await;
        let store = chain.path_b(1, "dns-b.redb");
        let busy = dglbctl(&["store", "check", &store]).await;
        assert_eq!(busy.status.code(), Some(69), "it is in use");
        chain.stop_b(1).await;
        let text = dglbctl(&["store", "export", &store]).await;
        assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
        let checked = String::from_utf8(dglbctl(&["store", "check", &store]).await.stdout).unwrap();
        assert!(checked.contains("dns-b format 1") && checked.contains("1 dns-lbs"), "{checked}");
        let exported = format!("{store}.jsonl");
        std::fs::write(&exported, &text.stdout).unwrap();
        assert_eq!(dglbctl(&["store", "import", &store, &exported]).await.status.code(), Some(73), "it is there");
        std::fs::rename(&store, format!("{store}.before")).unwrap();
        let imported = dglbctl(&["store", "import", &store, &exported]).await;
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        chain.start_b(1).await;
        assert_eq!(chain.b(1).status().await["prefixes"], 2);
        chain.settle().await;
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 3_600);
    });
}

async fn dglbctl(arguments: &[&str]) -> std::process::Output {
    let command = binaries::command("dglbctl", arguments);
    tokio::task::spawn_blocking(|| binaries::run(command, dglb_scenarios::LONG)).await.unwrap()
}

/// A file of format 0, as an export of it would be.
const FORMAT_0: &str = include_str!("persistence/format-0.jsonl");

#[test]
fn a_store_of_format_0_is_read() {
    scenario("persistence::a_store_of_format_0_is_read", async |ground| {
        let files: Files = configs::dns_b(&ground, 1, 1, 1, HERE);
        dglb_node::store::import(&files.path("dns-b.redb"), FORMAT_0.as_bytes()).unwrap();
        let running = dglb_scenarios::Running::<dns_b::DnsB>::start(&files).await;
        eventually("its ranking is there", async || {
            let status = running.status().await;
            so(status["dns_lbs"][0]["services_ranked"] == 1, status)
        })
        .await;
        assert_eq!(running.counter("dglb_store_records_unreadable_total").await, 0);
        running.stop().await;
        assert_eq!(dglb_node::store::check(&files.path("dns-b.redb")).unwrap().format, 1);
    });
}
