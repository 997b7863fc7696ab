//! What an operator may set about how a DNS-LB is found and named, taken over while dns-b runs: zones
//! without client subnets (RFC 7871), referrals beside CNAMEs.

use dglb_node::lifecycle::Daemon;
use dglb_scenarios::{
    Chain, Ground, Size,
    chain::leads_to,
    configs::{self, WWW, ZONE, in_label},
    eventually,
    ground::dns,
    question::Question,
    scenario, so,
};
use dns_b::DnsB;
use hickory_proto::rr::RecordType;

/// May send client subnets, and is in nobody's map.
const FORWARDER: u8 = 8;

#[test]
fn client_subnets_can_be_ignored_and_referrals_added() {
    scenario("locate::client_subnets_can_be_ignored_and_referrals_added", async |ground| {
        let locate = |ground: &Ground, _: u8| format!("[locate]\necs-from = ['{}']\n", ground.isp(FORWARDER));
        let mut chain = Chain::settled(ground, Size { servers: 1, lbs: 2, sites: 1 }, locate).await;
        let server = dns(chain.ground.referral(1));
        let forwarder = chain.ground.isp(FORWARDER);
        let ask =
            async |subnet: &str| Question::new(forwarder, WWW, RecordType::A).for_client(subnet).ask(server).await;

        let reply = ask("10.2.7.0/24").await;
        leads_to(&reply, "lb2", 3_600);
        assert_eq!((reply.scope(), reply.authorities().len(), reply.additionals().len()), (Some(16), 0, 0));

        chain.reload_b(1, "ecs-from", &format!("ecs-off-zones = ['{ZONE}']\necs-from"));
        let ignored = async || {
            let reply = ask("10.2.7.0/24").await;
            so(reply.alias().is_none(), reply)
        };
        eventually("the resolver's own address decides", ignored).await;
        // Nobody sits beside it; the option is left out but for "do not use my address".
        let reply = ask("10.2.7.0/24").await;
        assert_eq!((reply.addresses(), reply.scope()), (configs::only(chain.ground.site(1)), None));
        assert_eq!(ask("0.0.0.0/0").await.scope(), Some(0));
        assert!(chain.b(1).decisions("aggregate").await >= 3);

        chain.reload_b(1, &format!("ecs-off-zones = ['{ZONE}']"), "referral-with-cname = true");
        let talkative = async || {
            let reply = ask("10.2.7.0/24").await;
            so(!reply.authorities().is_empty(), reply)
        };
        eventually("the referral comes along", talkative).await;
        let reply = ask("10.2.7.0/24").await;
        leads_to(&reply, "lb2", 3_600);
        let referral = chain.ask_b(1, 1, &in_label("lb2")).await;
        assert_eq!((reply.authorities(), reply.additionals()), (referral.authorities(), referral.additionals()));
        assert!(!reply.0.metadata.truncation && reply.scope() == Some(16));
    });
}

#[test]
fn a_zone_that_nobody_publishes_is_warned_of() {
    let ground = Ground::claim();
    let warnings = |zone: &str| {
        let files = configs::dns_b(&ground, 1, 1, 1, &format!("[locate]\necs-off-zones = ['{zone}']\n"));
        let loaded = DnsB::load(&files.main()).unwrap();
        assert_eq!(loaded.value.settings.ecs_off_zones, [zone.parse().unwrap()].into());
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(warnings(ZONE), [""; 0]);
    let warned = warnings("elsewhere.test");
    assert!(
        warned.len() == 1 && warned[0].contains(":4:17: locate.ecs-off-zones: no [[peer]] may publish"),
        "{warned:?}"
    );
}
