//! Decisions from a file, decided again: alike, or, when an input is another one, otherwise.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use dglb_core::{
    catalogue::{Form, Policy, Service, Site},
    decided::Decided,
    estimate::Measured,
    rank::{Inputs, Placed, rank},
    report::{Figures, Health},
};
use dglb_node::decisions::Record;
use serde_json::{Value, json};

/// 2026-05-04T03:02:01Z
const START: u64 = 1_777_863_721;

fn replay(log: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dglbctl"));
    command.arg("replay").arg(log).args(arguments).output().unwrap()
}

/// The exit code and what was said.
fn said(output: &Output) -> (Option<i32>, &str) {
    let said = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    (output.status.code(), std::str::from_utf8(said).unwrap())
}

fn service(name: &str, policy: Policy) -> Service {
    let site = |n: u8| json!({ "name": format!("s{n}"), "addresses": [format!("192.0.2.{n}")], "cost": 0.0 });
    let service = json!({ "name": name, "host": "www.test.", "mode": "referral", "ttl": 300, "answers": 1,
        "policy": policy, "probes": [], "sites": [site(1), site(2), site(3)] });
    serde_json::from_value(service).unwrap()
}

/// A decision so many seconds after the start: milliseconds to each site, which is down at 0.
fn record(name: &str, seconds: u64, ms: [u32; 3], previous: &[&str]) -> Record {
    let service = service(name, Policy::default());
    Record { unix_ms: (START + seconds) * 1_000, ..ranked(&service, ms, previous) }
}

fn ranked(service: &Service, ms: [u32; 3], previous: &[&str]) -> Record {
    let measured = |site: &Site, address| {
        let at = service.sites.iter().position(|s| s.name == site.name).unwrap();
        let health = if ms[at] == 0 { Health::Down } else { Health::Up };
        let latency_us = Some(ms[at] * 1_000);
        let range_us = latency_us.map(|l| (l, l + 500));
        Measured {
            figures: Figures { address, health, latency_us },
            samples: 9,
            range_us,
            ..Measured::unknown(address)
        }
    };
    let mut inputs = Inputs::new(service, 7, measured, None);
    inputs.previous = previous.iter().map(|site| Placed { site: (*site).to_owned(), share: 0 }).collect();
    let outcome = rank(&inputs);
    Record::now("sea1".parse().unwrap(), Decided::of(service, inputs, outcome))
}

fn lines(records: &[Record]) -> String {
    records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect()
}

#[test]
fn decisions_are_decided_again_and_shown_as_of_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("decisions.jsonl");
    let (www, api) = ("www.glb.test", "api.glb.test");
    // What was set aside comes first.
    let older = [record(www, 0, [50, 20, 90], &[]), record(api, 5, [10, 20, 30], &[])];
    fs::write(directory.path().join("decisions.jsonl.1"), lines(&older)).unwrap();
    fs::write(&log, lines(&[record(www, 60, [50, 0, 90], &["s2", "s1", "s3"])])).unwrap();
    let output = replay(&log, &[]);
    let expected = "\
2026-05-04T03:02:01.000Z sea1 www.glb.test.  192.0.2.2 (s2 s1 s3; score: s2 is first since it has the lowest score)
2026-05-04T03:02:06.000Z sea1 api.glb.test.  192.0.2.1 (s1 s2 s3; score: s1 is first since it has the lowest score)
2026-05-04T03:03:01.000Z sea1 www.glb.test.  192.0.2.1 (s1 s3 s2; score: s1 is first since it has the lowest score)
3 decisions, decided again as they were
";
    assert_eq!(said(&output), (Some(0), expected));
    let output = replay(&log, &["--service", api]);
    assert!(said(&output).1.ends_with("\n1 decision, decided again as they were\n"), "{output:?}");

    let output = replay(&log, &["--service", www, "--at", "2026-05-04 03:02:59"]);
    let expected = "\
2026-05-04T03:02:01.000Z sea1 www.glb.test.  192.0.2.2 (s2 s1 s3; score: s2 is first since it has the lowest score)
  SITE  SCORE  ADDRESS    HEALTH  ROUND TRIP  LATELY           SAMPLES
  s2    20.00  192.0.2.2  up      20.0 ms     20.0 to 20.5 ms  9
  s1    50.00  192.0.2.1  up      50.0 ms     50.0 to 50.5 ms  9
  s3    90.00  192.0.2.3  up      90.0 ms     90.0 to 90.5 ms  9
