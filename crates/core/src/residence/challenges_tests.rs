use proptest::{prelude::*, test_runner::Config};

use super::*;

const FORGED: &str = "203.0.113.66";
const RESOLVER: &str = "192.0.2.53";

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nonce(n: u8) -> Nonce {
    Nonce([n; 16])
}

/// Challenges of links, with their clock; secrets are numbered.
struct World {
    challenges: Challenges<u32>,
    now: Instant,
    drawn: u8,
}

impl World {
    fn new() -> Self {
        Self { challenges: Challenges::default(), now: now(), drawn: 0 }
    }

    fn issue(&mut self, link: u32, n: u8) -> Result<(), TooMany> {
        self.challenges.issue(link, nonce(n), &Family::ALL, self.now)
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Asks over IPv4; the secret, if there is one.
    fn ask(&mut self, n: u8, from: &str) -> Option<[u8; 32]> {
        self.drawn += 1;
        let drawn = Secret([self.drawn; 16]);
        match self.challenges.asked((&nonce(n), Family::V4), ip(from), || drawn, self.now) {
            Asked::First(secret) => Some(secret.text()),
            Asked::Later | Asked::Unknown => None,
        }
    }

    fn prove(&mut self, link: u32, n: u8, secret: &[u8]) -> Result<IpAddr, Refusal> {
        self.challenges.prove(link, &nonce(n), secret, self.now)
    }
}

#[test]
fn the_secret_that_came_through_the_resolver_proves_its_address() {
    let mut world = World::new();
    world.issue(1, 1).unwrap();
    world.pass(4_900);
    let secret = world.ask(1, RESOLVER).unwrap();
    world.pass(9_900);
    assert_eq!(world.prove(1, 1, &secret), Ok(ip(RESOLVER)));
    assert_eq!(world.prove(1, 1, &secret), Err(Refusal::WrongSecret), "replayed");
    let counts = world.challenges.counts();
    assert_eq!((counts.issued, counts.given, counts.proven), (1, 1, 1));
}

#[test]
fn a_question_with_a_forged_source_sends_the_secret_away_and_maps_nothing() {
    let mut world = World::new();
    world.issue(1, 1).unwrap();
    // The hostile DNS-LB forges its victim's address; the answer with the secret goes there.
    let sent_to_victim = world.ask(1, FORGED).unwrap();
    assert_eq!(world.ask(1, RESOLVER), None, "who asks later gets nothing");
    assert_eq!(world.prove(1, 1, &[b'0'; 32]), Err(Refusal::WrongSecret), "it can only guess");
    assert_eq!(world.prove(1, 1, &sent_to_victim), Err(Refusal::Unknown), "and only once");
    assert_eq!(world.challenges.counts().proven, 0);
    assert_eq!((world.challenges.counts().later, world.challenges.counts().unproven), (1, 1));
}

#[test]
fn who_asked_first_may_ask_again_and_gets_the_same() {
    let mut world = World::new();
    world.issue(1, 1).unwrap();
    let first = world.ask(1, RESOLVER).unwrap();
    assert_eq!(world.ask(1, RESOLVER), Some(first));
    world.pass(5_001);
    assert_eq!(world.ask(1, RESOLVER), None, "but not for ever");
    assert_eq!(world.prove(1, 1, &first), Ok(ip(RESOLVER)));
}

#[test]
fn late_foreign_and_withdrawn_proofs_prove_nothing() {
    let mut world = World::new();
    for n in 1..=5 {
        world.issue(u32::from(n), n).unwrap();
    }
    let [a, b, c] = [1, 2, 3].map(|n| world.ask(n, RESOLVER).unwrap());
    assert_eq!(world.prove(9, 1, &a), Err(Refusal::Unknown), "another link's");
    assert_eq!(world.prove(2, 1, &a), Err(Refusal::Unknown), "another challenged link's");
    assert_eq!(world.prove(1, 9, &a), Err(Refusal::Unknown), "no nonce at all");
    world.challenges.withdraw(2);
    assert_eq!(world.prove(2, 2, &b), Err(Refusal::Unknown), "the link was gone");
    world.pass(5_001);
    assert_eq!(world.ask(4, RESOLVER), None, "asked too late");
    assert_eq!(world.prove(4, 4, &a), Err(Refusal::Expired));
    world.pass(5_000);
    assert_eq!(world.prove(3, 3, &c), Err(Refusal::Expired));
    assert_eq!(world.prove(1, 1, &a), Err(Refusal::Expired), "a foreign try did not spend it");
    assert_eq!(world.challenges.counts().proven, 0);
    assert_eq!(world.challenges.open(), 3, "with a name of the other family, or never asked for");
    world.pass(5_000);
    world.challenges.expire(world.now);
    assert_eq!((world.challenges.open(), world.challenges.of_one.len(), world.challenges.by_age.len()), (0, 0, 0));
}

#[test]
fn each_family_has_an_asker_of_its_own() {
    let mut world = World::new();
    world.issue(1, 1).unwrap();
    let v4 = world.ask(1, RESOLVER).unwrap();
    let v6 = Secret([0x66; 16]);
    let from = ip("2001:db8::53");
    let asked = world.challenges.asked((&nonce(1), Family::V6), from, || v6, world.now);
    assert!(matches!(asked, Asked::First(_)));
    assert_eq!(world.prove(1, 1, &v6.text()), Ok(from));
    assert_eq!(world.prove(1, 1, &v4), Ok(ip(RESOLVER)));
    assert_eq!(world.prove(1, 1, &v4), Err(Refusal::Unknown), "both are used up");

    world.challenges.issue(1, nonce(2), &[Family::V6], world.now).unwrap();
    assert_eq!(world.ask(2, RESOLVER), None, "no such name was sent");
    assert_eq!(world.challenges.counts().unknown, 1);
}

#[test]
fn nonces_are_bounded_for_one_and_for_all() {
    let mut world = World::new();
    let draw = |n: u64| Nonce([n.to_be_bytes(), [0; 8]].concat().try_into().unwrap());
    let issue = |world: &mut World, link: u32, n: u64| world.challenges.issue(link, draw(n), &[Family::V4], world.now);
    for n in 0..MAX_OPEN_OF_ONE as u64 {
        issue(&mut world, 0, n).unwrap();
    }
    assert_eq!(issue(&mut world, 0, 999), Err(TooMany));
    assert_eq!(issue(&mut world, 1, 0), Err(TooMany), "the same twice");
    for n in MAX_OPEN_OF_ONE..MAX_OPEN {
        issue(&mut world, n as u32, n as u64).unwrap();
    }
    assert_eq!(issue(&mut world, u32::MAX, 1 << 40), Err(TooMany));
    world.pass(15_001);
    issue(&mut world, 0, 999).unwrap();
    assert_eq!((world.challenges.open(), world.challenges.by_age.len()), (1, 1));
    assert_eq!(world.challenges.counts().unproven, MAX_OPEN as u64);
}

/// What happens to a table of challenges.
#[derive(Clone, Debug)]
enum Event {
    Issue {
        link: u32,
        nonce: u8,
    },
    Ask {
        nonce: u8,
        from: u8,
        family: bool,
    },
    /// The secret that went to `from`, or a wrong one.
    Prove {
        link: u32,
        nonce: u8,
        secret: u8,
    },
    Withdraw(u32),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..4_u32, 0..6_u8).prop_map(|(link, nonce)| Event::Issue { link, nonce }),
        4 => (0..6_u8, 0..3_u8, any::<bool>()).prop_map(|(nonce, from, family)| Event::Ask { nonce, from, family }),
        4 => (0..4_u32, 0..6_u8, 0..40_u8).prop_map(|(link, nonce, secret)| Event::Prove { link, nonce, secret }),
        1 => (0..4_u32).prop_map(Event::Withdraw),
        3 => (0..6_000_u64).prop_map(Event::Pass),
    ]
}

