//! `dglbctl explain` says what is really answered: its answer is held to what the same resolver gets over the
//! wire, from an implementation of its own and from `dig`; and what it says of the reasons to what was set up.

use std::{net::IpAddr, process::Command};

use dglb_lab::sandbox::skip;
use dglb_scenarios::{
    Chain, Ground, LONG, Size, binaries,
    configs::{WWW, ZONE, in_label},
    eventually,
    ground::dns,
    question::Question,
    scenario, so,
};
use hickory_proto::rr::RecordType;
use serde_json::Value;

/// The resolver of this ISP is in nobody's map.
const STRANGER: u8 = 9;
/// This one may send client subnets.
const FORWARDER: u8 = 8;

/// What is asked of whom.
#[derive(Clone, Debug)]
struct Case {
    server: IpAddr,
    admin: String,
    isp: u8,
    name: String,
    more: Vec<&'static str>,
    subnet: Option<&'static str>,
}

fn b1_has_defaults(ground: &Ground, n: u8) -> String {
    let forwarder = ground.isp(FORWARDER);
    let defaults = format!("[locate]\necs-from = ['{forwarder}']\n[[default]]\ndns-lb = 'lb1'\n");
    if n == 1 { defaults } else { String::new() }
}

impl Case {
    fn at_b(chain: &Chain, n: u8, isp: u8, name: &str) -> Self {
        let (server, admin) = (chain.ground.referral(n), chain.b(n.into()).daemon.admin.to_string());
        Self { server, admin, isp, name: name.to_owned(), more: vec![], subnet: None }
    }

    fn at_fallback(chain: &Chain, isp: u8, name: &str) -> Self {
        let case = Self::at_b(chain, 1, isp, name);
        Self { server: chain.ground.fallback(1), more: vec!["--fallback"], ..case }
    }

    fn at_lb(chain: &Chain, isp: u8, name: &str) -> Self {
        let case = Self::at_b(chain, 1, isp, name);
        let admin = chain.lb(1).daemon.admin_address().to_string();
        Self { server: chain.ground.lb(1), admin, ..case }
    }

    fn for_client(self, subnet: &'static str) -> Self {
        Self { subnet: Some(subnet), ..self }
    }

    /// What the program says, with these arguments besides.
    async fn explained(&self, ground: &Ground, more: &[&str]) -> std::process::Output {
        let (from, admin) = (ground.isp(self.isp).to_string(), format!("http://{}", self.admin));
        let mut arguments = vec!["explain", &self.name, "--from", &from, "--admin", &admin];
        arguments.extend(self.subnet.iter().flat_map(|subnet| ["--ecs", subnet]));
        arguments.extend(self.more.iter().chain(more));
        let command = binaries::command("dglbctl", arguments);
        tokio::task::spawn_blocking(|| binaries::run(command, LONG)).await.unwrap()
    }

    /// The program's document, once it agrees with the wire: what is measured meanwhile may change either.
    async fn agrees(&self, ground: &Ground) -> Value {
        let from = ground.isp(self.isp);
        let question = Question::new(from, &self.name, RecordType::A);
        let question = self.subnet.iter().fold(question, |question, subnet| question.for_client(subnet));
        eventually(&format!("one answer to {self:?}"), async || {
            let output = self.explained(ground, &["--json"]).await;
            assert!(output.status.success(), "{output:?}");
            let document: Value = serde_json::from_slice(&output.stdout).unwrap();
            let told = &document["answer"];
            let reply = question.ask(dns(self.server)).await;
            let lines = |records: &[hickory_proto::rr::Record]| -> Value {
                records.iter().map(|record| Value::from(record.to_string())).collect()
            };
            let wire = [
                (&told["answers"], lines(&reply.0.answers)),
                (&told["authorities"], lines(&reply.0.authorities)),
                (&told["additionals"], lines(&reply.0.additionals)),
                (&told["authoritative"], reply.is_authoritative().into()),
                (&told["scope"], reply.scope().into()),
                (&told["extended_error"], reply.extended_error().into()),
            ];
            so(wire.iter().all(|(told, wire)| *told == wire), &wire)?;
            self.dig(from).map_or(Ok(()), |dig| so(dig == records(told), (&dig, told)))?;
            Ok(document)
        })
        .await
    }

    /// What `dig` prints of all sections, fields apart by one blank; `None` where it is not installed.
    fn dig(&self, from: IpAddr) -> Option<Vec<String>> {
        let mut command = Command::new("dig");
        command.arg(format!("@{}", self.server)).args(["-b", &from.to_string(), &self.name, "A"]);
        command.args(["+norecurse", "+nocookie", "+noall", "+answer", "+authority", "+additional"]);
        command.args(self.subnet.map(|subnet| format!("+subnet={subnet}")));
        let output = command.output().ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        let records = text.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
        Some(records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()).collect())
    }
}

