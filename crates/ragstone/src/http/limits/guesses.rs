//! Wrong keys, tokens and tickets, by the address that sends them.
//!
//! A proof is looked at before its sender's bucket is: behind one proxy everybody has one address, and whoever sends wrong
//! keys from there must not be able to lock the others out. What this bounds is who is told how often that a key is
//! wrong, and what a client costs that repeats one without end; guessing is hopeless against 32 random bytes anyway.
//!
//! Invariant: a right proof is never refused here; what is remembered of addresses is bounded.

use std::sync::Arc;

use axum::http::request::Parts;

use super::rates::Rate;
use crate::http::address::{self, Network, TrustedProxies};
use crate::http::metrics;
use crate::http::problem::{Code, Problem};

/// Most buckets; further addresses share one.
const MAX_NETWORKS: usize = 262_144;

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sender {
    Of(Network),
    /// All that have no bucket of their own.
    Others,
}

/// The buckets of wrong proofs.
pub(super) struct Guesses {
    rate: Option<Rate<Sender>>,
    proxies: Arc<TrustedProxies>,
}

impl Guesses {
    /// Buckets of `per_minute`; no limit for 0.
    pub fn new(per_minute: u32, proxies: Arc<TrustedProxies>) -> Self {
        let rate = Rate::new(per_minute);
        Self { rate, proxies }
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
        let rate = self.rate.as_ref()?;
        let address = address::client(&request.extensions, &request.headers, &self.proxies)?;
        let sender = match rate.buckets() < MAX_NETWORKS {
            true => Sender::Of(Network::of(address)),
            false => Sender::Others,
        };
        let standing = rate.take(&sender);
        if standing.wait.is_none() && standing.remaining == 0 {
            tracing::warn!(?sender, limit = standing.limit, "many wrong keys come from an address");
        }
        let detail = format!(
            "more than {} wrong keys, tokens or tickets a minute came from this address",
            standing.limit
        );
        let wait = standing.wait?;
        Some(Problem::new(Code::TooManyFailures, detail).after(Some(wait)))
    }
}
