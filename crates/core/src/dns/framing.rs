//! Messages in a stream of octets: two octets of length, then so many of message (RFC 1035 section
//! 4.2.2). TCP, TLS and QUIC streams carry them so.
//!
//! What is kept grows with the octets that came, never with a length that was announced.

/// Longest message: what two octets can say.
pub const MAX_MESSAGE: usize = 65_535;
/// Octets of length before each message.
pub const PREFIX: usize = 2;

/// Puts messages together from octets that come in any pieces.
///
/// Who takes every whole message between two feeds holds less than one message and its length:
/// at most [`PREFIX`] + [`MAX_MESSAGE`] octets beside what is fed.
///
/// ```
/// use dglb_core::dns::framing::Framing;
///
/// let mut framing = Framing::default();
/// framing.feed(b"\0\x05hel");
/// assert_eq!(framing.take(), None);
/// framing.feed(b"lo\0\0\0");
/// assert_eq!(framing.take(), Some(&b"hello"[..]));
/// assert_eq!(framing.take(), Some(&b""[..]));
/// assert_eq!(framing.take(), None);
/// assert_eq!(framing.len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Framing {
    octets: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
}

impl Framing {
    /// Appends what came. Memory grows to at most one and a half times the most octets that were
    /// held untaken at once, and 64; [`Framing::release`] gives it back.
    pub fn feed(&mut self, received: &[u8]) {
        self.octets.drain(..self.taken);
        self.taken = 0;
        let needed = self.octets.len() + received.len();
        if needed > self.octets.capacity() {
            // Half as much again at least, so that an octet at a time costs no copy each.
            self.octets.reserve_exact(needed.max(needed / 2 * 3).max(64) - self.octets.len());
        }
        self.octets.extend_from_slice(received);
    }

    /// The next whole message, without its length; `None` when its end has not come.
    pub fn take(&mut self) -> Option<&[u8]> {
        let (prefix, rest) = self.octets.get(self.taken..)?.split_first_chunk::<PREFIX>()?;
        let length = usize::from(u16::from_be_bytes(*prefix));
        let message = rest.get(..length)?;
        self.taken += PREFIX + length;
        Some(message)
    }

    /// Whether [`Framing::take`] would yield a message.
    pub fn has_message(&self) -> bool {
        let rest = &self.octets[self.taken..];
        rest.split_first_chunk::<PREFIX>()
            .is_some_and(|(prefix, rest)| rest.len() >= usize::from(u16::from_be_bytes(*prefix)))
    }

    /// Octets that were fed and not taken.
    pub fn len(&self) -> usize {
        self.octets.len() - self.taken
    }

    /// Whether nothing is left: the stream stands between two messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of memory held.
    pub fn capacity(&self) -> usize {
        self.octets.capacity()
    }

    /// Gives back memory that is not needed for what is left.
    pub fn release(&mut self) {
        self.octets.drain(..self.taken);
        self.taken = 0;
        self.octets.shrink_to_fit();
    }
}

/// The length that goes before a message of so many octets; what is longer than [`MAX_MESSAGE`]
/// has none.
pub fn prefix(length: usize) -> Option<[u8; PREFIX]> {
    u16::try_from(length).ok().map(u16::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        messages.iter().flat_map(|m| [&prefix(m.len()).unwrap()[..], m].concat()).collect()
    }

    proptest! {
        #[test]
        fn any_pieces_make_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..12),
            pieces in prop::collection::vec(1..700_usize, 1..40),
            cut in 0..40_usize,
        ) {
            let stream = framed(&messages);
            let stream = &stream[..stream.len().saturating_sub(cut)];
            let (mut framing, mut taken, mut rest) = (Framing::default(), Vec::new(), stream);
            let mut most = 0;
            for size in pieces.iter().cycle() {
                let (piece, behind) = rest.split_at((*size).min(rest.len()));
                rest = behind;
                framing.feed(piece);
                most = most.max(framing.len());
                prop_assert!(framing.capacity() <= most / 2 * 3 + 64);
                while framing.has_message() {
                    taken.push(framing.take().unwrap().to_vec());
                }
                prop_assert!(framing.take().is_none());
                if rest.is_empty() { break }
            }
            prop_assert_eq!(&taken[..], &messages[..taken.len()]);
            prop_assert_eq!(framing.len(), stream.len() - framed(&taken).len());
            // What is missing is the end of one message, or whole messages that were cut off.
            prop_assert!(taken.len() == messages.len() || framed(&messages[..=taken.len()]).len() > stream.len());
            framing.release();
            prop_assert_eq!(framing.capacity(), framing.len());
        }
    }

    #[test]
    fn an_announcement_costs_nothing() {
        let mut framing = Framing::default();
        framing.feed(&[0xff, 0xff, 1]);
        assert_eq!(framing.take(), None);
        assert_eq!((framing.len(), framing.capacity()), (3, 64));
        framing.feed(&[7; MAX_MESSAGE - 2]);
        assert!(!framing.has_message());
        framing.feed(&[8]);
        assert_eq!(framing.take().map(<[u8]>::len), Some(MAX_MESSAGE));
        assert!(framing.is_empty());
    }

    #[test]
    fn only_what_has_a_length_is_framed() {
        assert_eq!(prefix(MAX_MESSAGE), Some([0xff; 2]));
        assert_eq!(prefix(MAX_MESSAGE + 1), None);
    }
}
