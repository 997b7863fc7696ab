//! The part of DGLB that decides, and nothing else: no socket, no clock, no file, no runtime, no
//! `unsafe`. Time is always an argument, bytes come in and go out through slices.
//!
//! ```text
//! packet → dns::query → locate (table) → choose → answer → dns::render → packet
//! probe samples → rank (estimate, order, hysteresis) → report → directory
//! bytes ↔ proto::codec ↔ proto::message ↔ proto::session
//! ```
//!
//! Every value that an answer depends on lives in one immutable [`directory::Directory`]; writers
//! build the next one aside and swap it in through [`published::Published`].
#![forbid(unsafe_code)]

pub mod aggregate;
pub mod allowance;
pub mod answer;
mod awaited;
pub mod catalogue;
pub mod chunked;
mod coming;
pub mod decided;
pub mod directory;
pub mod dns;
pub mod estimate;
pub mod fleet;
pub mod identity;
pub mod index;
pub mod lbs;
pub mod load;
pub mod locate;
mod lots;
pub mod name;
pub mod net;
pub mod peer_name;
pub mod proto;
pub mod published;
pub mod rank;
pub mod ranked;
mod rankings;
pub mod report;
pub mod residence;
pub mod table;
pub mod zone;
mod zones;
