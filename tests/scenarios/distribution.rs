//! Which zones go where, and when: on referral a zone goes to a DNS-LB only once somebody asks there for
//! a service of it, and from the first question on there is an answer.

use dglb_core::{
    catalogue::{CatalogueUpdate, Withdrawal, ZoneCatalogue},
    proto::message::{Message, PeerRole},
};
use dglb_scenarios::{
    Chain, Ground, Size, configs, eventually, ground::dns, peer::Peer, question::Question, scenario, so,
};
use hickory_proto::{op::ResponseCode, rr::RecordType};

/// Longer than the chain's own zone, in which DNS-LBs are checked.
const SECOND: &str = "second.example.test";

fn on_referral(_: &Ground, _: u8) -> String {
    format!(
        "[catalogues]\npush = 'on-referral'\n\
         [[peer]]\nidentity = 'sync2'\nrole = 'dns-a-sync'\nmay-publish = ['{SECOND}']\n"
    )
}

fn second(ground: &Ground, generation: u64) -> ZoneCatalogue {
    let mut zone = configs::catalogue(ground, 1, generation);
    zone.zone = SECOND.parse().unwrap();
    zone.services[0].name = format!("www.{SECOND}").parse().unwrap();
    zone
}

/// Says something of the second zone, which must be accepted.
async fn publish(sync: &mut Peer, message: Message) {
    sync.say(message);
    let ack = sync.hear("CATALOGUE-ACK", |m| if let Message::CatalogueAck(ack) = m { Some(ack) } else { None }).await;
    assert_eq!(ack.refused, None);
}

#[test]
fn on_referral_there_is_an_answer_from_the_first_question_on() {
    scenario("distribution::on_referral_there_is_an_answer_from_the_first_question_on", async |ground| {
        let size = Size { servers: 2, lbs: 1, sites: 1 };
        let chain = Chain::settled(ground, size, on_referral).await;
        let (ground, lb) = (&chain.ground, chain.lb(1));
        let mut publishers = Vec::new();
        for server in 1..=2 {
            let mut sync = Peer::dial(ground.map(server), "sync2", PeerRole::DnsASync).await;
            publish(&mut sync, Message::snapshot(second(ground, 1))).await;
            publishers.push(sync);
        }
        assert_eq!(lb.status().await["catalogues"].as_object().map(|zones| zones.len()), Some(1));

        // Handed out without a ranking; asked, it answers with what a dns-b says.
        let reply = chain.ask_b(1, 1, &format!("www.{SECOND}")).await;
        let inner = format!("www.lb1.{SECOND}.");
        assert_eq!(reply.alias().map(|(target, _)| target.to_lowercase()), Some(inner.clone()));
        let reply = chain.ask_lb(1, &inner).await;
        assert_eq!((reply.code(), reply.addresses()), (ResponseCode::NoError, configs::only(ground.site(1))));
        assert!(reply.is_authoritative());
        assert!(lb.decisions("relay").await >= 1);

        eventually("the zone has come and is measured", async || {
            let reply = chain.ask_lb(1, &inner).await;
            assert_eq!((reply.code(), reply.addresses()), (ResponseCode::NoError, configs::only(ground.site(1))));
            let (relayed, own) = (lb.decisions("relay").await, lb.decisions("label").await);
            so(own > 0, (relayed, own))
        })
        .await;
        let relayed = lb.decisions("relay").await;
        eventually("all that were relayed are counted", async || {
            let answered = lb.counter("dglb_dns_relay_answered_total").await;
            so(answered == relayed, answered)
        })
        .await;
        // From now on it knows what is not there, too.
        let reply = chain.ask_lb(1, &format!("other.lb1.{SECOND}")).await;
        assert_eq!((reply.code(), lb.decisions("relay").await), (ResponseCode::NXDomain, relayed));
        for server in 1..=2 {
            eventually(&format!("b{server} knows whom to keep up to date"), async || {
                let wants = chain.b(server).counter("dglb_wants_total").await;
                so(wants == 1, wants)
            })
            .await;
        }

        what_no_dns_b_knows(&chain).await;
        withdraw(&chain, &mut publishers).await;
    });
}

/// A name in no zone at all gets SERVFAIL, over UDP and TCP, and is asked for once.
async fn what_no_dns_b_knows(chain: &Chain) {
    let (ground, lb) = (&chain.ground, chain.lb(1));
    let name = "www.lb1.nowhere.test";
    let question = Question::new(ground.isp(1), name, RecordType::A);
    for question in [question.clone(), question.over_tcp()] {
        let reply = question.ask(dns(ground.lb(1))).await;
        assert_eq!((reply.code(), reply.extended_error()), (ResponseCode::ServFail, Some(14)));
    }
    eventually("both are counted", async || {
        let failed = lb.counter("dglb_dns_relay_failed_total").await;
        so(failed == 2, failed)
    })
    .await;
    eventually("it is asked for once", async || {
        let wants = lb.counter("dglb_lb_wants_total").await;
        so(wants == 2, wants)
    })
    .await;
    eventually("the dns-b does not know it either", async || {
        let unknown = chain.b(1).counter("dglb_wants_unknown_total").await;
        so(unknown == 1, unknown)
    })
    .await;
}

/// The zone goes, everywhere and at once.
async fn withdraw(chain: &Chain, publishers: &mut [Peer]) {
    for sync in publishers {
        let gone = Withdrawal { zone: SECOND.parse().unwrap(), generation: 2 };
        publish(sync, Message::Catalogue(Box::new(CatalogueUpdate::Withdrawn(gone)))).await;
    }
    for server in 1..=2 {
        assert_eq!(chain.ask_b(server, 1, &format!("www.{SECOND}")).await.code(), ResponseCode::Refused);
    }
    eventually("the DNS-LB has dropped it", async || {
        let status = chain.lb(1).status().await;
        let zones = status["catalogues"].as_object().map(|zones| zones.len());
        so(zones == Some(1) && status["services"].as_object().map(|services| services.len()) == Some(1), status)
    })
    .await;
    assert_eq!(chain.ask_lb(1, &format!("www.lb1.{SECOND}")).await.code(), ResponseCode::ServFail);
}
