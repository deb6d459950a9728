//! The client address of a request: the peer of its connection, or the address that a trusted proxy reports.
//!
//! Invariant: an entry of `X-Forwarded-For` is used only if the peer and every later entry are trusted proxies, so a
//! client cannot choose its own address.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};

/// The header to which each proxy appends the address of its client.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The network that counts as one client: a single IPv4 address, or the /64 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::http) struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// The network that contains `address`.
    pub fn from_address(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & !u128::from(u64::MAX);
                Ipv6Addr::from(prefix).into()
            }
            address => address,
        })
    }
}

/// Proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<ProxyRange>);

/// A CIDR range: the addresses whose first `bits` bits equal those of `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProxyRange {
    first: IpAddr,
    bits: u32,
}

impl TrustedProxies {
    /// Parses addresses and CIDR ranges such as `10.0.0.0/8`. The error is the first text that is neither.
    pub fn new<'a>(ranges: &'a [String]) -> Result<Self, &'a str> {
        let ranges = ranges.iter().map(|text| text.parse().map_err(|()| text.as_str()));
        ranges.collect::<Result<_, &'a str>>().map(Self)
    }

    /// Whether one of the ranges contains `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }
}

impl FromStr for ProxyRange {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first, Some(bits.parse().map_err(drop)?)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(drop)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { first, bits }).ok_or(())
    }
}

impl ProxyRange {
    fn contains(&self, address: IpAddr) -> bool {
        let (differs, width) = match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => (u128::from(first.to_bits() ^ address.to_bits()), 32),
            (IpAddr::V6(first), IpAddr::V6(address)) => (first.to_bits() ^ address.to_bits(), 128),
            _ => return false,
        };
        differs.checked_shr(width - self.bits).unwrap_or(0) == 0
    }
}

/// The client address of a request; `None` if it did not come over TCP.
pub(in crate::http) fn client_address(
    extensions: &Extensions,
    headers: &HeaderMap,
    proxies: &TrustedProxies,
) -> Option<IpAddr> {
    let ConnectInfo(peer) = extensions.get::<ConnectInfo<SocketAddr>>()?;
    let mut address = peer.ip().to_canonical();
    let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
    let named = lines.flat_map(|line| line.to_str().unwrap_or("").rsplit(','));
    for named in named {
        if !proxies.contains(address) {
            break;
        }
        match named.trim().parse::<IpAddr>() {
            Ok(named) => address = named.to_canonical(),
            Err(_) => break,
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_network_is_an_address_or_half_of_one() {
        let check = |address: &str, expected: &str| {
            let expected = ClientNetwork(expected.parse().unwrap());
            assert_eq!(
                ClientNetwork::from_address(address.parse().unwrap()),
                expected,
                "{address}"
            );
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("::1", "::");
    }

    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let proxies = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"].map(str::to_owned);
        let proxies = TrustedProxies::new(&proxies).unwrap();
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let found = client_address(&extensions, &headers, &proxies);
        assert_eq!(found, Some(expected.parse().unwrap()), "{peer} {forwarded:?}");
    }

    #[test]
    fn only_a_trusted_proxy_names_its_client() {
        check("198.51.100.7", &[], "198.51.100.7");
        check("198.51.100.7", &["203.0.113.9"], "198.51.100.7");
        check("10.1.2.3", &["203.0.113.9"], "203.0.113.9");
        check("10.1.2.3", &[], "10.1.2.3");
        check("::ffff:10.1.2.3", &["203.0.113.9"], "203.0.113.9");
        check("2001:db8::5", &["2a00::1"], "2a00::1");
    }

    #[test]
    fn what_the_client_itself_wrote_is_not_believed() {
        check("10.1.2.3", &["127.0.0.1, 203.0.113.9"], "203.0.113.9");
        check("10.1.2.3", &["127.0.0.1", "203.0.113.9"], "203.0.113.9");
        check("10.1.2.3", &["203.0.113.9, 192.0.2.1"], "203.0.113.9");
        check("10.1.2.3", &["127.0.0.1, 203.0.113.9, 192.0.2.1"], "203.0.113.9");
        check("10.1.2.3", &["unknown"], "10.1.2.3");
        check("10.1.2.3", &["127.0.0.1, unknown"], "10.1.2.3");
    }

    #[test]
    fn ranges_are_read_or_named() {
        for (text, reads) in [
            ("10.0.0.0/8", true),
            ("::/0", true),
            ("0.0.0.0/0", true),
            ("10.0.0.0/33", false),
            ("proxy", false),
            ("10.0.0.0/x", false),
        ] {
            let texts = [text.to_owned()];
            let expected = if reads { Ok(()) } else { Err(text) };
            assert_eq!(TrustedProxies::new(&texts).map(drop), expected);
        }
    }
}
