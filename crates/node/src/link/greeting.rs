//! What a dialling daemon says of itself, anew for every connection.

use dglb_core::{
    peer_name::PeerName,
    proto::{
        VERSION,
        message::{FleetStamp, Hello},
    },
};
use tokio::sync::watch;

use crate::boot::Boot;

/// The HELLOs of one link.
#[derive(Debug)]
pub struct Greeting {
    name: PeerName,
    boot: Boot,
    /// The fleet document that the daemon holds.
    held: watch::Receiver<FleetStamp>,
    named: watch::Sender<FleetStamp>,
}

/// The fleet document that the last HELLO of a link named: the one that a WELCOME without a document
/// speaks of.
#[derive(Clone, Debug)]
pub struct Named(watch::Receiver<FleetStamp>);

impl Greeting {
    /// Of this daemon, which holds the fleet document that `held` shows at the time.
    pub fn new(name: PeerName, boot: Boot, held: watch::Receiver<FleetStamp>) -> (Self, Named) {
        let (named, last) = watch::channel(FleetStamp::default());
        (Self { name, boot, held, named }, Named(last))
    }

    /// What to say on the next connection.
    pub fn hello(&self) -> Hello {
        let fleet = *self.held.borrow();
        self.named.send_replace(fleet);
        Hello {
            version_min: VERSION,
            version_max: VERSION,
            role: self.name.role,
            identity: self.name.identity.clone(),
            boot: self.boot.id,
            uptime_ms: self.boot.uptime_ms(),
            features: 0,
            fleet,
        }
    }
}

impl Named {
    /// Read it when the link comes up. While the end of that link waits to be heard of, it may be the
    /// next HELLO's already; then nothing that follows from it lasts.
    pub fn stamp(&self) -> FleetStamp {
        *self.0.borrow()
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::proto::message::PeerRole;

    use super::*;

    #[test]
    fn every_hello_names_the_document_of_its_time() {
        let (hold, held) = watch::channel(FleetStamp::default());
        let name = PeerName::new(PeerRole::DnsLb, "sea1".parse().unwrap());
        let (greeting, named) = Greeting::new(name, Boot::now(), held);
        assert_eq!(greeting.hello().fleet, FleetStamp::default());
        let newer = FleetStamp { serial: 7, digest: 9 };
        hold.send_replace(newer);
        assert_eq!(named.stamp(), FleetStamp::default(), "it is not said yet");
        let hello = greeting.hello();
        assert_eq!((hello.fleet, named.stamp()), (newer, newer));
        assert_eq!((hello.role, hello.identity.as_str()), (PeerRole::DnsLb, "sea1"));
    }
}
