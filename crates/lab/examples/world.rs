//! scratch
use dglb_lab::{Options, Signal, world::*};
use std::time::{Duration, Instant};
fn main() -> std::process::ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|a| a == "run") {
        return dglb_lab::programs::run(&args[1..]);
    }
    let mut plan = Plan::new(1);
    plan.resolvers = [Resolver::Bind, Resolver::Knot];
    plan.families = Families::V4;
    plan.dns_a = DnsA::Bind;
    let w = World::up(plan, &Options { keep_dir: true, ..Options::default() }).unwrap_or_else(|e| panic!("{e}"));
    w.settle(Duration::from_secs(30)).unwrap();
    let go = |n: u32, label: &str| {
        for i in 0..n {
            let t = Instant::now();
            for isp in 0..2 {
                let g = w.look_up(isp, w.qtype(), Duration::from_secs(5)).unwrap();
                let lb = format!("lb{}", isp + 1);
                let c = w.lab().counters(&format!("isp{}", isp + 1), &lb).unwrap();
                println!("{label} {i} isp{} {} {:?} sent {} cut {} ; lb says {:?}", isp + 1, g.describe(), g.took, c.sent, c.cut,
                    ["label", "not-ready", "refused", "authority"].map(|d| w.counter(&lb, "dglb_dns_decisions_total", &format!("decision=\"{d}\"")).unwrap_or(9999)));
                w.murmur(isp, 5).unwrap();
            }
            std::thread::sleep(Duration::from_secs(1).saturating_sub(t.elapsed()));
        }
    };
    go(5, "before");
    w.lab().kill("lb1", Signal::Kill).unwrap();
    w.lab().cut_host("lb2").unwrap();
    go(25, "dead");
    w.lab().start("lb1").unwrap();
    w.lab().heal_host("lb2").unwrap();
    go(200, "back");
    std::process::ExitCode::SUCCESS
}