/// One secret that was ever given: when, to whom, and of which challenge.
#[derive(Clone, Copy)]
struct Given {
    link: u32,
    nonce: u8,
    issue: usize,
    to: IpAddr,
    at: Instant,
    used: bool,
}

proptest! {
    #![proptest_config(Config { cases: 2_000, failure_persistence: None, ..Config::default() })]

    /// Whatever happens in whatever order: only a secret that was given within five seconds of a
    /// challenge, and comes back once over the same link within ten more, proves the address it was
    /// given to; and nothing is kept that is of no use any more.
    #[test]
    fn nothing_else_proves_an_address(events in proptest::collection::vec(event(), 1..120)) {
        let mut world = World::new();
        let mut given: Vec<Given> = Vec::new();
        // The number of each nonce's last issue, its link and when.
        let mut issues: HashMap<u8, (usize, u32, Instant)> = HashMap::new();
        let mut count = 0;
        for event in events {
            match event {
                Event::Issue { link, nonce: n } => {
                    if world.issue(link, n).is_ok() {
                        count += 1;
                        issues.insert(n, (count, link, world.now));
                    }
                }
                Event::Ask { nonce: n, from, family } => {
                    let from = IpAddr::from([10, 0, 0, from]);
                    let drawn = Secret([given.len() as u8; 16]);
                    let family = if family { Family::V4 } else { Family::V6 };
                    let mut fresh = false;
                    let draw = || { fresh = true; drawn };
                    let asked = world.challenges.asked((&nonce(n), family), from, draw, world.now);
                    if let Asked::First(secret) = asked {
                        let (issue, link, at) = issues[&n];
                        prop_assert!(world.now.duration_since(at) <= ASK_WITHIN);
                        if fresh {
                            given.push(Given { link, nonce: n, issue, to: from, at: world.now, used: false });
                        }
                        prop_assert_eq!(given[usize::from(secret.0[0])].to, from, "somebody else's secret");
                    }
                }
                Event::Prove { link, nonce: n, secret } => {
                    let proven = world.prove(link, n, &Secret([secret; 16]).text());
                    if let Ok(address) = proven {
                        let given = &mut given[usize::from(secret)];
                        let same = (given.link, given.nonce, given.to) == (link, n, address);
                        prop_assert!(same && !given.used && given.issue == issues[&n].0);
                        prop_assert!(world.now.duration_since(given.at) <= PROVE_WITHIN);
                        given.used = true;
                    }
                }
                Event::Withdraw(link) => world.challenges.withdraw(link),
                Event::Pass(millis) => world.pass(millis),
            }
            let Challenges { open, of_one, by_age, .. } = &world.challenges;
            prop_assert_eq!(of_one.values().map(Vec::len).sum::<usize>(), open.len());
            prop_assert!(open.len() <= by_age.len());
        }
        world.pass(15_001);
        world.challenges.expire(world.now);
        prop_assert_eq!(world.challenges.open() + world.challenges.by_age.len() + world.challenges.of_one.len(), 0);
        let counts = world.challenges.counts();
        prop_assert_eq!(counts.proven, given.iter().filter(|g| g.used).count() as u64);
    }
}
