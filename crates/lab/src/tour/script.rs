//! What happens on the tour, told as it happens.

use std::time::{Duration, Instant};

use crate::{
    process::Signal,
    trace::Trace,
    world::{ISPS, Plan, SITES, WWW, World, WorldError, site},
};

/// How long everybody may take to find each other.
const SETTLE: Duration = Duration::from_secs(20);
/// A client's stub resolver gives up after this: two tries of 5 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// After the site died: two failed probes a second apart with half a second's patience and their
/// jitter, one address TTL, and a margin for a loaded machine.
const FAILOVER: Duration = Duration::from_secs(12);
/// Look-ups, one a second, after a DNS-LB was cut off.
const AFTER_THE_CUT: u32 = 12;

/// Who is who, and how far from whom.
pub(super) fn introduce(plan: &Plan) {
    println!("A private Internet on this machine: every host a network namespace, every distance real.\n");
    println!("  {WWW} has {SITES} sites. Two ISPs with a DNS-LB beside each one's resolver; a third");
    println!("  DNS-LB, lb3, stands elsewhere and serves whoever is unknown. DNS-A, behind a root and a");
    println!("  TLD, delegates {} to the referral servers b1 and b2.\n", plan.zone());
    let distances = plan.distances();
    println!("  round trip (ms)     {}", (0..SITES).map(|s| format!("{:>7}", site(s))).collect::<String>());
    for isp in 0..ISPS {
        let row: String = distances.isp[isp].iter().map(|ms| format!("{ms:>7}")).collect();
        println!("    from ISP {}        {row}   resolver: {}", isp + 1, plan.resolvers[isp].describe());
    }
    let row: String = distances.default.iter().map(|ms| format!("{ms:>7}")).collect();
    println!("    from lb3          {row}   wrong for both ISPs");
    println!(
        "  DNS-A: {}. Drawn from seed {} (--seed {} plays it again).\n",
        plan.dns_a.describe(),
        plan.seed,
        plan.seed
    );
}

/// Plays it; returns everything that went wrong.
pub(super) fn play(world: &World) -> Result<Vec<String>, WorldError> {
    let mut wrong = Vec::new();
    chapter("1  Everybody finds each other");
    let took = settle(world)?;
    println!("  after {took:.1?}: every DNS-LB has measured {SITES} sites, was checked, and is handed out");
    chapter("2  The first look-up of each ISP's client, hop by hop");
    for isp in 0..ISPS {
        first_look_up(world, isp, &mut wrong)?;
    }
    matched_prefixes(world, &mut wrong)?;
    if !wrong.is_empty() {
        println!("  What never worked need not be broken: the tour ends here.");
        return Ok(wrong);
    }
    chapter("3  The site in use dies");
    site_dies(world, &mut wrong)?;
    chapter("4  A DNS-LB's host is cut off without a word");
    lb_is_cut_off(world, &mut wrong)?;
    Ok(wrong)
}

fn chapter(title: &str) {
    println!("\n{title}");
}

/// The resolvers stay cold: only the daemons are looked at.
fn settle(world: &World) -> Result<Duration, WorldError> {
    let started = Instant::now();
    world.wait_handed_out(SETTLE)?;
    world.wait_delegated(SETTLE)?;
    Ok(started.elapsed())
}

fn first_look_up(world: &World, isp: usize, wrong: &mut Vec<String>) -> Result<(), WorldError> {
    let client = format!("client{}", isp + 1);
    let trace = Trace::start(world.lab());
    let got = world.look_up(isp, world.qtype(), PATIENCE)?;
    println!();
    let resolver = format!("isp{}", isp + 1);
    // Checks and transfers between others go on at the same time.
    for hop in trace.hops().into_iter().filter(|h| h.from == client || h.from == resolver) {
        let took = hop.took.map_or_else(|| "      -".into(), |t| format!("{:>4} ms", t.as_millis()));
        let to = if world.plan().fallback_addresses(&hop.to).contains(&hop.destination) {
            format!("{} for lb", hop.to)
        } else {
            hop.to
        };
        println!(
            "  {:>4} ms  {:>7} → {:<9} {:<27} {took}  {}",
            hop.at.as_millis(),
            hop.from,
            to,
            hop.question,
            hop.answer
        );
    }
    let best = world.plan().distances().best(isp, |_| true);
    let Some(given) = got.address().and_then(|a| world.site_of(a)) else {
        wrong.push(format!("{client} got no site"));
        return Ok(());
    };
    let mut measured = Vec::new();
    for s in 0..SITES {
        measured.push(world.round_trip(isp, s)?.map_or(f64::NAN, |t| t.as_secs_f64() * 1e3));
    }
    let least = measured.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = measured.iter().sum::<f64>() / SITES as f64;
    println!(
        "  {client} got {} in {:.0?}: {:.1} ms away. Best possible {least:.1} ms; round robin {mean:.1} ms on average.",
        site(given),
        got.took,
        measured[given],
    );
    if given != best {
        wrong.push(format!("{client} got {} instead of {}", site(given), site(best)));
    }
    Ok(())
}

