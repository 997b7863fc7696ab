//! Addresses as numbers: what the table needs to know of a family, so that it is written once.

use std::net::IpAddr;

/// An address of one family as an unsigned number.
pub(super) trait Key: Copy + Ord + std::fmt::Debug + 'static {
    /// The address in memory without alignment, so that a range wastes no space.
    type Bytes: Copy + std::fmt::Debug;
    /// Bits of an address.
    const BITS: u8;
    /// The first address.
    const ZERO: Self;
    /// Whether entries are spread over their block about evenly. Those of IPv6 lie at the beginnings of far
    /// larger ones.
    const EVEN: bool;

    /// The first address of the block of `bits` bits around this one.
    fn first(self, bits: u8) -> Self;
    /// The last address of the block of `bits` bits around this one.
    fn last(self, bits: u8) -> Self;
    /// The 32 bits behind the first `depth`: where in its block of so many bits this
    /// address is, as a share of 2^32.
    fn fraction(self, depth: u8) -> u64;
    /// The eight bits behind the first `depth`; `depth` is a multiple of 8 below `BITS`.
    fn octet(self, depth: u8) -> usize;
    /// This address with the eight bits behind the first `depth` set to `octet`.
    fn with_octet(self, depth: u8, octet: usize) -> Self;
    /// This address with the bit behind the first `depth` set; `depth` is below `BITS`.
    fn with_bit(self, depth: u8) -> Self;
    /// How many leading bits the two share.
    fn common(self, other: Self) -> u8;
    /// The next address, if this is not the last of all.
    fn next(self) -> Option<Self>;
    /// The previous address, if this is not the first of all.
    fn previous(self) -> Option<Self>;
    /// For storage.
    fn bytes(self) -> Self::Bytes;
    /// From storage.
    fn from_bytes(bytes: Self::Bytes) -> Self;
    /// As an address.
    fn address(self) -> IpAddr;
}

macro_rules! key {
    ($number:ty, $address:ty, $even:literal) => {
        impl Key for $number {
            type Bytes = [u8; size_of::<$number>()];
            const BITS: u8 = <$number>::BITS as u8;
            const ZERO: Self = 0;
            const EVEN: bool = $even;

            fn first(self, bits: u8) -> Self {
                self & !Self::MAX.checked_shr(u32::from(bits)).unwrap_or(0)
            }

            fn last(self, bits: u8) -> Self {
                self | Self::MAX.checked_shr(u32::from(bits)).unwrap_or(0)
            }

            #[inline]
            fn fraction(self, depth: u8) -> u64 {
                (self.checked_shl(u32::from(depth)).unwrap_or(0) >> (Self::BITS - u32::BITS)) as u64
            }

            fn octet(self, depth: u8) -> usize {
                usize::from(self.to_be_bytes()[usize::from(depth / 8)])
            }

            fn with_octet(self, depth: u8, octet: usize) -> Self {
                let shift = <Self as Key>::BITS - 8 - depth;
                self & !(0xff << shift) | (octet as Self) << shift
            }

            fn with_bit(self, depth: u8) -> Self {
                self | 1 << (<Self as Key>::BITS - 1 - depth)
            }

            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }

            fn bytes(self) -> Self::Bytes {
                self.to_ne_bytes()
            }

            fn from_bytes(bytes: Self::Bytes) -> Self {
                Self::from_ne_bytes(bytes)
            }

            fn address(self) -> IpAddr {
                <$address>::from_bits(self).into()
            }
        }
    };
}

key!(u32, std::net::Ipv4Addr, true);
key!(u128, std::net::Ipv6Addr, false);
