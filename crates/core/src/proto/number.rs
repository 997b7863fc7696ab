//! Every message has one number for ever: numbers are never reused and never change their meaning.

use std::fmt;

/// The type field of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u16);

macro_rules! numbers {
    ($($constant:ident = $value:literal $text:literal $doc:literal;)*) => {
        impl Number {
            $(#[doc = $doc] pub const $constant: Self = Self($value);)*

            /// All that design section 6 reserves, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$constant),*];

            /// The message's name as the documents write it, `None` where version 1 has none.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    HELLO = 0x0001 "HELLO" "First from the side that dialled.";
    WELCOME = 0x0002 "WELCOME" "First from the side that accepted.";
    REFUSE = 0x0003 "REFUSE" "First from the side that accepted, when the link is not wanted.";
    PING = 0x0004 "PING" "Are you there?";
    PONG = 0x0005 "PONG" "Yes.";
    BYE = 0x0006 "BYE" "I leave, and why.";
    BEGIN = 0x0007 "BEGIN" "A message too long for one frame begins.";
    PART = 0x0008 "PART" "The next octets of it.";
    COMMIT = 0x0009 "COMMIT" "It is whole: now it counts.";
    FLEET = 0x0010 "FLEET" "A newer fleet document.";
    READY = 0x0011 "READY" "Every dns-b I reach has acknowledged me.";
    MAP = 0x0020 "MAP" "Where I am and what I sit beside.";
    MAP_ACK = 0x0021 "MAP-ACK" "What became of a MAP or UNMAP.";
    UNMAP = 0x0022 "UNMAP" "Withdrawal.";
    CHALLENGE = 0x0023 "CHALLENGE" "Proof of residence: the nonce.";
    PROOF = 0x0024 "PROOF" "Proof of residence: the second secret.";
    SEEN = 0x0025 "SEEN" "Proof of residence: the address.";
    REPORT = 0x0030 "REPORT" "Rankings.";
    REPORT_ACK = 0x0031 "REPORT-ACK" "A report is in use.";
    GET_REPORT = 0x0032 "GET-REPORT" "Report now.";
    LABEL_RANKING = 0x0033 "LABEL-RANKING" "A neighbour's ranking.";
    CATALOGUE = 0x0040 "CATALOGUE" "Everything about one zone.";
    CATALOGUE_ACK = 0x0041 "CATALOGUE-ACK" "A catalogue is in use, or refused and why.";
    RESYNC = 0x0042 "RESYNC" "Your base is unknown to me: send everything.";
    WANT = 0x0043 "WANT" "A service I was asked for and do not know.";
    VERDICT = 0x0050 "VERDICT" "A quorum calls a site down.";
    BUDGET = 0x0051 "BUDGET" "A share of a site's probe ceiling.";
    DRAIN = 0x0052 "DRAIN" "The operator drains you, or no longer.";
    BUDGET_ACK = 0x0053 "BUDGET-ACK" "The share is kept to.";
    DELEGATION = 0x0060 "DELEGATION" "How a zone wants to be delegated.";
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {:#06x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_sorted() {
        assert!(Number::ALL.is_sorted_by(|a, b| a < b));
        assert_eq!(Number::ALL.len(), 30);
        assert_eq!(Number::MAP_ACK.to_string(), "MAP-ACK");
        assert_eq!(Number(0x7fff).to_string(), "type 0x7fff");
    }
}