/// Every record of an explained answer, as `dig` has them.
fn records(answer: &Value) -> Vec<String> {
    let sections = ["answers", "authorities", "additionals"];
    let records = sections.iter().flat_map(|section| answer[section].as_array().into_iter().flatten());
    records.map(|record| record.as_str().unwrap().to_lowercase()).collect()
}

#[test]
fn what_is_explained_is_what_is_answered() {
    if Command::new("dig").arg("-v").output().is_err() {
        skip("dig: apt-get install bind9-dnsutils");
    }
    scenario("explain::what_is_explained_is_what_is_answered", async |ground| {
        let mut chain = Chain::settled(ground, Size { servers: 2, lbs: 2, sites: 3 }, b1_has_defaults).await;
        referrals(&chain).await;
        addresses(&chain).await;
        nothing(&chain).await;
        for site in &mut chain.sites {
            site.kill().await;
        }
        all_down(&chain).await;
        for_people(&chain).await;
    });
}

async fn referrals(chain: &Chain) {
    let ground = &chain.ground;
    let mapped = Case::at_b(chain, 1, 1, WWW).agrees(ground).await;
    let (told, answer) = (&mapped["explanation"], &mapped["answer"]);
    assert_eq!((&told["decision"], &told["dns_lb"]), (&"mapped".into(), &"lb1".into()), "{mapped:#}");
    assert_eq!(told["matched"]["prefix"], format!("{}/32", ground.isp(1)));
    assert_eq!((&told["candidates"][0]["worth"], &told["candidates"][0]["chosen"]), (&"ready".into(), &true.into()));
    assert_eq!((&answer["rcode"], &answer["ttl"], &answer["scope"]), (&"NOERROR".into(), &3_600.into(), &Value::Null));
    // What lb1 has reported stands beside it, figures and all.
    assert_eq!(told["sites"][0]["site"], "s1");
    let figures = &mapped["report"]["sites"][0]["addresses"][0];
    assert!(mapped["report"]["by"] == "lb1" && figures["latency_us"].is_u64(), "{mapped:#}");

    let client = Case::at_b(chain, 1, FORWARDER, WWW).for_client("10.2.7.0/24").agrees(ground).await;
    let told = &client["explanation"];
    assert_eq!((&told["matched"]["prefix"], &told["matched"]["by_subnet"]), (&"10.2.0.0/16".into(), &true.into()));
    assert_eq!((&told["dns_lb"], &client["answer"]["scope"]), (&"lb2".into(), &16.into()));
    // Of somebody who is not trusted with it.
    let untrusted = Case::at_b(chain, 1, 1, WWW).for_client("10.2.7.0/24").agrees(ground).await;
    assert_eq!(untrusted["explanation"]["subnet"], Value::Null);
    assert_eq!(untrusted["explanation"]["dns_lb"], "lb1");

    let stranger = Case::at_b(chain, 1, STRANGER, WWW).agrees(ground).await;
    let told = &stranger["explanation"];
    assert_eq!((&told["decision"], &told["dns_lb"]), (&"default-group".into(), &"lb1".into()));
    assert_eq!((&told["matched"]["prefix"], &stranger["answer"]["ttl"]), (&Value::Null, &60.into()));
    let label = Case::at_b(chain, 1, STRANGER, &in_label("lb2")).agrees(ground).await;
    let told = &label["explanation"];
    assert_eq!((&told["decision"], &told["dns_lb"]), (&"referral".into(), &"lb2".into()));
}

async fn addresses(chain: &Chain) {
    let ground = &chain.ground;
    let direct = Case::at_b(chain, 2, STRANGER, WWW).agrees(ground).await;
    let told = &direct["explanation"];
    assert_eq!((&told["decision"], &told["dns_lb"]), (&"aggregate".into(), &Value::Null));
    assert_eq!((&told["sites"][0]["site"], &direct["answer"]["ttl"]), (&"s1".into(), &30.into()));
    let name = in_label("lb1");
    let at_lb = Case::at_lb(chain, 1, &name).agrees(ground).await;
    for document in [&at_lb, &Case::at_fallback(chain, 1, &name).agrees(ground).await] {
        let told = &document["explanation"];
        assert_eq!((&told["decision"], &told["ranked_by"]), (&"label".into(), &"lb1".into()), "{document:#}");
        assert_eq!((&told["sites"][0]["site"], &document["answer"]["ttl"]), (&"s1".into(), &120.into()));
        assert_eq!(document["report"]["sites"][0]["addresses"][0]["health"], "up");
    }
    assert_eq!((&at_lb["daemon"], &at_lb["identity"]), (&"dns-lb".into(), &"lb1".into()));
    // Forwarded to it by its ISP.
    let own = Case::at_lb(chain, 1, WWW).agrees(ground).await;
    assert_eq!((&own["explanation"]["dns_lb"], &own["answer"]["ttl"]), (&"lb1".into(), &120.into()));
}

