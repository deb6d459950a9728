//! Wrong keys, tokens and tickets, by the address that sends them.
//!
//! A proof is looked at before its sender's bucket is: behind one proxy everybody has one address, and whoever sends wrong
//! keys from there must not be able to lock the others out. What this bounds is who is told how often that a key is
//! wrong, and what a client costs that repeats one without end; guessing is hopeless against 32 random bytes anyway.
//!
//! Invariant: a right proof is never refused here; what is remembered of addresses is bounded.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;

use super::rates::Rate;
use crate::http::metrics;
use crate::http::problem::{Code, Problem};

/// Most buckets; further addresses share one.
const MAX_NETWORKS: usize = 262_144;

/// Addresses that one sender has: of IPv6 usually a whole /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    Of(IpAddr),
    /// All that have no bucket of their own.
    Others,
}

/// The buckets of wrong proofs.
pub(super) struct Guesses(Option<Rate<Network>>);

impl Guesses {
    /// Buckets of `per_minute`; no limit for 0.
    pub fn new(per_minute: u32) -> Self {
        Self(Rate::new(per_minute))
    }

    /// What the sender of a wrong proof is told: what is wrong, or to come back later. Problems of another kind stay as
    /// they are.
    pub fn after(&self, request: &Parts, problem: Problem) -> Problem {
        if problem.code != Code::Unauthorized {
            return problem;
        }
        let problem = self.beyond(request).unwrap_or(problem);
        metrics::wrong_proof(problem.code);
        problem
    }

    fn beyond(&self, request: &Parts) -> Option<Problem> {
        let rate = self.0.as_ref()?;
        let ConnectInfo(peer) = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
        let network = match rate.buckets() < MAX_NETWORKS {
            true => network(peer.ip()),
            false => Network::Others,
        };
        let standing = rate.take(&network);
        if standing.wait.is_none() && standing.remaining == 0 {
            tracing::warn!(
                ?network,
                limit = standing.limit,
                "many wrong keys come from an address"
            );
        }
        let detail = format!(
            "more than {} wrong keys, tokens or tickets a minute came from this address",
            standing.limit
        );
        let wait = standing.wait?;
        Some(Problem::new(Code::TooManyFailures, detail).after(Some(wait)))
    }
}

fn network(address: IpAddr) -> Network {
    Network::Of(match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(prefix).into()
        }
        address => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_half_of_one() {
        let check = |address: &str, expected: &str| {
            let expected = Network::Of(expected.parse().unwrap());
            assert_eq!(network(address.parse().unwrap()), expected, "{address}");
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("::1", "::");
    }
}
