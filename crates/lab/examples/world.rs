//! scratch
use dglb_lab::{Lab, Options, world::Plan};
use std::time::{Duration, Instant};
fn main() -> std::process::ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|a| a == "run") {
        return dglb_lab::programs::run(&args[1..]);
    }
    let plan = Plan::new(std::env::args().nth(1).map_or(0, |s| s.parse().unwrap()));
    let t = Instant::now();
    let lab =
        Lab::up(&plan.topology(), &Options { keep_dir: true, ..Options::default() }).unwrap_or_else(|e| panic!("{e}"));
    println!("up after {:?} in {}", t.elapsed(), lab.dir().display());
    for _ in 0..20 {
        std::thread::sleep(Duration::from_secs(1));
        for (c, r) in [("client1", "10.66.1.53"), ("client2", "10.66.2.53")] {
            let t = Instant::now();
            let out = lab
                .exec(
                    c,
                    &[
                        "dig",
                        "+tries=1",
                        "+time=5",
                        &format!("@{r}"),
                        "www.foobar.test",
                        "A",
                        "+noall",
                        "+answer",
                        "+comments",
                    ],
                    Duration::from_secs(10),
                )
                .unwrap();
            println!("{c} {:?}\n{}", t.elapsed(), String::from_utf8_lossy(&out.stdout));
        }
    }
    std::process::ExitCode::SUCCESS
}
