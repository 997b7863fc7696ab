//! Proof of residence (design section 6, "Trust"): a DNS-LB shows that it receives what is sent to a
//! resolver, and so who its resolver really is.
//!
//! ```text
//! dns-b ──CHALLENGE nonce──▶ DNS-LB ──<nonce>.4.<b>.prove.<operator zone> TXT ?──▶ its DNS-ISP
//! dns-b ◀──────────────────────── the same question, from the address to be mapped ────┘
//!   └─TXT secret─▶ DNS-ISP ─▶ DNS-LB ──PROOF nonce, secret──▶ dns-b ──SEEN address──▶ DNS-LB
//! ```
//!
//! The invariant: an address is proven to a holder only by a secret that was sent to that address,
//! within [`ASK_WITHIN`] of a challenge of this holder, and that came back from the same holder within
//! [`PROVE_WITHIN`]. Each is good for one proof. A question with a forged source sends the secret to
//! somebody else, so it proves nothing.

mod challenges;
mod learnt;
mod zones;

use std::fmt;

pub use challenges::{
    ASK_WITHIN, Asked, Challenges, Counts, MAX_OPEN, MAX_OPEN_OF_ONE, PROVE_WITHIN, Refusal, TooMany,
};
pub use learnt::{Learnt, MAX_LEARNT, Pace};
pub use zones::{Family, ProveZone, ProveZones, question_of};

/// Octets of a nonce, and of a secret.
const OCTETS: usize = 16;
/// Hexadecimal digits of either.
pub const DIGITS: usize = 2 * OCTETS;

/// What a DNS-LB is told to ask for: 128 bits that nobody can guess. It is hexadecimal in names, since
/// resolvers change the case of letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub [u8; OCTETS]);

/// What the DNS answer to a nonce says: 128 bits that have nothing to do with it.
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; OCTETS]);

impl Nonce {
    /// As a label, without its length octet.
    pub fn label(&self) -> [u8; DIGITS] {
        digits(&self.0)
    }

    /// From a label in lower case, without its length octet; `None` if it is no nonce.
    pub fn from_label(label: &[u8]) -> Option<Self> {
        let label: &[u8; DIGITS] = label.try_into().ok()?;
        let mut octets = [0; OCTETS];
        for (octet, pair) in octets.iter_mut().zip(label.as_chunks::<2>().0) {
            *octet = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(octets))
    }
}

impl Secret {
    /// As it stands in the TXT record and comes back in PROOF.
    pub fn text(&self) -> [u8; DIGITS] {
        digits(&self.0)
    }

    /// Whether `text` is this secret; how long that takes does not tell how much of it is right.
    fn is(&self, text: &[u8]) -> bool {
        let own = self.text();
        text.len() == own.len() && own.iter().zip(text).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

// Neither may get into a log while it is good for anything.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(…)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn digits(octets: &[u8; OCTETS]) -> [u8; DIGITS] {
    let mut text = [0; DIGITS];
    for (pair, octet) in text.as_chunks_mut::<2>().0.iter_mut().zip(octets) {
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
        *pair = [digit(octet >> 4), digit(octet & 0x0f)];
    }
    text
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_hexadecimal_in_names() {
        let nonce = Nonce(std::array::from_fn(|n| n as u8 * 17));
        assert_eq!(&nonce.label(), b"00112233445566778899aabbccddeeff");
        assert_eq!(Nonce::from_label(&nonce.label()), Some(nonce));
        for wrong in [&b"00112233445566778899AABBCCDDEEFF"[..], b"0011", b"", &[b'g'; 32], &[b'0'; 33]] {
            assert_eq!(Nonce::from_label(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn neither_is_shown() {
        let secret = Secret([0xab; 16]);
        assert!(secret.is(&[b'a', b'b'].repeat(16)) && !secret.is(b"ab") && !secret.is(&[b'a'; 32]));
        assert_eq!(format!("{:?} {secret:?}", Nonce([0xab; 16])), "Nonce(…) Secret(…)");
    }
}
