//! The map protocol as its users see it: frames, bodies, sessions, and the examples of
//! `docs/map-protocol.md`.

mod deltas;
mod frames;
mod pair;
mod roundtrip;
mod samples;
mod session;
mod strategies;
mod vectors;
mod violations;
