//! A site that the operator of a DNS-LB forces down: through the admin endpoint, to the answers, and back.

use dglb_node::admin::CHANGE_HEADER;
use dglb_scenarios::{
    Chain, Size,
    configs::{WWW, in_label},
    eventually, scenario, so,
};
use serde_json::json;

async fn force(admin: &str, parameters: &str) -> (u16, String) {
    let url = format!("http://{admin}/api/v1/force?service={WWW}&site=s1&{parameters}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.post(url).header(CHANGE_HEADER, "yes").send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[test]
fn a_forced_site_moves_the_answers_until_its_time_is_over() {
    scenario("force::a_forced_site_moves_the_answers_until_its_time_is_over", async |ground| {
        let chain = Chain::settled(ground, Size { servers: 1, lbs: 1, sites: 2 }, |_, _| String::new()).await;
        let (lb, name) = (chain.lb(1), in_label("lb1"));
        let admin = lb.daemon.admin_address().to_string();
        let answered = async || chain.ask_lb(1, &name).await.addresses();
        assert_eq!(answered().await, [chain.ground.site(1)]);
        let back = async || {
            eventually("it is back", async || {
                let addresses = answered().await;
                so(addresses == [chain.ground.site(1)], addresses)
            })
            .await;
        };
        for (state, end) in [("down", "state=none"), ("draining", "")] {
            // The second one ends by itself.
            let seconds = if end.is_empty() { 10 } else { 600 };
            let before = lb.counter("dglb_lb_ranking_changes_total").await;
            let (code, said) = force(&admin, &format!("state={state}&seconds={seconds}&reason=roof")).await;
            assert_eq!(code, 200, "{said}");
            eventually("nobody new is sent there", async || {
                let addresses = answered().await;
                so(addresses == [chain.ground.site(2)], addresses)
            })
            .await;
            assert!(lb.counter("dglb_lb_ranking_changes_total").await > before);
            if !end.is_empty() {
                eventually("the status says who forces what", async || {
                    let forced = lb.status().await["forced"][0].clone();
                    so((&forced["site"], &forced["by"]) == (&json!("s1"), &json!("operator")), forced)
                })
                .await;
                assert_eq!(force(&admin, end).await.0, 200);
            }
            back().await;
        }
        let (code, said) = force(&admin, "state=up&seconds=1&reason=").await;
        assert_eq!((code, said.as_str()), (422, "reason has 1 to 200 octets\n"));
    });
}
