//! What every daemon needs from the outside world.

pub mod link;
