//! Cookies (RFC 7873), made and checked as RFC 9018 has it, so that servers of any make that share
//! a secret take each other's.

use std::{fmt, net::IpAddr};

use siphasher::sip::SipHasher24;

use crate::net::canonical;

/// Octets of a client's cookie (RFC 7873 section 4.1).
pub(super) const CLIENT: usize = 8;
/// Octets of client's and server's cookie together, as replies carry them (RFC 9018 section 4).
pub(super) const WHOLE: usize = CLIENT + 16;
/// Where its time begins, and how much of it is hashed: client's cookie, version, three reserved
/// octets, time.
const TIME: usize = CLIENT + 4;
const HASHED: usize = TIME + 4;
/// RFC 9018 section 4.1.
const VERSION: u8 = 1;
/// Seconds that a server's cookie is good for, and that it may lie in the future, where another
/// server of the fleet has a clock ahead of ours (RFC 9018 section 4.3).
const GOOD_FOR: i32 = 3_600;
const AHEAD: i32 = 300;
/// Seconds after which it is made anew (RFC 9018 section 4.3: half an hour).
const RENEWED_AFTER: i32 = 1_800;

/// The key of server cookies: 16 octets that nobody else knows. It is never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

/// How cookies are made and what is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookies {
    /// Cookies are made with this one.
    pub current: Secret,
    /// Cookies made with this one are good as well: the one to come, or the one that was. Whoever
    /// brings one gets one of the current secret.
    pub next: Option<Secret>,
    /// Whether who shows over UDP that it knows cookies must have a good one to be answered. Who
    /// sends none at all is answered all the same (RFC 7873 section 5.2.1).
    pub require: bool,
}

/// What a question says of its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing: no cookie, or none that is looked at.
    #[default]
    Absent,
    /// It knows cookies and has none of ours.
    ClientOnly,
    /// It has a good one of ours, so its address is not forged.
    Valid,
    /// It has one that is too old, not of this address, or not ours.
    Invalid,
}

/// Number of [`Standing`]s, for tables of counters indexed by `standing as usize`.
pub const STANDINGS: usize = 4;

impl Standing {
    /// Every standing, in the order of their discriminants.
    pub const ALL: [Self; STANDINGS] = [Self::Absent, Self::ClientOnly, Self::Valid, Self::Invalid];

    /// The value of the metric's `cookie` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::ClientOnly => "client-only",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}

impl Secret {
    /// This key.
    pub fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// RFC 9018 section 4.4: over client's cookie, version, reserved octets, time and address.
    fn hash(&self, cookie: &[u8], client: IpAddr) -> u64 {
        let mut input = [0; HASHED + 16];
        input[..HASHED].copy_from_slice(cookie);
        let length = match canonical(client) {
            IpAddr::V4(v4) => {
                input[HASHED..HASHED + 4].copy_from_slice(&v4.octets());
                HASHED + 4
            }
            IpAddr::V6(v6) => {
                input[HASHED..].copy_from_slice(&v6.octets());
                input.len()
            }
        };
        SipHasher24::new_with_key(&self.0).hash(&input[..length])
    }

