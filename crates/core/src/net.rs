//! Address prefixes, canonical by construction.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An address prefix without host bits. IPv4 and IPv6 are separate families: an IPv4-mapped IPv6
/// address is turned into IPv4 by [`canonical`] before it comes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Why a text or a pair is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Not `address/length` nor a bare address.
    #[error("\"{0}\" is not an address prefix such as 192.0.2.0/24 or 2001:db8::/32")]
    Syntax(String),
    /// More bits than the family has.
    #[error("prefix length {bits} is beyond the {limit} bits of {address}")]
    TooLong {
        /// The address as given.
        address: IpAddr,
        /// The length as given.
        bits: u8,
        /// 32 or 128.
        limit: u8,
    },
    /// Bits set beyond the length.
    #[error("{address}/{bits} has bits set beyond the prefix; the prefix is {canonical}")]
    HostBits {
        /// The address as given.
        address: IpAddr,
        /// The length as given.
        bits: u8,
        /// What it should have been.
        canonical: Prefix,
    },
}

/// An IPv4-mapped IPv6 address as IPv4, any other address as it is.
#[inline]
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The number of bits in an address of this family: 32 or 128.
#[inline]
pub fn family_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `address` with everything beyond its first `bits` bits cleared; `bits` beyond the family's
/// length leave it as it is.
pub fn mask(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let m = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & m))
        }
        IpAddr::V6(v6) => {
            let m = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & m))
        }
    }
}

impl Prefix {
    /// 0.0.0.0/0.
    pub const ALL_IPV4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), bits: 0 };

    /// The prefix of `bits` bits that holds `address`; host bits are cleared.
    ///
    /// # Errors
    /// [`PrefixError::TooLong`] where the family has fewer bits.
    pub fn containing(address: IpAddr, bits: u8) -> Result<Self, PrefixError> {
        let limit = family_bits(address);
        if bits > limit {
            return Err(PrefixError::TooLong { address, bits, limit });
        }
        Ok(Self { address: mask(address, bits), bits })
    }

    /// Like [`Prefix::containing`], but set host bits are an error.
    ///
    /// # Errors
    /// [`PrefixError::TooLong`], [`PrefixError::HostBits`].
    pub fn strict(address: IpAddr, bits: u8) -> Result<Self, PrefixError> {
        let canonical = Self::containing(address, bits)?;
        if canonical.address != address {
            return Err(PrefixError::HostBits { address, bits, canonical });
        }
        Ok(canonical)
    }

    /// The whole address as a prefix: /32 or /128.
    pub fn host(address: IpAddr) -> Self {
        Self { address, bits: family_bits(address) }
    }

    /// The first address of the prefix.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length in bits, 0 to 32 or 128.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether `address` is of this family and inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && mask(address, self.bits) == self.address
    }

    /// Whether every address of `other` is inside.
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || PrefixError::Syntax(text.to_owned());
        match text.split_once('/') {
            None => Ok(Self::host(text.parse().map_err(|_| syntax())?)),
            Some((address, bits)) => {
                let address = address.parse().map_err(|_| syntax())?;
                Self::strict(address, bits.parse().map_err(|_| syntax())?)
            }
        }
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_never_has_host_bits() {
        assert_eq!("10.1.0.0/16".parse::<Prefix>().unwrap().to_string(), "10.1.0.0/16");
        assert_eq!("10.1.2.3".parse::<Prefix>().unwrap().bits(), 32);
        assert_eq!("0.0.0.0/0".parse::<Prefix>().unwrap().bits(), 0);
        assert!(matches!("10.1.2.3/16".parse::<Prefix>(), Err(PrefixError::HostBits { .. })));
        assert!(matches!("10.0.0.0/33".parse::<Prefix>(), Err(PrefixError::TooLong { .. })));
        assert!(matches!("10.0.0/8".parse::<Prefix>(), Err(PrefixError::Syntax(_))));
        let p = Prefix::containing("2001:db8:1:2::5".parse().unwrap(), 48).unwrap();
        assert_eq!(p.to_string(), "2001:db8:1::/48");
        assert!(p.contains("2001:db8:1:ffff::1".parse().unwrap()));
        assert!(!p.contains("10.0.0.1".parse().unwrap()));
        assert!("::/0".parse::<Prefix>().unwrap().covers(&p));
    }
}
