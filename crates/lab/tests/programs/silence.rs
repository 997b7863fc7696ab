//! What a client behind each resolver notices when the name server in use is cut off without a
//! word, its neighbour being there: the resolver's retry, never a failure. The client asks again as
//! stub resolvers do: Unbound finishes a look-up of more than 1.9 s for its cache alone and drops the
//! answer (`discard-timeout`), so that who asks once would wait for ever.

use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dglb_lab::{HostSpec, Lab, Options, Topology};
use hickory_proto::rr::RecordType;

use crate::families::{RESOLVERS, alone, installed};
use crate::harness::{ask_again, counters_of, recursive};

/// The longest that a client may wait. `dig` and stub resolvers give up after 5 s, and a busy machine gets three times
/// that.
const BOUND: Duration = Duration::from_secs(15);
/// Look-ups after the cut, each of a name that no cache has.
const LOOKUPS: usize = 12;

const ROOT: &str = "
$TTL 86400
@ SOA a.root-lab. h.root-lab. 1 1800 900 604800 86400
@ NS a.root-lab.
a.root-lab. A {v4:root}
test. NS near.test.
test. NS far.test.
near.test. A {v4:near}
far.test. A {v4:far}
";

const TEST: &str = "
$TTL 86400
@ SOA near h 1 300 60 604800 30
@ NS near
@ NS far
near A {v4:near}
far A {v4:far}
* A 192.0.2.1
";

fn topology(resolvers: &[&str]) -> Topology {
    let server = |origin: &str, text: &str| {
        format!("kind = \"name-server\"\nzones = [{{ origin = \"{origin}\", text = '''{text}''' }}]")
    };
    let mut programs = vec![
        ("root", server(".", ROOT)),
        ("near", server("test", TEST)),
        ("far", server("test", TEST)),
        ("client", String::new()),
    ];
    programs.extend(resolvers.iter().map(|kind| (*kind, format!("kind = \"{kind}\"\nroots = [\"root\"]"))));
    let host = |(number, (name, program)): (u8, (&str, String))| {
        let mut host = HostSpec::new(name, [[10, 9, 1, number].into()]);
        host.program = (!program.is_empty()).then(|| program.parse::<toml::Table>().unwrap().into());
        host
    };
    Topology { hosts: (1..).zip(programs).map(host).collect(), ..Topology::default() }
}

/// Looks a fresh name up; how long it took.
fn lookup(lab: &Lab, resolver: &str, label: &str) -> Duration {
    let server = SocketAddr::new(lab.topology().addresses(resolver).unwrap()[0], 53);
    let question = recursive(&format!("{label}.test."), RecordType::A);
    let start = Instant::now();
    let reply = lab.in_host("client", || ask_again(server, &question, BOUND)).unwrap();
    let took = start.elapsed();
    assert_eq!(
        reply.answers.len(),
        1,
        "{resolver}: {label} after {took:?}: {reply}\n{}",
        lab.log_tail(resolver).unwrap()
    );
    took
}

#[test]
fn a_silent_server_costs_a_retry() {
    alone("silence::a_silent_server_costs_a_retry", || {
        let resolvers = installed(&RESOLVERS);
        let lab = Lab::up(&topology(&resolvers), &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        let asked = |host: &str| counters_of(lab.host_dir(host).unwrap())["lab_queries_total"];
        for resolver in resolvers {
            let before = (asked("near"), asked("far"));
            for n in 0..6 {
                lookup(&lab, resolver, &format!("{resolver}-warm{n}"));
            }
            // Whichever it likes best is the one to go.
            let (near, far) = (asked("near") - before.0, asked("far") - before.1);
            let (cut, left) = if near >= far { ("near", "far") } else { ("far", "near") };
            lab.cut_host(cut).unwrap();
            let before = asked(left);
            let slowest = (0..LOOKUPS).map(|n| lookup(&lab, resolver, &format!("{resolver}-cold{n}"))).max().unwrap();
            let _ = writeln!(stderr(), "{resolver}: the slowest of {LOOKUPS} look-ups took {slowest:?}");
            assert!(slowest < BOUND, "{resolver}: {slowest:?}");
            assert!(asked(left) >= before + LOOKUPS as u64, "{resolver}: {left} has answered");
            lab.heal_host(cut).unwrap();
        }
    });
}
