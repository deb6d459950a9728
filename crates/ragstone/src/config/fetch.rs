//! Settings of fetching addresses that a third party named.

use std::net::IpAddr;

use serde::Deserialize;

use super::check::SettingsFindings;

/// The `[fetch]` section: which addresses may be reached, and limits of an answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSection {
    /// Hosts that may be in a private network: a name, or `*.` and a domain.
    pub allowed_hosts: Vec<String>,
    /// Address ranges that may be reached though they are not public.
    pub allowed_ranges: Vec<String>,
    /// Ports that may be contacted.
    pub ports: Vec<String>,
    /// Most redirects that are followed, 0 to 20; each is checked like the first address.
    pub max_redirects: usize,
    /// Largest answer, in bytes, 1024 to 1 GiB.
    pub max_bytes: usize,
    /// Seconds to connect, 1 to 300.
    pub connect_seconds: u64,
    /// Seconds for a whole answer with its redirects, 1 to 86400.
    pub total_seconds: u64,
}

impl FetchSection {
    pub(super) fn check_values(&self, found: &mut SettingsFindings) {
        if let Some(range) = self.allowed_ranges.iter().find(|range| !is_address_range(range)) {
            let detail = format!("{range:?} is no range of addresses such as 10.0.0.0/8");
            found.add_finding("fetch.allowed_ranges", detail);
        }
        let is_host = |host: &str| !host.is_empty() && !host.contains(['/', ':', '@']);
        if let Some(host) = self.allowed_hosts.iter().find(|host| !is_host(host)) {
            let detail = format!("{host:?} is no name of a host such as wiki.example.com or *.example.com");
            found.add_finding("fetch.allowed_hosts", detail);
        }
        if let Some(port) = self.ports.iter().find(|port| port.parse::<u16>().is_err()) {
            found.add_finding("fetch.ports", format!("{port:?} is no port"));
        }
        found.check_range("fetch.max_redirects", self.max_redirects, 0..=20);
        found.check_range("fetch.max_bytes", self.max_bytes, 1024..=1 << 30);
        found.check_range("fetch.connect_seconds", self.connect_seconds, 1..=300);
        found.check_range("fetch.total_seconds", self.total_seconds, 1..=86_400);
    }
}

/// Whether a text is an IP address, or an address with a prefix length (CIDR).
pub(super) fn is_address_range(text: &str) -> bool {
    let (first, bits) = text.split_once('/').unwrap_or((text, "0"));
    let most = first
        .parse()
        .map(|first: IpAddr| if first.is_ipv4() { 32 } else { 128 });
    most.is_ok_and(|most| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}
