//! Wrong keys, tokens and tickets, by the address that sends them.
//!
//! A proof is looked at before its sender's bucket is: behind one proxy everybody has one address, and whoever sends wrong
//! keys from there must not be able to lock the others out. What this bounds is who is told how often that a key is
//! wrong, and what a client costs that repeats one without end; guessing is hopeless against 32 random bytes anyway.
//!
//! Invariant: a right proof is never refused here; what is remembered of addresses is bounded.

use std::sync::Arc;

use axum::http::request::Parts;

use super::rates::KeyedRateLimiter;
use crate::http::address::{self, ClientNetwork, TrustedProxies};
use crate::http::metrics;
use crate::http::problem::{ApiProblem, Code};

/// Most buckets; further addresses share one.
const MAX_NETWORKS: usize = 262_144;

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum FailedAuthSender {
    Network(ClientNetwork),
    /// All that have no bucket of their own.
    Shared,
}

/// The buckets of wrong proofs.
pub(super) struct FailedAuthLimiter {
    rate: Option<KeyedRateLimiter<FailedAuthSender>>,
    proxies: Arc<TrustedProxies>,
}

impl FailedAuthLimiter {
    /// Buckets of `per_minute`; no limit for 0.
    pub fn new(per_minute: u32, proxies: Arc<TrustedProxies>) -> Self {
        let rate = KeyedRateLimiter::new(per_minute);
        Self { rate, proxies }
    }

    /// What the sender of a wrong proof is told: what is wrong, or to come back later. Problems of another kind stay as
    /// they are.
    pub fn on_failed_auth(&self, request: &Parts, problem: ApiProblem) -> ApiProblem {
        if problem.code != Code::Unauthorized {
            return problem;
        }
        let problem = self.rate_limit_problem(request).unwrap_or(problem);
        metrics::count_failed_auth(problem.code);
        problem
    }

    fn rate_limit_problem(&self, request: &Parts) -> Option<ApiProblem> {
        let rate = self.rate.as_ref()?;
        let address = address::client_address(&request.extensions, &request.headers, &self.proxies)?;
        let sender = match rate.bucket_count() < MAX_NETWORKS {
            true => FailedAuthSender::Network(ClientNetwork::from_address(address)),
            false => FailedAuthSender::Shared,
        };
        let standing = rate.take_request(&sender);
        if standing.wait.is_none() && standing.remaining == 0 {
            tracing::warn!(?sender, limit = standing.limit, "many wrong keys come from an address");
        }
        let detail = format!(
            "more than {} wrong keys, tokens or tickets a minute came from this address",
            standing.limit
        );
        let wait = standing.wait?;
        Some(ApiProblem::new(Code::TooManyFailures, detail).with_retry_after(Some(wait)))
    }
}
