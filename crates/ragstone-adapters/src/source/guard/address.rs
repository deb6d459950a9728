//! Decides which IP addresses are on the public internet.
//!
//! Invariant: an address that embeds another (mapped, translated, tunnelled) is judged by the embedded one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses with a common prefix, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    first: IpAddr,
    bits: u8,
}

/// A text that is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses such as 10.0.0.0/8")]
pub struct IpRangeError(String);

impl FromStr for IpRange {
    type Err = IpRangeError;
    fn from_str(text: &str) -> Result<Self, IpRangeError> {
        let wrong = || IpRangeError(text.to_owned());
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { first, bits }).ok_or_else(wrong)
    }
}

impl IpRange {
    /// Whether an address is in the range; a mapped IPv4 address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, ip.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => same_prefix(
                u128::from(first.to_bits()) << 96,
                u128::from(ip.to_bits()) << 96,
                self.bits,
            ),
            (IpAddr::V6(first), IpAddr::V6(ip)) => same_prefix(first.to_bits(), ip.to_bits(), self.bits),
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (128 - u32::from(bits)) == 0
}

/// IPv4 ranges that are not public (IANA special-purpose address registry), with multicast and reserved ones.
const NOT_PUBLIC_V4: [([u8; 4], u8); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// IPv6 ranges inside of `2000::/3` but outside of the public internet (same registry).
const NOT_PUBLIC_V6: [([u16; 3], u8); 3] = [([0x2001, 0, 0], 23), ([0x2001, 0xdb8, 0], 32), ([0x3fff, 0, 0], 20)];

/// Whether an address is on the public internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !NOT_PUBLIC_V4
            .iter()
            .any(|(first, bits)| in_v4(ip, Ipv4Addr::from(*first), *bits)),
        IpAddr::V6(ip) => match embedded_ipv4(ip) {
            Some(inner) => is_public(IpAddr::V4(inner)),
            None => {
                let public = in_v6(ip, [0x2000, 0, 0], 3);
                public && !NOT_PUBLIC_V6.iter().any(|(first, bits)| in_v6(ip, *first, *bits))
            }
        },
    }
}

/// Whether an address is link-local, where clouds serve credentials, or the machine itself: an allowed host name does
/// not admit it, only an allowed range does.
pub fn is_private_service(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_loopback() || ip.is_unspecified(),
        IpAddr::V6(ip) => match embedded_ipv4(ip) {
            Some(inner) => is_private_service(IpAddr::V4(inner)),
            None => {
                ip.is_loopback()
                    || ip.is_unspecified()
                    || ip.is_unicast_link_local()
                    || ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
            }
        },
    }
}

/// The IPv4 address embedded in an IPv6 address: mapped, compatible (RFC 4291), NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = ip.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

fn in_v4(ip: Ipv4Addr, first: Ipv4Addr, bits: u8) -> bool {
    IpRange {
        first: IpAddr::V4(first),
        bits,
    }
    .contains(IpAddr::V4(ip))
}

fn in_v6(ip: Ipv6Addr, [a, b, c]: [u16; 3], bits: u8) -> bool {
    let first = Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0);
    same_prefix(first.to_bits(), ip.to_bits(), bits)
}
