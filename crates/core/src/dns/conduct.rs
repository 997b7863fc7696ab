//! How a server conducts itself, whatever it is asked (design section 10). The content of answers
//! is the [`crate::directory::Directory`]'s.

/// Everything about replies that is not their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// Largest UDP reply in octets, and what we say we take. Default 1 232 (512 to 4 096).
    pub udp_payload: u16,
}

impl Conduct {
    /// What holds where the operator says nothing.
    pub const DEFAULT: Self = Self { udp_payload: 1232 };
}

impl Default for Conduct {
    fn default() -> Self {
        Self::DEFAULT
    }
}
