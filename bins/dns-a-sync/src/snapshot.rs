//! What the keeper shows of itself.

use std::{sync::Arc, time::Instant};

use dglb_core::{catalogue::ZoneCatalogue, identity::Identity, name::Name};

use crate::{compose::Held, uplink::UplinkView};

/// Everything that the status shows of the keeper, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The last good reading: serial and when.
    pub read: Option<(u32, Instant)>,
    /// Why there is no newer one.
    pub source_error: Option<String>,
    /// Why what was published is not on the disk.
    pub state_error: Option<String>,
    /// Serial of the newest fleet document, 0 before the first.
    pub fleet: u32,
    /// The dns-bs that are linked and have another one.
    pub disagree: Vec<Identity>,
    /// The dns-bs of the newest fleet document that are not configured.
    pub not_dialled: Vec<Identity>,
    /// In the order of the configuration.
    pub zones: Vec<ZoneView>,
    /// Zones that are withdrawn, with the generation, once there is one.
    pub leaving: Vec<(Name, Option<u64>)>,
    /// In the order of the configuration.
    pub uplinks: Vec<UplinkView>,
}

/// One zone at one moment.
#[derive(Clone, Debug)]
pub struct ZoneView {
    /// Which.
    pub name: Name,
    /// What is published.
    pub catalogue: Option<Arc<ZoneCatalogue>>,
    /// When that changed last, in this run.
    pub changed: Option<Instant>,
    /// Why the last reading was not published.
    pub error: Option<String>,
    /// What guard rails hold back.
    pub held: Vec<Held>,
    /// Sites that cannot be read.
    pub unreadable: Vec<String>,
}
