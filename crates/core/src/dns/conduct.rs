//! How a server conducts itself, whatever it is asked (design section 10). The content of answers
//! is the [`crate::directory::Directory`]'s.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::{cookie::Cookies, rate::Limits};

/// Everything about replies that is not their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// Largest UDP reply in octets, and what we say we take. Default 1 232 (512 to 4 096).
    pub udp_payload: u16,
    /// What the name server identifier says (RFC 5001); default: the option is ignored.
    pub nsid: Option<Text>,
    /// What `id.server` and `hostname.bind` say in class CHAOS (RFC 4892); default: refused.
    pub identity: Option<Text>,
    /// What `version.bind` and `version.server` say there; default: refused.
    pub version: Option<Text>,
    /// Cookies (RFC 7873); default: the option is ignored.
    pub cookies: Option<Cookies>,
    /// How long a connection may be idle, in units of 100 ms, for who asks (RFC 7828); default:
    /// the option is ignored.
    pub keepalive: Option<u16>,
    /// Over encrypted transports replies to padded questions are padded to a multiple of so many
    /// octets (RFC 8467 section 4.1); 0 for never. Default 468.
    pub padding: u16,
    /// How many replies one network gets over UDP; default: as many as it asks for.
    pub limits: Option<Limits>,
}

impl Conduct {
    /// What holds where the operator says nothing, and no daemon knows better.
    pub const DEFAULT: Self = Self {
        udp_payload: 1232,
        nsid: None,
        identity: None,
        version: None,
        cookies: None,
        keepalive: None,
        padding: 468,
        limits: None,
    };
}

impl Default for Conduct {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a server says of itself: 1 to [`Text::MAX`] octets.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Box<[u8]>);

/// A [`Text`] of no octets, or of too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("wanted 1 to {most} octets, found {found}", most = Text::MAX)]
pub struct TextError {
    found: usize,
}

impl Text {
    /// With so much every option that a reply may have over UDP fits 512 octets, beside the longest
    /// question: 12 + 259 of header and question, 11 + 24 + 28 + 24 of OPT, client subnet, cookie
    /// and extended error, and 4 + this.
    pub const MAX: usize = 128;

    /// These octets.
    ///
    /// # Errors
    /// Unless they are 1 to [`Text::MAX`].
    pub fn new(octets: impl AsRef<[u8]>) -> Result<Self, TextError> {
        let octets = octets.as_ref();
        if octets.is_empty() || octets.len() > Self::MAX {
            return Err(TextError { found: octets.len() });
        }
        Ok(Self(octets.into()))
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Text {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
