//! Stopping, as SIGTERM makes daemons stop: within their deadline whatever others do, with answers to
//! those who have asked, and with every address given back.

use std::net::{TcpListener, UdpSocket};

use dglb_core::proto::{
    CloseReason,
    message::{Bye, ByeReason, PeerRole},
};
use dglb_node::link::DownReason;
use dglb_scenarios::{
    Chain, Size,
    chain::nothing_more,
    configs::{WWW, in_label},
    eventually,
    ground::dns,
    peer::Peer,
    question::Question,
    raw, scenario, so,
};
use hickory_proto::rr::RecordType;
use tokio::io::AsyncWriteExt;

#[test]
fn daemons_stop_in_time_with_clients_on_the_line() {
    scenario("stop::daemons_stop_in_time_with_clients_on_the_line", async |ground| {
        let size = Size { servers: 1, lbs: 1, sites: 2 };
        let mut chain = Chain::settled(ground, size, nothing_more).await;
        let (from, map) = (chain.ground.isp(1), chain.ground.map(1));
        let peer = Peer::dial(map, "sync", PeerRole::DnsASync).await;
        // Whoever says nothing, half a thing, or nothing more.
        let mut quiet = Vec::new();
        for address in [chain.ground.referral(1), chain.ground.fallback(1), chain.ground.lb(1)] {
            quiet.push(raw::connect(from, dns(address)).await);
            let mut half = raw::connect(from, dns(address)).await;
            half.write_all(&[0, 40, 1, 2, 3]).await.unwrap();
            quiet.push(half);
        }
        let mut half = raw::connect(from, map).await;
        half.write_all(&[0, 0, 1]).await.unwrap();
        quiet.extend([half, raw::connect(from, map).await]);

        // What was asked before the end, over a connection that stood, is answered.
        let name = in_label("lb1");
        let question = Question::new(from, &name, RecordType::A).message().to_vec().unwrap();
        let mut asked = raw::connect(from, dns(chain.ground.lb(1))).await;
        asked.write_all(&raw::framed(&question)).await.unwrap();
        assert!(raw::next_message(&mut asked).await.is_some());
        asked.write_all(&[raw::framed(&question), raw::framed(&question)].concat()).await.unwrap();
        chain.stop_lb(1).await;
        let answers = raw::until_closed(&mut asked).await;
        assert_eq!(answers.len(), 2, "questions that had come in were not answered");

        chain.stop_b(1).await;
        let reason = peer.end().await;
        let bye = |reason: &DownReason| {
            matches!(reason, DownReason::Closed(CloseReason::ByeFromPeer(Bye { reason: ByeReason::Shutdown, .. })))
        };
        assert!(bye(&reason), "{reason}");
        for address in [chain.ground.referral(1), chain.ground.fallback(1), chain.ground.lb(1)] {
            assert!(UdpSocket::bind(dns(address)).is_ok(), "{address}: UDP is still held");
            // Connections that are just gone hold the port for a while, but not against listeners of
            // the same kind.
            drop(quiet.pop());
            assert!(tokio::net::TcpSocket::new_v4().is_ok_and(|socket| {
                socket.set_reuseaddr(true).is_ok() && socket.bind(dns(address)).is_ok() && socket.listen(1).is_ok()
            }));
        }
        assert!(TcpListener::bind(map).is_ok(), "the map port is still held");
        // It starts again where it was, and the agent comes back by itself; then that stops, too.
        chain.start_b(1).await;
        eventually("the zone is back", async || {
            let reply = chain.ask_b(1, 1, WWW).await;
            so(!reply.addresses().is_empty(), reply)
        })
        .await;
        chain.sync.stop().await;
    });
}
