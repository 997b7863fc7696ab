//! Reading the sites.

use std::{net::IpAddr, sync::Arc, time::Duration};

use dns_a_sync::{
    dns_a::{AskError, DnsA},
    source::{Reading, Source, SourceError, poll},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::support::{Named, PATIENCE, Zone, config, name, program};

const RECORDS: &str = "
sea.sites A 203.0.113.10
sea.sites AAAA 2001:db8::10
sea.sites A 203.0.113.9
fra.sites CNAME fra-2.sites
fra-2.sites CNAME fra-3.sites
fra-3.sites A 203.0.113.20
txt.sites TXT x
away.sites CNAME www.example.net.
cut.sites NS ns.cut.sites
ns.cut.sites A 127.0.0.1
";

fn source(server: DnsA, names: &[&str]) -> Source {
    Source::new(Arc::new(server), name("foobar.test"), names.iter().map(|n| name(n)).collect())
}

fn addresses(reading: &Reading, of: &str) -> Vec<String> {
    reading.addresses[&name(of)].iter().map(IpAddr::to_string).collect()
}

#[tokio::test]
async fn every_site_is_read_with_the_serial() {
    let Some(program) = program() else { return };
    let named = Named::start(&program, &[Zone("foobar.test", RECORDS)]);
    let sites = ["sea.sites.foobar.test", "fra.sites.foobar.test", "txt.sites.foobar.test", "gone.sites.foobar.test"];
    let reading = source(named.client(None), &sites).read().await.unwrap();
    assert_eq!(reading.serial, 10);
    assert_eq!(addresses(&reading, sites[0]), ["203.0.113.9", "203.0.113.10", "2001:db8::10"]);
    assert_eq!(addresses(&reading, sites[1]), ["203.0.113.20"], "through two aliases");
    assert!(addresses(&reading, sites[2]).is_empty(), "no data is an answer");
    assert!(addresses(&reading, sites[3]).is_empty(), "no such name is an answer");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_udp_is_read_by_tcp() {
    let Some(program) = program() else { return };
    let many: String = (0..90).map(|n| format!("big.sites A 198.51.100.{n}\n")).collect();
    let named = Named::start(&program, &[Zone("foobar.test", &many)]);
    let reading = source(named.client(None), &["big.sites.foobar.test"]).read().await.unwrap();
    assert_eq!(addresses(&reading, "big.sites.foobar.test").len(), 90);
}

#[tokio::test]
async fn what_dns_a_does_not_say_with_authority_is_unreadable_and_hides_nothing_else() {
    let Some(program) = program() else { return };
    let named = Named::start(&program, &[Zone("foobar.test", RECORDS)]);
    let strange = ["away.sites.foobar.test", "x.cut.sites.foobar.test", "www.example.net"];
    let names = [&["sea.sites.foobar.test"][..], &strange].concat();
    let reading = source(named.client(None), &names).read().await.unwrap();
    assert_eq!(addresses(&reading, "sea.sites.foobar.test").len(), 3);
    assert_eq!((reading.addresses.len(), reading.unreadable.len()), (1, 3));
    for (site, says) in strange.iter().zip(["leads to www.example.net.", "no authority", "Refused"]) {
        let why = &reading.unreadable[&name(site)];
        assert!(why.contains(says), "{why}");
    }
    let wrong = Source::new(Arc::new(named.client(None)), name("sites.foobar.test"), Default::default());
    let error = wrong.read().await.unwrap_err();
    assert!(matches!(error, SourceError::NoZone(_)), "{error}");
    let foreign = Source::new(Arc::new(named.client(None)), name("example.net"), Default::default());
    let error = foreign.read().await.unwrap_err();
    assert!(matches!(error, SourceError::Ask(AskError::Failed { .. })), "{error}");
}

#[tokio::test]
async fn a_dead_dns_a_is_heard_of_and_its_return_too() {
    let Some(program) = program() else { return };
    let mut named = Named::start(&program, &[Zone("foobar.test", RECORDS)]);
    let (sender, mut readings) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let mut config = config(&named, None);
    config.dns_a.interval = Duration::from_millis(50);
    config.dns_a.timeout = Duration::from_millis(200);
    let (_config, config) = watch::channel(Arc::new(config));
    let task = tokio::spawn(poll(config, sender, stop.clone()));
    let mut until = async |good: bool| {
        tokio::time::timeout(PATIENCE, async { while readings.recv().await.unwrap().is_ok() != good {} })
            .await
            .unwrap();
    };
    until(true).await;
    named.stop();
    until(false).await;
    named.restart();
    until(true).await;
    stop.cancel();
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
}
