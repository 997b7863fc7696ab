//! A decision as text for people: the rule, the sites in order with what was known of each, the addresses.

use dglb_core::{
    decided::{Answered, Decided},
    estimate::Measured,
    rank::Candidate,
    report::RankedSite,
};

use crate::table::{printable, table};

/// The order of the sites, the rule, and all that was compared.
pub(crate) fn sites(decided: &Decided) -> String {
    let titles = ["SITE", "SCORE", "ADDRESS", "HEALTH", "ROUND TRIP", "LATELY", "SAMPLES", "COST", "BEFORE"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for ranked in &decided.outcome.ranking.sites {
        let known = decided.inputs.sites.iter().find(|candidate| candidate.site == ranked.site);
        rows.extend(known.into_iter().flat_map(|candidate| of_site(decided, ranked, candidate)));
    }
    table(&rows)
}

/// The first site, and what gave it the first place.
pub(crate) fn rule(decided: &Decided) -> String {
    let first = decided.outcome.ranking.sites.first().map_or("none", |site| site.site.as_str());
    let rule = decided.outcome.rule;
    let name = serde_json::to_value(rule).ok().and_then(|rule| Some(rule.as_str()?.to_owned())).unwrap_or_default();
    format!("{name}: {} is first since {}", printable(first), rule.why())
}

/// The addresses that are answered, of both families.
pub(crate) fn addresses(answer: &Answered) -> String {
    let all: Vec<String> = answer.ipv4.iter().chain(&answer.ipv6).map(ToString::to_string).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
}

fn of_site(decided: &Decided, ranked: &RankedSite, candidate: &Candidate) -> Vec<Vec<String>> {
    let before = decided.inputs.previous.iter().position(|site| *site == ranked.site);
    let own = [
        printable(&ranked.site),
        ranked.score.map_or_else(nothing, |score| format!("{score:.2}")),
        candidate.cost.to_string(),
        before.map_or_else(nothing, |at| (at + 1).to_string()),
    ];
    let row = |(at, measured): (usize, &Measured)| {
        let [site, score, cost, before] = own.clone().map(|cell| if at == 0 { cell } else { String::new() });
        let [address, health, latency, lately, samples] = of_address(measured);
        vec![site, score, address, health, latency, lately, samples, cost, before]
    };
    candidate.addresses.iter().enumerate().map(row).collect()
}

fn of_address(measured: &Measured) -> [String; 5] {
    let ms = |us: u32| format!("{:.1}", f64::from(us) / 1e3);
    let health = serde_json::to_value(measured.figures.health).ok().and_then(|h| Some(h.as_str()?.to_owned()));
    [
        measured.figures.address.to_string(),
        health.unwrap_or_default(),
        measured.figures.latency_us.map_or_else(nothing, |us| format!("{} ms", ms(us))),
        measured.range_us.map_or_else(nothing, |(least, most)| format!("{} to {} ms", ms(least), ms(most))),
        measured.samples.to_string(),
    ]
}

fn nothing() -> String {
    "-".to_owned()
}
