//! The daemon as a process and under reload.

use std::{path::Path, process::Command};

use dglb_node::lifecycle::{Daemon, StartError};
use dns_a_sync::DnsASync;

use crate::{
    dns_a::DnsA,
    dns_b::{DnsB, sites},
    settings::{Settings, Sync},
    tls::equip,
};

#[tokio::test]
async fn a_reload_takes_over_what_can_change_and_names_what_cannot() {
    let dns_a = DnsA::start().await;
    dns_a.set("sea.sites", &["203.0.113.1"]);
    dns_a.set("fra.sites", &["203.0.113.2"]);
    let mut b1 = DnsB::start("b1").await;
    let mut settings = Settings::new(dns_a.address, &[("b1", b1.address)]);
    let mut sync: Sync = Sync::start(&settings.file()).await;
    b1.welcome(&[]).await;
    assert_eq!(sites(&b1.accept().await).len(), 2);

    let load = |settings: &Settings| DnsASync::<false>::load(&settings.file()).unwrap().value;
    settings.replace("host = 'www.foobar.test'", "host = 'shop.foobar.test'\nttl = 60");
    sync.daemon.reload(load(&settings)).unwrap();
    let changed = b1.accept().await;
    assert_eq!((changed.services[0].ttl, changed.services[0].host.to_string()), (60, "shop.foobar.test.".to_owned()));

    settings.replace("identity = 'sync'", "identity = 'other'");
    let other = settings.file().with_file_name("other");
    std::fs::create_dir(&other).unwrap();
    equip("dglb:dns-a-sync:other", &other);
    for file in ["certificate.pem", "key.pem"] {
        settings.replace(&format!("'{file}'"), &format!("'other/{file}'"));
    }
    settings.replace("admin.listen = '127.0.0.1:0'", "admin.listen = '[::1]:0'");
    let error = sync.daemon.reload(load(&settings)).unwrap_err();
    assert_eq!(error, "only a restart can change identity, [map], admin.listen");
    b1.silence().await;
    sync.stop().await;
}

#[tokio::test]
async fn a_zone_that_comes_back_goes_to_who_missed_it_and_to_nobody_else() {
    let dns_a = DnsA::start().await;
    dns_a.set("sea.sites", &["203.0.113.1"]);
    dns_a.set("fra.sites", &["203.0.113.2"]);
    let (mut b1, mut b2) = (DnsB::start("b1").await, DnsB::start("b2").await);
    let mut settings = Settings::new(dns_a.address, &[("b1", b1.address), ("b2", b2.address)]);
    let one = settings.text.clone();
    settings.text += "[[zone]]\nname = 'api.foobar.test'\n[[zone.service]]\nname = 'www.api.foobar.test'\n\
        host = 'api-www.foobar.test'\nprobe = [{ kind = 'tcp' }]\n\
        site = [{ name = 'sea', dns-name = 'sea.sites.foobar.test' }]\n";
    let load = |settings: &Settings| DnsASync::<false>::load(&settings.file()).unwrap().value;
    let mut sync: Sync = Sync::start(&settings.file()).await;
    for b in [&mut b1, &mut b2] {
        b.welcome(&[]).await;
        b.accept().await;
        b.accept().await;
    }

    // While the zone is gone, b2 starts anew without its store.
    let both = std::mem::replace(&mut settings.text, one);
    sync.daemon.reload(load(&settings)).unwrap();
    sync.until("one zone", |s| s["zones"].as_array().is_some_and(|z| z.len() == 1)).await;
    let address = b2.stop().await;
    sync.until("down", |s| s["dns_bs"][1]["link"] == "down").await;
    let mut b2 = DnsB::start_at("b2", address).await;
    b2.welcome(&[]).await;
    assert_eq!(b2.accept().await.zone.to_string(), "glb.foobar.test.");

    settings.text = both;
    sync.daemon.reload(load(&settings)).unwrap();
    let missed = b2.accept().await;
    assert_eq!((missed.zone.to_string(), missed.generation), ("api.foobar.test.".to_owned(), 1));
    b1.silence().await;
    b2.silence().await;
    sync.stop().await;
}

#[tokio::test]
async fn state_that_is_not_ours_stops_the_start() {
    let dns_a = DnsA::start().await;
    let settings = Settings::new(dns_a.address, &[("b1", "127.0.0.1:9".parse().unwrap())]).with_state();
    std::fs::write(settings.state_dir().join("published.json"), "{").unwrap();
    let Err(error) = Sync::<false>::try_start(&settings.file()).await else { panic!("it started") };
    assert!(matches!(&error, StartError::Configuration(text) if text.contains("published.json")), "{error}");
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dns-a-sync"))
}

#[test]
fn the_program_checks_a_file_and_explains_itself() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/dns-a-sync.toml");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let sample = directory.path().join("dns-a-sync.toml");
    std::fs::write(&sample, shipped.replace("/etc/dglb/tls/", "")).unwrap();
    equip("dglb:dns-a-sync:foobar", directory.path());
    for force in [&["--check"][..], &["--check", "--force"]] {
        let good = program().args(force).arg("--config").arg(&sample).output().unwrap();
        assert_eq!(good.status.code(), Some(0), "{good:?}");
    }
    let settings = Settings::new("127.0.0.1:53".parse().unwrap(), &[]);
    let bad = program().arg("--check").arg("--config").arg(settings.file()).output().unwrap();
    assert_eq!(bad.status.code(), Some(78));
    assert!(String::from_utf8(bad.stderr).unwrap().contains("nobody to publish to"));
    let help = program().arg("--help").output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("--force"));
}
