//! Whether it is the expected dns-b that answers where one is dialled, and whether those that are
//! dialled are all there are.

use dglb_core::{
    fleet::Fleet,
    identity::Identity,
    proto::{
        Peer,
        message::{Bye, ByeReason, Welcome},
    },
};
use thiserror::Error;

use super::LinkSender;

/// Somebody else answers where a dns-b was expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("found \"{found}\", not \"{expected}\"")]
pub struct WrongPeer {
    /// Who was dialled.
    pub expected: Identity,
    /// Who is there.
    pub found: Identity,
}

/// The WELCOME of a link that has just come up, if it is from `expected`. Any other link is told
/// so and closed; its sender must be kept until it is down, since dropping it would be a farewell
/// of its own.
///
/// # Errors
/// [`WrongPeer`].
pub fn expect(expected: &Identity, peer: Peer, link: &LinkSender) -> Result<Box<Welcome>, WrongPeer> {
    let found = match peer {
        Peer::Acceptor(welcome) if welcome.identity == *expected => return Ok(welcome),
        Peer::Acceptor(welcome) => welcome.identity,
        Peer::Dialler(hello) => hello.identity,
    };
    let wrong = WrongPeer { expected: expected.clone(), found };
    link.close(Bye { reason: ByeReason::Protocol, text: wrong.to_string() });
    Err(wrong)
}

/// The dns-bs of a fleet document that are not in `dialled`: they get nothing from here, and
/// nobody waits for them.
pub fn not_dialled<'a>(fleet: &'a Fleet, dialled: &[Identity]) -> impl Iterator<Item = &'a Identity> {
    fleet.servers.iter().map(|server| &server.identity).filter(|identity| !dialled.contains(identity))
}
