//! Everything that an answer depends on, in one immutable value.

/// Placeholder until the answering slice lands.
#[derive(Debug, Default)]
pub struct Directory {}