async fn nothing(chain: &Chain) {
    let ground = &chain.ground;
    let nowhere = Case::at_b(chain, 1, 1, &format!("nowhere.www.{ZONE}")).agrees(ground).await;
    assert_eq!(
        (&nowhere["answer"]["rcode"], &nowhere["explanation"]["decision"]),
        (&"NXDOMAIN".into(), &"authority".into())
    );
    let below = Case::at_lb(chain, 1, &format!("nowhere.lb1.{ZONE}")).agrees(ground).await;
    assert_eq!(below["answer"]["rcode"], "NXDOMAIN");
    let elsewhere = Case::at_b(chain, 1, 1, "www.elsewhere.test").agrees(ground).await;
    assert_eq!((&elsewhere["answer"]["rcode"], &elsewhere["explanation"]["zone"]), (&"REFUSED".into(), &Value::Null));
}

async fn all_down(chain: &Chain) {
    let ground = &chain.ground;
    let case = Case::at_lb(chain, 1, &in_label("lb1"));
    let down = eventually("all sites are down", async || {
        let document = case.agrees(ground).await;
        let sites = document["report"]["sites"].as_array().cloned().unwrap_or_default();
        let down = sites.iter().all(|site| site["addresses"][0]["health"] == "down");
        so(down && !document["answer"]["extended_error"].is_null(), &document).map(|()| document)
    })
    .await;
    // All the same the last good one is answered.
    assert_eq!(down["answer"]["answers"].as_array().unwrap().len(), 1, "{down:#}");
    assert_eq!(down["explanation"]["sites"][0]["addresses"][0]["usable"], false);
}

/// The same as text, and what is said of mistakes.
async fn for_people(chain: &Chain) {
    let ground = &chain.ground;
    let before = chain.b(1).decisions("mapped").await;
    let output = Case::at_b(chain, 1, 1, WWW).explained(ground, &[]).await;
    assert_eq!(chain.b(1).decisions("mapped").await, before, "nobody was answered anything");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in
        ["asked of dns-b b1", "NOERROR, authoritative, for 3600 s", "IN CNAME www.lb1.", "mapped: ", "LACKS", "s1"]
    {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let at = Case::at_b(chain, 1, 1, WWW).explained(ground, &["--at", "dns-lb"]).await;
    let error = String::from_utf8(at.stderr).unwrap();
    assert!(at.status.code() == Some(69) && error.contains("what --admin names is no dns-lb"), "{error}");
    let role = Case::at_lb(chain, 1, WWW).explained(ground, &["--fallback", "--at", "dns-lb"]).await;
    let error = String::from_utf8(role.stderr).unwrap();
    assert!(role.status.code() == Some(64) && error.contains("no address of this daemon is asked as that"), "{error}");
}

/// A DNS-LB that puts down what it decides, over the death of a site: decided again it comes out alike, and what
/// the last record says is what is answered.
#[test]
fn decisions_are_put_down_and_decided_again() {
    scenario("explain::decisions_are_put_down_and_decided_again", async |ground| {
        let none = |_: &Ground, _: u8| String::new();
        let mut chain = Chain::settled(ground, Size { servers: 1, lbs: 1, sites: 3 }, none).await;
        chain.stop_lb(1).await;
        chain.change_lb(1, "identity = 'lb1'\n", "identity = 'lb1'\nstate-dir = '.'\n");
        chain.start_lb(1).await;
        chain.until_handed_out(1, 1).await;
        // Before that the order of the earlier run stands, which is put down by nobody.
        let written = async || chain.lb(1).counter("dglb_decision_records_written_total").await;
        eventually("a first decision", async || so(written().await >= 1, written().await)).await;
        answered(&chain, 1).await;
        let before = written().await;
        chain.sites[0].kill().await;
        answered(&chain, 2).await;
        let case = Case::at_lb(&chain, 1, &in_label("lb1"));
        let present = case.agrees(&chain.ground).await["decided"].clone();
        let written = chain.lb(1).counter("dglb_decision_records_written_total").await;
        assert!(written > before, "no decision for the death");
        chain.stop_lb(1).await;

        let log = chain.path_lb(1, "decisions.jsonl").display().to_string();
        let command = binaries::command("dglbctl", ["replay", &log, "--service", WWW, "--json"]);
        let output = tokio::task::spawn_blocking(|| binaries::run(command, LONG)).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(records.len() as u64 >= written && records.iter().all(|record| record["same"] == true), "{text}");
        let last = &records.last().unwrap()["again"];
        assert_eq!(last["answer"]["ipv4"], serde_json::json!([chain.ground.site(2)]));
        assert_eq!(last["outcome"]["rule"], present["outcome"]["rule"]);
    });
}

async fn answered(chain: &Chain, site: u8) {
    eventually("the site is answered", async || {
        let reply = chain.ask_lb(1, &in_label("lb1")).await;
        so(reply.addresses() == [chain.ground.site(site)], reply)
    })
    .await;
}
