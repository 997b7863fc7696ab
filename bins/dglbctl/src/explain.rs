//! Why somebody gets an answer: the command, and the daemon's document as text for people.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use dglb_core::{
    decided::Decided,
    name::Name,
    net::{Prefix, PrefixError},
};
use serde_json::Value;

use crate::{
    decision,
    map::encoded,
    table::{cell, printable, table},
};

/// What is to be explained.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The name that is asked for, such as www.glb.example.com
    #[arg(value_name = "NAME")]
    name: Name,
    /// The address of the resolver that asks
    #[arg(long, value_name = "ADDRESS")]
    from: IpAddr,
    /// The client's network, as the resolver would send it (EDNS client subnet)
    #[arg(long, value_name = "PREFIX", value_parser = read_prefix)]
    ecs: Option<Prefix>,
    /// The type of records that is asked for
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    rtype: String,
    /// Which daemon is asked; without it every dns-b and dns-lb of this host
    #[arg(long, value_name = "DAEMON")]
    pub(crate) at: Option<At>,
    /// Ask a dns-b at the addresses where it stands in for DNS-LBs, not where it refers to them
    #[arg(long)]
    fallback: bool,
    /// Print JSON as the daemon gives it
    #[arg(long)]
    pub(crate) json: bool,
}

/// A daemon that answers questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum At {
    /// The referral server
    DnsB,
    /// The load balancer
    DnsLb,
}

impl At {
    /// As its status names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::DnsB => "dns-b",
            Self::DnsLb => "dns-lb",
        }
    }
}

/// A prefix, or an address alone.
fn read_prefix(text: &str) -> Result<Prefix, PrefixError> {
    text.parse().map_or_else(|_| text.parse(), |address| Ok(Prefix::host(address)))
}

impl Arguments {
    /// Whether a daemon of this kind is meant.
    pub(crate) fn is_for(&self, daemon: &str) -> bool {
        match self.at {
            Some(at) => at.as_str() == daemon,
            None => daemon == "dns-b" || (daemon == "dns-lb" && !self.fallback),
        }
    }

    /// The page that explains it.
    pub(crate) fn path(&self) -> String {
        let Self { name, from, rtype, .. } = self;
        let ecs = self.ecs.map_or_else(String::new, |ecs| format!("&ecs={}", encoded(&ecs.to_string())));
        let role = if self.fallback { "&role=fallback" } else { "" };
        let (name, rtype) = (encoded(&name.to_string()), encoded(rtype));
        format!("/api/v1/explain?name={name}&type={rtype}&from={from}{ecs}{role}")
    }
}

/// The document for people.
pub(crate) fn text(document: &Value) -> String {
    let question = &document["question"];
    let mut parts = vec![("", head(document, question)), ("answer", answer(&document["answer"]))];
    parts.push(("why", why(document)));
    parts.extend(matched(&document["explanation"]).map(|text| ("map", text)));
    parts.extend(dns_lb(document).map(|text| ("DNS-LB", text)));
    parts.extend(sites(document).map(|text| ("sites", text)));
    parts.into_iter().map(|(title, text)| section(title, &text)).collect()
}

/// A title with lines beside it.
fn section(title: &str, text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let first = if title.is_empty() { format!("{first}\n") } else { format!("{title:<7} {first}\n") };
    lines.fold(first, |all, line| all + format!("        {line}").trim_end() + "\n")
}

fn head(document: &Value, question: &Value) -> String {
    let ecs = question["ecs"].as_str().map_or_else(String::new, |ecs| format!(" for a client in {}", printable(ecs)));
    let role = match question["role"].as_str() {
        Some("fallback") => " in its fall-back role",
        _ => "",
    };
    format!(
        "{} {} from {}{ecs}, asked of {} {}{role}",
        cell(&question["name"]),
        cell(&question["type"]),
        cell(&question["from"]),
        cell(&document["daemon"]),
        cell(&document["identity"]),
    )
}

fn answer(answer: &Value) -> String {
    let mut words = vec![cell(&answer["rcode"])];
    words.extend((answer["authoritative"] == true).then(|| "authoritative".to_owned()));
    words.extend(answer["ttl"].as_u64().map(|ttl| format!("for {ttl} s")));
    words.extend(answer["scope"].as_u64().map(|scope| format!("scope /{scope}")));
    words.extend(answer["extended_error"].as_u64().map(|code| format!("extended error {code}")));
    let mut text = words.join(", ");
    for (section, title) in [("answers", ""), ("authorities", "authority: "), ("additionals", "additional: ")] {
        for record in answer[section].as_array().into_iter().flatten() {
            text += &format!("\n{title}{}", cell(record));
        }
    }
    text
}