/// The right answer by the wrong road is a mistake: the map must have matched.
fn matched_prefixes(world: &World, wrong: &mut Vec<String>) -> Result<(), WorldError> {
    let mut mapped = 0;
    for server in ["b1", "b2"] {
        mapped += world.counter(server, "dglb_dns_decisions_total", "decision=\"mapped\"")?;
    }
    println!("\n  b1 and b2 found the resolver's own DNS-LB in their map {mapped} times.");
    if mapped < ISPS as u64 {
        wrong.push(format!("the map matched {mapped} times for {ISPS} ISPs"));
    }
    Ok(())
}

fn site_dies(world: &World, wrong: &mut Vec<String>) -> Result<(), WorldError> {
    let distances = world.plan().distances();
    let dead = distances.best(0, |_| true);
    world.lab().kill(&site(dead), Signal::Kill)?;
    println!("  {} is killed. client1 asks again and again:", site(dead));
    let want = distances.best(0, |s| s != dead);
    let moved = world.wait("client1 is sent elsewhere", FAILOVER, || {
        let got = world.look_up(0, world.qtype(), PATIENCE)?;
        let at = got.address().and_then(|a| world.site_of(a));
        Ok((at == Some(want), got.describe()))
    });
    match moved {
        Ok(took) => println!("  after {took:.1?} it gets {}, the best that is left (bound {FAILOVER:?}).", site(want)),
        Err(error) => wrong.push(error.to_string()),
    }
    if world.lab().start(&site(dead)).is_ok() {
        println!("  {} is started again.", site(dead));
    }
    let back = world.wait("client1 is sent back", FAILOVER + FAILOVER, || {
        let got = world.look_up(0, world.qtype(), PATIENCE)?;
        let at = got.address().and_then(|a| world.site_of(a));
        Ok((at == Some(dead), got.describe()))
    });
    match back {
        Ok(took) => println!("  after {took:.1?} client1 is back at {}.", site(dead)),
        Err(error) => wrong.push(error.to_string()),
    }
    Ok(())
}

fn lb_is_cut_off(world: &World, wrong: &mut Vec<String>) -> Result<(), WorldError> {
    let distances = world.plan().distances();
    let isp = distances.telling_isp();
    let (client, lb) = (format!("client{}", isp + 1), format!("lb{}", isp + 1));
    let best = distances.best(isp, |_| true);
    println!(
        "  {lb} vanishes from the net; its resolver has {lb} in its cache for an hour. {} is best here,\n  \
         and neither first in the customer's order nor best for lb3: only who knows {lb}'s ranking can say so.",
        site(best)
    );
    world.lab().cut_host(&lb)?;
    let (mut slowest, mut failed, mut elsewhere) = (Duration::ZERO, 0, 0);
    for _ in 0..AFTER_THE_CUT {
        let started = Instant::now();
        let got = world.look_up(isp, world.qtype(), PATIENCE)?;
        slowest = slowest.max(got.took);
        failed += u32::from(!got.succeeded());
        elsewhere += u32::from(got.address().and_then(|a| world.site_of(a)) != Some(best));
        std::thread::sleep(Duration::from_secs(1).saturating_sub(started.elapsed()));
    }
    println!(
        "  {client}: {AFTER_THE_CUT} look-ups a second apart, {failed} failed, the slowest took {slowest:.1?}; {} went to {}.",
        AFTER_THE_CUT - elsewhere,
        site(best)
    );
    if failed > 0 || elsewhere > 0 {
        wrong.push(format!(
            "with {lb} cut off {failed} look-ups failed and {elsewhere} went elsewhere than {}",
            site(best)
        ));
    }
    let mut spoken = 0;
    for server in ["b1", "b2"] {
        spoken += world.counter(server, "dglb_dns_decisions_total", "decision=\"label\"")?;
    }
    println!("  The fall-backs of b1 and b2 answered in {lb}'s name, from its last report ({spoken} times in all).");
    if spoken == 0 {
        wrong.push(format!("no fall-back answered in {lb}'s name"));
    }
    Ok(())
}
