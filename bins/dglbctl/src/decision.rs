//! A decision as text for people: the rule, the sites in order with what was known of each, the addresses.

use dglb_core::{
    catalogue::Forced,
    decided::{Answered, Decided},
    estimate::Measured,
    rank::Candidate,
    report::RankedSite,
};
use serde_json::{Result, Value, to_value};

use crate::{
    replay::moment,
    table::{printable, table},
};

/// Cells that say nothing; a column that has no others is left out.
const NOTHING: &str = "-";

/// The order of the sites, and all that was compared.
pub(crate) fn sites(decided: &Decided) -> String {
    let titles = [
        "SITE",
        "SCORE",
        "ADDRESS",
        "HEALTH",
        "ROUND TRIP",
        "LATELY",
        "SAMPLES",
        "COST",
        "KM",
        "LOAD",
        "SHARE",
        "BARRED",
        "BEFORE",
        "FORCED",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for ranked in &decided.outcome.ranking.sites {
        let known = decided.inputs.sites.iter().find(|candidate| candidate.site.name == ranked.site);
        rows.extend(known.into_iter().flat_map(|candidate| of_site(decided, ranked, candidate)));
    }
    let says = |at: usize| rows.iter().skip(1).any(|row| !["", NOTHING].contains(&row[at].as_str()));
    let kept: Vec<usize> = (0..titles.len()).filter(|at| says(*at)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| kept.iter().map(|at| row[*at].clone()).collect()).collect();
    table(&rows)
}

/// The first site, and what gave it the first place.
pub(crate) fn rule(decided: &Decided) -> String {
    let first = decided.outcome.ranking.sites.first().map_or("none", |site| site.site.as_str());
    let rule = decided.outcome.rule;
    format!("{}: {} is first since {}", word(to_value(rule)), printable(first), rule.why())
}

/// The addresses that are answered, of both families.
pub(crate) fn addresses(answer: &Answered) -> String {
    let all: Vec<String> = answer.ipv4.iter().chain(&answer.ipv6).map(ToString::to_string).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
}

fn of_site(decided: &Decided, ranked: &RankedSite, candidate: &Candidate) -> Vec<Vec<String>> {
    let inputs = &decided.inputs;
    let before = inputs.previous.iter().position(|placed| placed.site == ranked.site);
    let bar = decided.outcome.barred.iter().find(|bar| bar.site == ranked.site);
    let bar = bar.map(|bar| format!("{}{}", bar.by.as_str(), if bar.loosened { " (overlooked)" } else { "" }));
    let km = inputs.here.location.and(candidate.site.location).map(|_| candidate.distance_km(&inputs.here));
    let percent = |thousandths: u32| format!("{:.1} %", f64::from(thousandths) / 10.0);
    let cost = Some(candidate.site.cost).filter(|cost| *cost != 0.0);
    let own = [
        Some(printable(&ranked.site)),
        ranked.score.map(|score| format!("{score:.2}")),
        cost.map(|cost| cost.to_string()),
        km.map(|km| format!("{km:.0}")),
        candidate.load().map(percent),
        Some(ranked.share).filter(|share| *share > 0).map(|share| percent(share.into())),
        bar,
        before.map(|at| (at + 1).to_string()),
        candidate.site.forced.as_ref().map(forced),
    ];
    let row = |(at, measured): (usize, &Measured)| {
        let own = own.clone().map(|cell| if at == 0 { cell.unwrap_or_else(nothing) } else { String::new() });
        let [site, score, cost, km, load, share, bar, before, forced] = own;
        let [address, health, latency, lately, samples] = of_address(measured);
        vec![site, score, address, health, latency, lately, samples, cost, km, load, share, bar, before, forced]
    };
    candidate.addresses.iter().enumerate().map(row).collect()
}

/// What the customer says of a site, until when, and why.
fn forced(Forced { state, until, reason }: &Forced) -> String {
    let until = moment(until.saturating_mul(1_000));
    format!("{} until {until}: {}", word(to_value(state)), printable(reason))
}

fn of_address(measured: &Measured) -> [String; 5] {
    let ms = |us: u32| format!("{:.1}", f64::from(us) / 1e3);
    let suspect = if measured.suspect { " (suspect)" } else { "" };
    [
        measured.figures.address.to_string(),
        word(to_value(measured.figures.health)) + suspect,
        measured.figures.latency_us.map_or_else(nothing, |us| format!("{} ms", ms(us))),
        measured.range_us.map_or_else(nothing, |(least, most)| format!("{} to {} ms", ms(least), ms(most))),
        measured.samples.to_string(),
    ]
}

/// What one of several is called in JSON.
fn word(one: Result<Value>) -> String {
    one.ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
}

fn nothing() -> String {
    NOTHING.to_owned()
}
