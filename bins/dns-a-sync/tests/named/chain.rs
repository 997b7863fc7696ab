//! From a real DNS-A over dns-a-sync to two real dns-bs and back.

use std::{net::SocketAddr, path::Path, sync::LazyLock, time::Instant};

use dglb_ca::Ephemeral;
use dglb_node::{
    ask::{Via, ask},
    lifecycle::{Daemon, Stopped, Tasks},
};
use dns_a_sync::DnsASync;
use dns_b::DnsB;
use hickory_proto::rr::RecordType;

use crate::support::{Named, PATIENCE, SECRET, Zone, lines, name, program};

const RECORDS: &str = "sea.sites A 203.0.113.1\nsea.sites AAAA 2001:db8::1\nfra.sites A 203.0.113.2";

/// Certificates of everybody in these tests, of one authority.
static AUTHORITY: LazyLock<Ephemeral> = LazyLock::new(|| Ephemeral::new().unwrap());

/// The configuration's key for the certificates of the host of this name, which are made for it.
fn tls(directory: &Path, name: &str) -> String {
    let beside = name.replace(':', "-");
    std::fs::create_dir_all(directory.join(&beside)).unwrap();
    AUTHORITY.write(&name.parse().unwrap(), &directory.join(&beside)).unwrap();
    Ephemeral::CONFIG.replace(" = '", &format!(" = '{beside}/"))
}

/// Runs a daemon from a configuration text.
async fn start<D: Daemon>(directory: &Path, text: &str) -> (D, Tasks) {
    let file = directory.join(format!("{}-{}.toml", D::NAME, rand::random::<u32>()));
    std::fs::write(&file, text).unwrap();
    let config = D::load(&file).unwrap_or_else(|error| panic!("{error}")).value;
    let mut tasks = Tasks::new();
    let daemon = D::start(config, &mut tasks).await.unwrap_or_else(|error| panic!("{error}"));
    (daemon, tasks)
}

async fn dns_b(directory: &Path, identity: &str) -> (DnsB, Tasks) {
    let tls = tls(directory, &format!("dglb:dns-b:{identity}"));
    let text = format!(
        "identity = '{identity}'\nfleet = 'fleet.toml'\nadmin.listen = '127.0.0.1:0'\n\
         dns = {{ referral = ['127.0.0.1:0'], fallback = ['127.0.0.1:0'], lanes = 1 }}\n\
         map = {{ listen = ['127.0.0.1:0'], {tls} }}\n\
         [[peer]]\nidentity = 'sync'\nrole = 'dns-a-sync'\nmay-publish = ['glb.foobar.test']\n"
    );
    start(directory, &text).await
}

async fn dns_a_sync(directory: &Path, named: &Named, servers: &[(&str, SocketAddr)]) -> (DnsASync, Tasks) {
    let tls = tls(directory, "dglb:dns-a-sync:sync");
    let mut text = format!(
        "identity = 'sync'\nmap.{tls}\nadmin.listen = '127.0.0.1:0'\n\
         delegation = {{ mode = 'update', interval = '100ms' }}\n\
         [dns-a]\nserver = '{}'\nzone = 'foobar.test'\ninterval = '100ms'\n\
         key = {{ name = 'dglb', algorithm = 'hmac-sha256', secret-file = 'key' }}\n\
         [[zone]]\nname = 'glb.foobar.test'\n[[zone.service]]\nname = 'www.glb.foobar.test'\n\
         host = 'www.foobar.test'\nprobe = [{{ kind = 'tcp' }}]\nsite = [\n\
           {{ name = 'sea', dns-name = 'sea.sites.foobar.test' }},\n\
           {{ name = 'fra', dns-name = 'fra.sites.foobar.test' }},\n]\n",
        named.address
    );
    for (identity, address) in servers {
        text += &format!("[[dns-b]]\nidentity = '{identity}'\naddress = '{address}'\n");
    }
    start(directory, &text).await
}

/// Waits until `server` answers the service's question of this type with one of `wanted`.
async fn answers(server: SocketAddr, rtype: RecordType, wanted: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask(server, Via::Udp, &name("www.glb.foobar.test"), rtype, PATIENCE).await.unwrap();
        let found: Vec<_> = answer.answers.iter().filter_map(|r| r.data.ip_addr()).map(|a| a.to_string()).collect();
        if !found.is_empty() && found.iter().all(|f| wanted.contains(&f.as_str())) {
            return;
        }
        assert!(Instant::now() < deadline, "{rtype}: {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_reach_the_dns_bs_and_their_delegation_reaches_dns_a() {
    let Some(program) = program() else { return };
    let named = Named::start(&program, &[Zone("foobar.test", RECORDS)]);
    let before = named.transfer("foobar.test");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key"), data_encoding::BASE64.encode(SECRET)).unwrap();
    let fleet = "serial = 3\noperator-zone = 'ops.test'\nhostmaster = 'h.ops.test'\nttl.apex-ns = 7200\n\
        [[dns-b]]\nidentity = 'b1'\nreferral = ['192.0.2.1', '2001:db8:1::1']\nfallback = ['192.0.2.11']\n\
        [[dns-b]]\nidentity = 'b2'\nreferral = ['192.0.2.2']\nfallback = ['192.0.2.12']\n";
    std::fs::write(directory.path().join("fleet.toml"), fleet).unwrap();
    let (b1, b1_tasks) = dns_b(directory.path(), "b1").await;
    let (b2, b2_tasks) = dns_b(directory.path(), "b2").await;
    let (sync, sync_tasks) = dns_a_sync(directory.path(), &named, &[("b1", b1.map[0]), ("b2", b2.map[0])]).await;

    for server in [b1.dns[0], b2.dns[0]] {
        answers(server, RecordType::A, &["203.0.113.1", "203.0.113.2"]).await;
        answers(server, RecordType::AAAA, &["2001:db8::1"]).await;
    }
    let mut wanted = before;
    wanted.extend(lines(&[
        "glb.foobar.test. 7200 NS b1.glb.foobar.test.",
        "glb.foobar.test. 7200 NS b2.glb.foobar.test.",
        "b1.glb.foobar.test. 7200 A 192.0.2.1",
        "b1.glb.foobar.test. 7200 AAAA 2001:db8:1::1",
        "b2.glb.foobar.test. 7200 A 192.0.2.2",
        "www.foobar.test. 3600 CNAME www.glb.foobar.test.",
    ]));
    let deadline = Instant::now() + PATIENCE;
    // BIND shows a change a moment before it says that it took it.
    while named.transfer("foobar.test") != wanted || sync.metrics.updates_taken() != 2 {
        let taken = sync.metrics.updates_taken();
        assert!(Instant::now() < deadline, "{taken} updates: {:#?}", named.transfer("foobar.test"));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for tasks in [sync_tasks, b1_tasks, b2_tasks] {
        assert_eq!(tasks.stop(PATIENCE).await, Stopped::default());
    }
}
