//! Who is let in, and what a new configuration changes for who is here.

use super::*;

#[test]
fn only_configured_peers_in_their_role_come_in() {
    let mut lab = Lab::new();
    assert_eq!(lab.dial(1, "stranger", PeerRole::DnsLb, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.dial(1, "lb1", PeerRole::DnsASync, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.keeper.figures().refused_links, 2);
    assert_eq!(lab.dial(1, "lb1", PeerRole::DnsLb, 1), Ok(()));
    assert_eq!(lab.keeper.figures().links, 1);
}

#[test]
fn with_certified_a_dns_lb_that_is_no_peer_comes_in_without_authority() {
    let mut lab = Lab::with_catalogue();
    let mut new = config();
    new.map.dns_lbs = DnsLbs::Certified;
    assert_eq!(crate::keeper::refusal(&config(), &new), Ok(()));
    lab.keeper.reconfigure(&new, lab.now);
    // No other role, nobody in the place of a dns-b, and nobody in another role than its [[peer]]'s.
    assert_eq!(lab.dial(7, "stranger", PeerRole::DnsASync, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.dial(7, "b2", PeerRole::DnsLb, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.dial(7, "sync", PeerRole::DnsLb, 1), Err(RefuseReason::Identity));
    assert_eq!(lab.keeper.figures().refused_links, 3);
    assert_eq!(lab.dial(7, "stranger", PeerRole::DnsLb, 1), Ok(()));
    let said = lab.map(7, 1, &["10.1.0.1/32"]);
    assert!(matches!(&said[..], [Message::MapAck(ack)] if ack.accepted == 0 && ack.refused.len() == 1), "{said:?}");
    // Back to the list: it leaves, whoever stands on the list stays.
    lab.dial(1, "lb1", PeerRole::DnsLb, 1).unwrap();
    lab.keeper.take_outbox();
    lab.keeper.reconfigure(&config(), lab.now);
    let left: Vec<_> = lab.sent().into_iter().filter(|(_, m)| matches!(m, Message::Bye(_))).collect();
    let [(LinkId(7), Message::Bye(bye))] = &left[..] else { panic!("{left:?}") };
    assert_eq!((bye.reason, lab.keeper.figures().links), (ByeReason::Identity, 2));
}

#[test]
fn a_reload_takes_rights_away_and_gives_new_ones() {
    let mut lab = Lab::with_catalogue();
    (1..=2).for_each(|n| lab.join(n, [10, 20]));
    lab.keeper.take_outbox();
    let mut new = config();
    new.peers.remove(&"lb1".parse::<Identity>().unwrap());
    new.peers.get_mut(&"lb2".parse::<Identity>().unwrap()).unwrap().may_map = vec!["10.9.0.0/16".parse().unwrap()];
    new.fleet.serial = 2;
    new.settings.direct_ttl = 7;
    // How questions are answered may change, whatever it is.
    (new.serving.conduct.nsid, new.serving.conduct.limits) = ("new".parse().ok(), None);
    new.serving.cookies.require = true;
    assert_eq!(crate::keeper::refusal(&config(), &new), Ok(()));
    lab.keeper.reconfigure(&new, lab.now);
    let sent = lab.sent();
    let to = |link| sent.iter().filter(move |(to, _)| *to == LinkId(link)).map(|(_, m)| m).collect::<Vec<_>>();
    assert!(matches!(to(1)[..], [Message::Bye(_)]));
    assert!(matches!(to(2)[..], [Message::Resync(Resync::Map), Message::Fleet(_)]));
    assert!(matches!(to(100)[..], [Message::Fleet(_), Message::Delegation(_)]));
    assert_eq!((lab.state(1), lab.keeper.figures().prefixes), (LbState::Gone, 1));
    // Asked again, lb2 says the same, and is bounded otherwise now.
    let said = lab.map(2, 1, &["10.2.0.1/32"]);
    assert!(matches!(&said[..], [Message::MapAck(ack)] if ack.accepted == 0 && ack.refused.len() == 1));
    assert_eq!(lab.ask("10.2.0.1"), (Decision::Aggregate, 7));
}

#[test]
fn what_only_a_restart_can_change_is_refused_by_name() {
    let refused = |change: fn(&mut Config)| {
        let mut new = config();
        change(&mut new);
        crate::keeper::refusal(&config(), &new).unwrap_err()
    };
    assert!(refused(|c| c.identity = "b2".parse().unwrap()).starts_with("identity "));
    assert!(refused(|c| c.map.listen = vec!["127.0.0.1:1".parse().unwrap()]).starts_with("map.listen "));
    assert!(refused(|c| c.admin = "127.0.0.1:1".parse().unwrap()).starts_with("admin.listen "));
    let table_size = refused(|c| c.serving.settings.rate_table += 64);
    assert!(table_size.starts_with("dns.rate-limit.table-size "), "{table_size}");
    assert!(refused(|c| c.fleet.hostmaster = "other.test".parse().unwrap()).contains("serial 1 is not higher than 1"));
}
