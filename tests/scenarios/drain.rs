//! A DNS-LB that the operator drains: through the admin endpoint, to the answers, and to itself.

use dglb_node::admin::CHANGE_HEADER;
use dglb_scenarios::{Chain, Ground, Size, chain::leads_to, configs::WWW, eventually, scenario, so};
use serde_json::Value;

/// Where a resolver goes whose own DNS-LB is drained.
fn default_group(_: &Ground, _: u8) -> String {
    "[[default]]\ndns-lb = 'lb2'\n".to_owned()
}

async fn drain(admin: &str, identity: &str, drained: bool) -> Value {
    let url = format!("http://{admin}/api/v1/drain?dns-lb={identity}&drained={drained}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.post(url).header(CHANGE_HEADER, "yes").send().await.unwrap();
    assert_eq!(response.status(), 200);
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[test]
fn a_drained_dns_lb_gets_nobody_new_and_knows_of_it() {
    scenario("drain::a_drained_dns_lb_gets_nobody_new_and_knows_of_it", async |ground| {
        let chain = Chain::settled(ground, Size { servers: 1, lbs: 2, sites: 1 }, default_group).await;
        let b1 = chain.b(1);
        leads_to(&chain.ask_b(1, 1, WWW).await, "lb1", 3_600);
        let map: Value = serde_json::from_str(&b1.page("/api/v1/map").await).unwrap();
        let isp = format!("{}/32", chain.ground.isp(1));
        let entries = map["entries"].as_array().unwrap();
        let entry = entries.iter().find(|e| e["prefix"] == isp.as_str()).unwrap();
        assert_eq!(
            (&entry["dns_lb"], &entry["state"], &entry["linked"]),
            (&"lb1".into(), &"alive".into(), &true.into())
        );

        let admin = b1.daemon.admin.to_string();
        assert_eq!(drain(&admin, "lb1", true).await["changed"], true);
        // Its resolver goes to the default group for now, and the DNS-LB says so to its own operator.
        eventually("others take its place", async || {
            let reply = chain.ask_b(1, 1, WWW).await;
            so(reply.alias().is_some_and(|(target, _)| target.to_lowercase().contains("lb2")), reply)
        })
        .await;
        let told = async |by: Value| {
            eventually("the DNS-LB knows", async || {
                let status = chain.lb(1).status().await;
                so(status["drained_by"] == by, status["drained_by"].clone())
            })
            .await;
        };
        told(serde_json::json!(["b1"])).await;
        assert_eq!(drain(&admin, "lb1", false).await["changed"], true);
        told(serde_json::json!([])).await;
        eventually("it is back", async || {
            let reply = chain.ask_b(1, 1, WWW).await;
            so(reply.alias().is_some_and(|(target, _)| target.to_lowercase().contains("lb1")), reply)
        })
        .await;
    });
}