    /// A whole cookie for `client`, made at `now` in seconds since 1970.
    fn make(&self, sent: [u8; CLIENT], client: IpAddr, now: u32) -> [u8; WHOLE] {
        let mut whole = [0; WHOLE];
        whole[..CLIENT].copy_from_slice(&sent);
        whole[CLIENT] = VERSION;
        whole[TIME..HASHED].copy_from_slice(&now.to_be_bytes());
        let hash = self.hash(&whole[..HASHED], client);
        // The reference implementation's octet order.
        whole[HASHED..].copy_from_slice(&hash.to_le_bytes());
        whole
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Cookies {
    /// What the option of a question from `client` is worth at `now`, in seconds since 1970, and
    /// what the reply carries. An option of a length that no cookie has carries nothing.
    pub(super) fn judge(&self, sent: &[u8], client: IpAddr, now: u32) -> (Standing, Option<[u8; WHOLE]>) {
        let Some((own, server)) = sent.split_first_chunk::<CLIENT>() else { return (Standing::Absent, None) };
        let fresh = || Some(self.current.make(*own, client, now));
        if server.is_empty() {
            return (Standing::ClientOnly, fresh());
        }
        // Other lengths are another server's (RFC 7873 section 4.2); we make only this one.
        let Ok(whole) = <[u8; WHOLE]>::try_from(sent) else { return (Standing::Invalid, fresh()) };
        match self.age(&whole, client, now) {
            Some(Age::Young) => (Standing::Valid, Some(whole)),
            Some(Age::Old) => (Standing::Valid, fresh()),
            None => (Standing::Invalid, fresh()),
        }
    }

    fn age(&self, whole: &[u8; WHOLE], client: IpAddr, now: u32) -> Option<Age> {
        let (hashed, hash) = whole.split_last_chunk()?;
        let (_, made) = hashed.split_last_chunk()?;
        // RFC 9018 section 4.3: serial number arithmetic (RFC 1982).
        let seconds = now.wrapping_sub(u32::from_be_bytes(*made)) as i32;
        if hashed[CLIENT] != VERSION || !(-AHEAD..=GOOD_FOR).contains(&seconds) {
            return None;
        }
        // Reserved octets go into the hash as they came (RFC 9018 section 4.2).
        let made_with = |secret: &Secret| secret.hash(hashed, client) == u64::from_le_bytes(*hash);
        if made_with(&self.current) {
            return Some(if seconds <= RENEWED_AFTER { Age::Young } else { Age::Old });
        }
        // RFC 9018 appendix A.4: whoever has one of the other secret moves on to the current.
        self.next.as_ref().is_some_and(made_with).then_some(Age::Old)
    }
}

/// Of a good cookie.
enum Age {
    /// Goes back as it came.
    Young,
    /// Is replaced.
    Old,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        assert_eq!(text.len(), 2 * N);
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    fn cookies(current: &str, next: Option<&str>) -> Cookies {
        let secret = |text| Secret::new(hex(text));
        Cookies { current: secret(current), next: next.map(secret), require: false }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const CLIENT_1: &str = "198.51.100.100";

    #[test]
    fn rfc_9018_a_1_a_client_without_a_cookie_gets_one() {
        let judged = cookies(SECRET, None).judge(&hex::<8>("2464c4abcf10c957"), ip(CLIENT_1), 1_559_731_985);
        let given = hex("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        assert_eq!(judged, (Standing::ClientOnly, Some(given)));
    }

    #[test]
    fn rfc_9018_a_2_an_older_one_is_made_anew() {
        let sent = hex::<24>("2464c4abcf10c957010000005cf79f111f8130c3eee29480");
        let judged = cookies(SECRET, None).judge(&sent, ip(CLIENT_1), 1_559_734_385);
        assert_eq!(judged, (Standing::Valid, Some(hex("2464c4abcf10c957010000005cf7a871d4a564a1442aca77"))));
    }

    #[test]
    fn rfc_9018_a_3_reserved_octets_are_hashed_as_they_came() {
        let sent = hex::<24>("fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let (cookies, client) = (cookies(SECRET, None), ip("203.0.113.203"));
        let given = hex("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e");
        // At the appendix's own time it is older than the hour of section 4.3; the reply is the same.
        assert_eq!(cookies.judge(&sent, client, 1_559_734_700), (Standing::Invalid, Some(given)));
        let soon = 0x5cf7_8f71 + 60;
        assert_eq!(cookies.judge(&sent, client, soon), (Standing::Valid, Some(sent)));
    }

    #[test]
    fn rfc_9018_a_4_one_of_the_other_secret_is_exchanged() {
        let rolled = cookies("445536bcd2513298075a5d379663c962", Some("dd3bdf9344b678b185a6f5cb60fca715"));
        let sent = hex::<24>("22681ab97d52c298010000005cf7c57926556bd0934c72f8");
        let client = ip("2001:db8:220:1:59de:d0f4:8769:82b8");
        let given = hex("22681ab97d52c298010000005cf7c609a6bb79d16625507a");
        assert_eq!(rolled.judge(&sent, client, 1_559_741_961), (Standing::Valid, Some(given)));
        let done = Cookies { next: None, ..rolled };
        assert_eq!(done.judge(&sent, client, 1_559_741_961), (Standing::Invalid, Some(given)));
    }

    #[test]
    fn a_cookie_is_good_for_its_time_alone() {
        let cookies = cookies(SECRET, None);
        // Close to where 32 bits of seconds begin again.
        let made = u32::MAX - 100;
        let whole = cookies.judge(&[7; 8], ip(CLIENT_1), made).1.unwrap();
        for (seconds, standing, kept) in [
            (-301, Standing::Invalid, false),
            (-300, Standing::Valid, true),
            (0, Standing::Valid, true),
            (1_800, Standing::Valid, true),
            (1_801, Standing::Valid, false),
            (3_600, Standing::Valid, false),
            (3_601, Standing::Invalid, false),
        ] {
            let judged = cookies.judge(&whole, ip(CLIENT_1), made.wrapping_add_signed(seconds));
            assert_eq!((judged.0, judged.1 == Some(whole)), (standing, kept), "after {seconds} s");
        }
    }

    #[test]
    fn a_cookie_is_good_for_its_owner_alone() {
        let (cookies, now) = (cookies(SECRET, None), 1_000_000_000);
        let whole = cookies.judge(&[7; 8], ip(CLIENT_1), now).1.unwrap();
        let standing = |sent: &[u8], client: &str| cookies.judge(sent, ip(client), now).0;
        assert_eq!(standing(&whole, CLIENT_1), Standing::Valid);
        assert_eq!(standing(&whole, "::ffff:198.51.100.100"), Standing::Valid, "the same by another socket");
        assert_eq!(standing(&whole, "198.51.100.101"), Standing::Invalid);
        for octet in 0..WHOLE {
            let mut other = whole;
            other[octet] ^= 1;
            assert_eq!(standing(&other, CLIENT_1), Standing::Invalid, "octet {octet}");
        }
        for length in 16..=40 {
            let mut other = [0; 40];
            other[..WHOLE].copy_from_slice(&whole);
            let expected = if length == WHOLE { Standing::Valid } else { Standing::Invalid };
            assert_eq!(standing(&other[..length], CLIENT_1), expected, "{length} octets");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", cookies(SECRET, Some(SECRET)));
        assert!(!shown.contains("e5") && !shown.contains("229"), "{shown}");
    }
}