fn why(document: &Value) -> String {
    let told = &document["explanation"];
    let mut text = format!("{}: {}", cell(&told["decision"]), cell(&told["why"]));
    if document["filling"] == true {
        text += "\nthis dns-b has started lately and still waits for DNS-LBs, so nothing holds for long";
    }
    if !document["question"]["ecs"].is_null() && told["subnet"].is_null() {
        text += "\nthe client's network does not count: the resolver is not trusted with it (locate.ecs-from), or \
                 not in this zone";
    }
    text
}

fn matched(told: &Value) -> Option<String> {
    let matched = &told["matched"];
    let who = if matched["by_subnet"] == true { "the client" } else { "the resolver" };
    let place = match matched.as_object()?.get("prefix")?.as_str() {
        Some(prefix) => format!("{who} is in {}", printable(prefix)),
        None => "no prefix holds it".to_owned(),
    };
    let subnet = !told["subnet"].is_null();
    let scope = matched["scope"].as_u64().filter(|_| subnet);
    Some(match scope {
        Some(scope) => format!("{place}; whoever shares the first {scope} bits of the subnet is answered alike"),
        None => place,
    })
}

fn dns_lb(document: &Value) -> Option<String> {
    let told = &document["explanation"];
    let candidates = told["candidates"].as_array().filter(|list| !list.is_empty());
    let known = &document["dns_lb"];
    let mut text = match told["dns_lb"].as_str() {
        Some(identity) => printable(identity),
        None => {
            candidates?;
            "none of these".to_owned()
        }
    };
    if known.is_object() {
        let mut words = vec![cell(&known["state"])];
        let yes = |key: &str, yes: &str, no: &str| if known[key] == true { yes.to_owned() } else { no.to_owned() };
        words.push(yes("linked", "linked", "no link"));
        words.push(yes("handed_out", "handed out", "not handed out"));
        words.extend((known["drained"] == true).then(|| "drained".to_owned()));
        words.extend(known["problem"].as_str().map(|problem| format!("check: {}", printable(problem))));
        text += &format!(" ({})", words.join(", "));
    }
    if let Some(list) = candidates {
        let titles = ["DNS-LB", "PREFERENCE", "WEIGHT", "WORTH", "TAKEN", "LACKS"];
        let lacks = |candidate: &Value| {
            let lacks: Vec<String> = candidate["lacks"].as_array().into_iter().flatten().map(cell).collect();
            if lacks.is_empty() { "-".to_owned() } else { lacks.join("; ") }
        };
        let row = |c: &Value| {
            let cells = ["dns_lb", "preference", "weight", "worth", "chosen"].map(|key| cell(&c[key]));
            cells.into_iter().chain([lacks(c)]).collect()
        };
        let rows: Vec<Vec<String>> =
            std::iter::once(titles.map(str::to_owned).to_vec()).chain(list.iter().map(row)).collect();
        text += &format!("\n{}", table(&rows).trim_end());
    }
    Some(text)
}

