//! Rate limit for failed authentications, per client address.
//!
//! A credential is verified before the rate of its sender is checked: behind one proxy all clients share an address,
//! and a sender of wrong keys must not be able to lock out the others. The limit slows down clients that repeat a wrong
//! key and makes them visible in log and metrics; guessing is hopeless anyway against 32 random bytes.
//!
//! Invariant: a valid credential is never refused here; the memory used per address is bounded.

use std::sync::Arc;

use axum::http::request::Parts;

use super::rates::KeyedRateLimiter;
use crate::http::address::{self, ClientNetwork, TrustedProxies};
use crate::http::metrics;
use crate::http::problem::{ApiProblem, Code};

/// Maximum number of buckets; further addresses share one.
const MAX_NETWORKS: usize = 262_144;

/// The bucket that a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum FailedAuthSender {
    Network(ClientNetwork),
    /// All addresses without a bucket of their own.
    Shared,
}

/// One token bucket per client network.
pub(super) struct FailedAuthLimiter {
    rate: Option<KeyedRateLimiter<FailedAuthSender>>,
    proxies: Arc<TrustedProxies>,
}

impl FailedAuthLimiter {
    /// Buckets of `per_minute` failures; 0 means no limit.
    pub fn new(per_minute: u32, proxies: Arc<TrustedProxies>) -> Self {
        let rate = KeyedRateLimiter::new(per_minute);
        Self { rate, proxies }
    }

    /// Counts a failed authentication and returns the problem to send: `problem`, or 429 if the address is over its
    /// limit. Problems other than 401 are returned unchanged and not counted.
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
