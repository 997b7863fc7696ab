//! The shipped programs, each a process of its own, as an operator runs them.

use std::{net::SocketAddr, process::Output, time::Duration};

use dglb_scenarios::{
    Admin, LONG,
    binaries::{self, Program},
    configs::{self, Files, WWW, in_label},
    dns_a::DnsA,
    eventually,
    ground::dns,
    question::Question,
    scenario,
    sites::Site,
    so,
};
use hickory_proto::rr::RecordType;

/// Every daemon's deadline for stopping, and something for a loaded machine.
const STOP: Duration = Duration::from_secs(7);

fn dglbctl(arguments: &[&str]) -> Output {
    binaries::run(binaries::command("dglbctl", arguments), LONG)
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

#[test]
fn they_find_each_other_answer_tell_how_they_are_and_stop() {
    scenario("smoke::they_find_each_other_answer_tell_how_they_are_and_stop", async |ground| {
        let dns_a = DnsA::start(dns(ground.ip(241))).await;
        dns_a.set("s1", &[ground.site(1)]);
        let _site = Site::start(ground.site(1)).await;
        let b = configs::dns_b(&ground, 1, 1, 1, "");
        let lb = configs::dns_lb(&ground, 1, 1);
        let sync = configs::dns_a_sync(&ground, dns(ground.ip(241)), 1, 1);
        let b1 = binaries::start("dns-b", &b);
        let b_admin = Admin::new(b.admin);
        eventually("dns-b lives", async || b_admin.fetch("/livez").await.map(drop)).await;
        // Alone it is alive, and not ready.
        let ready = dglbctl(&["ready", "--admin", &http(b.admin)]);
        assert_eq!(ready.status.code(), Some(75), "{ready:?}");
        assert!(text(&ready.stderr).contains("not ready: catalogue"), "{ready:?}");

        let (lb1, agent) = (binaries::start("dns-lb", &lb), binaries::start("dns-a-sync", &sync));
        let question = Question::new(ground.isp(1), WWW, RecordType::A);
        let mapped = async || {
            let alias = question.try_ask(dns(ground.referral(1))).await.and_then(|reply| reply.alias());
            so(alias == Some((format!("{}.", in_label("lb1")), 3_600)), alias)
        };
        eventually("the resolver is led to lb1", mapped).await;
        let reply = Question::new(ground.isp(1), &in_label("lb1"), RecordType::A).ask(dns(ground.lb(1))).await;
        assert_eq!(reply.addresses(), [ground.site(1)]);

        statuses(&b, &lb, &sync).await;
        for program in [agent, lb1, b1] {
            stops(program);
        }
        let gone = dglbctl(&["status", "--admin", &http(b.admin)]);
        assert_eq!(gone.status.code(), Some(69), "{gone:?}");
    });
}

fn http(admin: SocketAddr) -> String {
    format!("http://{admin}")
}

async fn statuses(b: &Files, lb: &Files, sync: &Files) {
    let shows = async |files: &Files, words: &[&str]| {
        eventually(&format!("dglbctl shows {words:?}"), async || {
            let output = dglbctl(&["status", "--admin", &http(files.admin)]);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let shown = text(&output.stdout);
            if words.iter().all(|word| shown.contains(word)) { Ok(()) } else { Err(shown.to_owned()) }
        })
        .await;
    };
    shows(b, &["dns-b", "b1", "lb1", "alive", "glb.foobar.test.", "\nready\n"]).await;
    shows(lb, &["dns-lb", "lb1", "b1", "up", "www.glb.foobar.test.", "s1"]).await;
    shows(sync, &["dns-a-sync", "sync", "b1", "glb.foobar.test."]).await;
    let all = dglbctl(&["status", "--json", "--admin", &http(b.admin), "--admin", &http(lb.admin)]);
    let documents: Vec<serde_json::Value> = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!((&documents[0]["daemon"], &documents[1]["daemon"]), (&"dns-b".into(), &"dns-lb".into()));
    let metrics = dglbctl(&["metrics", "dglb_dns_decisions", "--admin", &http(b.admin)]);
    let mapped =
        text(&metrics.stdout).lines().find_map(|l| l.strip_prefix("dglb_dns_decisions_total{decision=\"mapped\"} "));
    assert!(mapped.is_some_and(|count| count.parse::<u64>().unwrap() >= 1), "{metrics:?}");
}

fn stops(program: Program) {
    let (status, took) = program.terminate(STOP);
    assert_eq!(status.code(), Some(0), "{status} after {took:?}");
}
