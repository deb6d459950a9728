//! Settings of fetching what somebody else named.

use std::net::IpAddr;

use serde::Deserialize;

use super::check::SettingsFindings;

/// `[fetch]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSection {
    /// Hosts that may stand in the own network.
    pub allowed_hosts: Vec<String>,
    /// Addresses that may be reached though they are not public.
    pub allowed_ranges: Vec<String>,
    /// Ports that may be asked.
    pub ports: Vec<String>,
    /// Redirects that are followed.
    pub max_redirects: usize,
    /// Bytes of an answer.
    pub max_bytes: usize,
    /// Seconds to connect.
    pub connect_seconds: u64,
    /// Seconds for all of an answer.
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

/// Whether a text is an address, or the first of a range and how many of its bits are meant.
pub(super) fn is_address_range(text: &str) -> bool {
    let (first, bits) = text.split_once('/').unwrap_or((text, "0"));
    let most = first
        .parse()
        .map(|first: IpAddr| if first.is_ipv4() { 32 } else { 128 });
    most.is_ok_and(|most| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}