1 decision, decided again as they were
";
    assert_eq!(said(&output), (Some(0), expected));
    let output = replay(&log, &["--at", &(START + 60).to_string()]);
    assert_eq!(said(&output).1.matches("sea1").count(), 2, "one of each service: {output:?}");
    let output = replay(&log, &["--at", &(START - 1).to_string()]);
    let (exit, error) = said(&output);
    assert!(
        exit == Some(65) && error.contains("no such decision is there; the log begins at 2026-05-04T03:02:01"),
        "{error}"
    );
}

#[test]
fn another_input_leads_to_another_answer_and_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("x.jsonl");
    let text = lines(&[record("www.glb.test", 0, [50, 20, 90], &[]), record("www.glb.test", 9, [50, 21, 90], &["s2"])]);
    fs::write(&log, &text).unwrap();
    assert_eq!(replay(&log, &[]).status.code(), Some(0));
    // Of the second decision s3 is said to have been next door.
    let mut records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let address = &mut records[1]["inputs"]["sites"][2]["addresses"][0];
    (address["figures"]["latency_us"], address["range_us"]) = (json!(1_000), json!([1_000, 1_000]));
    fs::write(&log, records.iter().map(|record| format!("{record}\n")).collect::<String>()).unwrap();
    let output = replay(&log, &[]);
    let (exit, text) = said(&output);
    assert_eq!(exit, Some(1), "{text}");
    assert!(
        text.contains(" put down: 192.0.2.2 (s2 s1 s3;") && text.contains(" decides:  192.0.2.3 (s3 s2 s1;"),
        "{text}"
    );
    assert!(text.ends_with("\n2 decisions, 1 of them DIFFERENT\n"), "{text}");
    let output = replay(&log, &["--json"]);
    let documents: Vec<Value> = said(&output).1.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&documents[0]["same"], &documents[1]["same"]), (&true.into(), &false.into()));
    assert_eq!(documents[1]["again"]["answer"]["ipv4"], json!(["192.0.2.3"]));
    assert_eq!(output.status.code(), Some(1));
}

/// Where clients are shared out, an answer is that of a network.
#[test]
fn whose_answer_it_was_can_be_said() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("x.jsonl");
    let evenly = Policy { form: Form::RoundRobin, ..Policy::default() };
    let record = ranked(&service("www.glb.test", evenly), [50, 20, 90], &[]);
    fs::write(&log, lines(&[record])).unwrap();
    let answer = |client: &str| {
        let output = replay(&log, &["--json", "--from", client]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["same"], true);
        document["again"]["answer"]["ipv4"][0].as_str().unwrap().to_owned()
    };
    let clients = (0..24).map(|n| (answer(&format!("10.0.{n}.1")), answer(&format!("10.0.{n}.99"))));
    let answers: BTreeSet<_> =
        clients.map(|(one, other)| if one == other { one } else { panic!("of one network") }).collect();
    assert_eq!(answers, ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(str::to_owned).into());
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("x.jsonl");
    let fails = |arguments: &[&str], exit: i32, says: &str| {
        let output = replay(&log, arguments);
        let (code, error) = said(&output);
        assert!(code == Some(exit) && error.contains(says), "{code:?} {error}");
    };
    fails(&[], 66, "x.jsonl: No such file");
    fs::write(&log, "").unwrap();
    fails(&[], 65, "no such decision is there\n");
    fs::write(&log, "{}\n").unwrap();
    fails(&[], 65, "x.jsonl:1: this is no decision of a DGLB daemon");
    fails(&["--at", "yesterday"], 64, "wanted a time such as 2026-05-04T03:02:01Z");
    fails(&["--service", "a..b"], 64, "a..b");
}
