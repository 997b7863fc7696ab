//! What goes with a catalogue: CATALOGUE-ACK, RESYNC, DELEGATION, and WELCOME's list of zones.

use std::net::IpAddr;

use crate::name::Name;

/// A zone, as WELCOME lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneGeneration {
    /// The zone.
    pub zone: Name,
    /// The newest generation held, that of the withdrawal where the zone is gone.
    pub generation: u64,
    /// To a DNS-LB: bring it up to date where it is held, and leave it alone else, until somebody
    /// asks for a service of it.
    pub on_referral: bool,
}

/// CATALOGUE-ACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueAck {
    /// Which zone.
    pub zone: Name,
    /// Of the CATALOGUE.
    pub generation: u64,
    /// The generation of the zone that is held after the CATALOGUE, 0 for none.
    pub held: u64,
    /// Why it is not in use; `None` when it is.
    pub refused: Option<String>,
}

/// RESYNC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resync {
    /// Send a MAP.
    Map,
    /// Send a REPORT with base 0.
    Report,
    /// Bring this zone up to date.
    Catalogue {
        /// The zone.
        zone: Name,
        /// The generation held, to which a delta may be sent; 0: everything is wanted.
        held: u64,
    },
}

/// DELEGATION: the NS names and addresses under which the dns-bs want a zone delegated (claim 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The zone.
    pub zone: Name,
    /// Seconds for NS and glue.
    pub ttl: u32,
    /// Name servers with their addresses.
    pub servers: Vec<(Name, Vec<IpAddr>)>,
}
