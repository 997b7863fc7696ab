//! The map protocol, version 1 (design section 6; `docs/map-protocol.md` is normative).

pub mod message;