/// Every site in the order that holds, with what was measured of it.
fn sites(document: &Value) -> Option<String> {
    let told = &document["explanation"];
    let sites = told["sites"].as_array().filter(|sites| !sites.is_empty())?;
    let report = &document["report"];
    if let Ok(decided) = serde_json::from_value::<Decided>(document["decided"].clone()) {
        return Some(format!("{}\n{}", decision::rule(&decided), decision::sites(&decided).trim_end()));
    }
    let mut rows = vec![["SITE", "SCORE", "ADDRESS", "HEALTH", "ROUND TRIP", "SHARE"].map(str::to_owned).to_vec()];
    for site in sites {
        let measured = report["sites"].as_array().into_iter().flatten().find(|s| s["site"] == site["site"]);
        for (at, address) in site["addresses"].as_array().into_iter().flatten().enumerate() {
            let figures = measured.and_then(|m| m["addresses"].as_array());
            let figures = figures.into_iter().flatten().find(|f| f["address"] == address["address"]);
            let guess = if address["usable"] == true { "usable" } else { "down" };
            let health = figures.map_or_else(|| guess.to_owned(), |f| cell(&f["health"]));
            let latency = figures.and_then(|f| f["latency_us"].as_f64());
            let latency = latency.map_or_else(|| "-".to_owned(), |us| format!("{:.1} ms", us / 1e3));
            let score = site["score"].as_f64().map_or_else(|| "-".to_owned(), |score| format!("{score:.1}"));
            let share = measured.and_then(|m| m["share"].as_f64()).filter(|share| *share > 0.0);
            let share = share.map_or_else(String::new, |share| format!("{:.1} %", share / 10.0));
            let own = [cell(&site["site"]), score, share].map(|cell| if at == 0 { cell } else { String::new() });
            let [name, score, share] = own;
            rows.push(vec![name, score, cell(&address["address"]), health, latency, share]);
        }
    }
    if rows.iter().skip(1).all(|row| row[5].is_empty()) {
        rows.iter_mut().for_each(|row| row.truncate(5));
    }
    let whose = match told["ranked_by"].as_str() {
        Some(by) => {
            let age = report["seconds_ago"].as_u64().filter(|age| *age > 0);
            let age = age.map_or_else(String::new, |age| format!(", {age} s ago"));
            format!("as {} has ranked them{age}, best first", printable(by))
        }
        None => "in the order that holds for everybody who is not located, best first".to_owned(),
    };
    Some(format!("{whose}\n{}", table(&rows).trim_end()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn candidate(dns_lb: &str, preference: u16, worth: &str, lacks: &[&str]) -> Value {
        let chosen = worth == "ready";
        json!({ "dns_lb": dns_lb, "preference": preference, "weight": 1, "worth": worth, "lacks": lacks, "chosen": chosen })
    }

    #[test]
    fn a_referral_for_people() {
        let address = |a: &str| json!([{ "address": a, "usable": true }]);
        let document = json!({
            "daemon": "dns-b", "identity": "b1", "filling": false,
            "question": { "name": "www.glb.test.", "type": "A", "from": "192.0.2.8", "ecs": "198.51.100.0/24", "role": "referral" },
            "explanation": {
                "decision": "mapped", "why": "the longest match decides", "subnet": "198.51.100.0/24",
                "matched": { "prefix": "198.51.0.0/16", "by_subnet": true, "scope": 16 },
                "candidates": [candidate("sea1", 10, "ready", &[]), candidate("sea2", 20, "none", &["it is gone", "it\nx"])],
                "dns_lb": "sea1", "ranked_by": "sea1",
                "sites": [
                    { "site": "west", "score": 12.34, "addresses": address("203.0.113.1") },
                    { "site": "east", "score": null, "addresses": address("203.0.113.2") },
                ],
            },
            "dns_lb": { "state": "alive", "linked": true, "handed_out": true, "drained": false, "problem": null },
            "report": { "by": "sea1", "seconds_ago": 7, "sites": [
                { "site": "west", "addresses": [{ "address": "203.0.113.1", "health": "up", "latency_us": 12_345 }] },
            ] },
            "answer": {
                "rcode": "NOERROR", "authoritative": true, "ttl": 3_600, "scope": 16, "extended_error": null,
                "answers": ["www.glb.test. 3600 IN CNAME www.sea1.glb.test."], "authorities": [], "additionals": [],
            },
        });
        let expected = "\
www.glb.test. A from 192.0.2.8 for a client in 198.51.100.0/24, asked of dns-b b1
answer  NOERROR, authoritative, for 3600 s, scope /16
        www.glb.test. 3600 IN CNAME www.sea1.glb.test.
why     mapped: the longest match decides
map     the client is in 198.51.0.0/16; whoever shares the first 16 bits of the subnet is answered alike
DNS-LB  sea1 (alive, linked, handed out)
        DNS-LB  PREFERENCE  WEIGHT  WORTH  TAKEN  LACKS
        sea1    10          1       ready  yes    -
        sea2    20          1       none   no     it is gone; it\u{fffd}x
sites   as sea1 has ranked them, 7 s ago, best first
        SITE  SCORE  ADDRESS      HEALTH  ROUND TRIP
        west  12.3   203.0.113.1  up      12.3 ms
        east  -      203.0.113.2  usable  -
";
        assert_eq!(text(&document), expected);
    }

    #[test]
    fn what_is_wanted_becomes_a_path() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            explain: Arguments,
        }
        let line = |arguments: &str| {
            <Line as clap::Parser>::try_parse_from(std::iter::once("x").chain(arguments.split(' '))).map(|l| l.explain)
        };
        let least = line("www.glb.test --from 192.0.2.1").unwrap();
        assert_eq!(least.path(), "/api/v1/explain?name=www.glb.test.&type=A&from=192.0.2.1");
        assert!(least.is_for("dns-b") && least.is_for("dns-lb") && !least.is_for("dns-a-sync"));
        let most = line("a.test --from 2001:db8::1 --ecs 10.0.0.1 --type https --at dns-b --fallback").unwrap();
        let path = "/api/v1/explain?name=a.test.&type=https&from=2001:db8::1&ecs=10.0.0.1/32&role=fallback";
        assert_eq!(most.path(), path);
        assert!(most.is_for("dns-b") && !most.is_for("dns-lb"));
        for (bad, says) in [
            ("www.glb.test", "--from"),
            ("a..b --from 192.0.2.1", "'a..b' for '<NAME>'"),
            ("a --from nobody", "'nobody' for '--from"),
            ("a --from 192.0.2.1 --ecs 10.0.0.0/33", "'10.0.0.0/33' for '--ecs"),
            ("a --from 192.0.2.1 --at resolver", "dns-b, dns-lb"),
        ] {
            let error = line(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
