//! Who may say what when: the direction column of design section 6's table. A link has one
//! dialling side, whose role decides; "up" is what that side says, "down" what it is told.

use super::{
    Number,
    message::{Message, PeerRole, Resync},
};

/// Which way a message goes on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the side that dialled.
    Up,
    /// From the side that accepted.
    Down,
}

impl Direction {
    /// The other way.
    pub fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

impl PeerRole {
    /// Whether daemons of this role dial; the others only accept.
    pub fn dials(self) -> bool {
        !matches!(self, Self::DnsB)
    }
}

/// Whether an established link that `dialler` dialled may carry a message of this number in this
/// direction. Handshake messages may not; numbers of later versions are not decided here.
pub fn allowed(number: Number, dialler: PeerRole, direction: Direction) -> bool {
    use Direction::{Down, Up};
    let measures = matches!(dialler, PeerRole::DnsLb | PeerRole::Mservice);
    let publishes = dialler == PeerRole::DnsASync;
    match (number, direction) {
        (Number::PING | Number::PONG | Number::BYE | Number::BEGIN | Number::PART | Number::COMMIT, _) => true,
        (Number::FLEET, Down) => true,
        (Number::READY | Number::PROOF | Number::WANT, Up) => dialler == PeerRole::DnsLb,
        (Number::CHALLENGE | Number::SEEN | Number::LABEL_RANKING, Down) => dialler == PeerRole::DnsLb,
        (Number::MAP | Number::UNMAP | Number::REPORT | Number::BUDGET_ACK, Up) => measures,
        (Number::MAP_ACK | Number::REPORT_ACK | Number::GET_REPORT, Down) => measures,
        (Number::VERDICT | Number::BUDGET | Number::DRAIN, Down) => measures,
        (Number::CATALOGUE, Up) | (Number::CATALOGUE_ACK | Number::DELEGATION, Down) => publishes,
        (Number::CATALOGUE, Down) | (Number::CATALOGUE_ACK, Up) => measures,
        (Number::RESYNC, Up) => measures,
        (Number::RESYNC, Down) => measures || publishes,
        _ => false,
    }
}

/// Like [`allowed`], looking into the message where the number does not settle it.
pub fn allows(message: &Message, dialler: PeerRole, direction: Direction) -> bool {
    let subject = match message {
        // Whoever may send a thing may be asked for it again.
        Message::Resync(Resync::Map) => Some(Number::MAP),
        Message::Resync(Resync::Report) => Some(Number::REPORT),
        Message::Resync(Resync::Catalogue { .. }) => Some(Number::CATALOGUE),
        _ => None,
    };
    allowed(message.number(), dialler, direction)
        && subject.is_none_or(|subject| allowed(subject, dialler, direction.opposite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resync_asks_only_for_what_the_other_side_sends() {
        let catalogue = Message::Resync(Resync::Catalogue { zone: crate::name::Name::root(), held: 0 });
        let map = Message::Resync(Resync::Map);
        for (message, role, direction, may) in [
            (&map, PeerRole::DnsLb, Direction::Down, true),
            (&map, PeerRole::DnsLb, Direction::Up, false),
            (&map, PeerRole::DnsASync, Direction::Down, false),
            (&catalogue, PeerRole::DnsLb, Direction::Up, true),
            (&catalogue, PeerRole::DnsLb, Direction::Down, false),
            (&catalogue, PeerRole::DnsASync, Direction::Down, true),
            (&catalogue, PeerRole::DnsASync, Direction::Up, false),
        ] {
            assert_eq!(allows(message, role, direction), may, "{message:?} {role:?} {direction:?}");
        }
    }

    #[test]
    fn a_publisher_never_maps_and_a_measurer_never_publishes() {
        for number in [Number::MAP, Number::UNMAP, Number::REPORT, Number::READY] {
            assert!(!allowed(number, PeerRole::DnsASync, Direction::Up), "{number}");
            assert!(allowed(number, PeerRole::DnsLb, Direction::Up), "{number}");
            assert!(!allowed(number, PeerRole::DnsLb, Direction::Down), "{number}");
        }
        assert!(!allowed(Number::CATALOGUE, PeerRole::DnsLb, Direction::Up));
        assert!(allowed(Number::CATALOGUE, PeerRole::DnsASync, Direction::Up));
        assert!(!allowed(Number::HELLO, PeerRole::DnsLb, Direction::Up));
    }
}
