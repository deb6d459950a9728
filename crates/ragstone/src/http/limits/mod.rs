//! Limits per caller and per tenant: requests per minute, concurrent streams, tokens per day; and failed
//! authentications per client address.
//!
//! Invariant: a limit of 0 is off; requests through the operator channel have no rate limit. The memory used per caller
//! is bounded.

mod guesses;
pub(super) mod linger;
mod rates;
pub(super) mod shares;
mod streams;
mod tokens;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ragstone_core::access::Principal;
use ragstone_core::id::TenantId;

use super::auth::{self, OperatorChannel};
use super::problem::{ApiProblem, Code};
use super::{HttpSettings, RouterState};
pub(super) use streams::StreamSlot;
pub(super) use tokens::{check_token_budget, meter_answer};

/// Response header: requests that the limit allows at once, and then per minute.
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// Response header: requests that it allows now.
pub(super) const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// Response header: seconds until it allows all of them again.
pub(super) const RATE_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The limits of the settings; 0 means no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct LimitSettings {
    /// Requests of one caller: burst size, and refill per minute.
    pub requests_per_minute: u32,
    /// The same for all callers of a tenant together.
    pub tenant_requests_per_minute: u32,
    /// Concurrent streams of one caller.
    pub caller_streams: usize,
    /// Concurrent streams of all callers.
    pub streams: usize,
    /// Tokens of one caller per day, in UTC.
    pub tokens_per_day: u64,
    /// The same for all callers of a tenant together.
    pub tenant_tokens_per_day: u64,
    /// Failed authentications (keys, tokens, tickets) of one client address: burst size, and refill per minute.
    pub failed_auths_per_minute: u32,
}

/// A caller as limits count it: the same subject of a tenant is the same caller, whatever its role.
pub(super) type CallerKey = (TenantId, String);

pub(super) fn caller_key(principal: &Principal) -> CallerKey {
    (principal.tenant().clone(), principal.subject().to_owned())
}

/// The state of all limits.
pub(super) struct CallerLimits {
    callers: Option<rates::KeyedRateLimiter<CallerKey>>,
    tenants: Option<rates::KeyedRateLimiter<TenantId>>,
    streams: Arc<streams::StreamLimit>,
    failed_auth: guesses::FailedAuthLimiter,
}

impl CallerLimits {
    pub fn new(settings: &HttpSettings) -> Self {
        let limits = settings.limits;
        Self {
            callers: rates::KeyedRateLimiter::new(limits.requests_per_minute),
            tenants: rates::KeyedRateLimiter::new(limits.tenant_requests_per_minute),
            streams: Arc::new(streams::StreamLimit::new(limits.caller_streams, limits.streams)),
            failed_auth: guesses::FailedAuthLimiter::new(
                limits.failed_auths_per_minute,
                settings.trusted_proxies.clone(),
            ),
        }
    }

    /// Reserves a stream slot, which is free again when it is dropped. 429 if all slots are used.
    pub fn reserve_stream(&self, principal: &Principal) -> Result<StreamSlot, ApiProblem> {
        streams::StreamLimit::acquire_slot(&self.streams, caller_key(principal))
    }

    /// The problem to return for a failed authentication; see [`guesses::FailedAuthLimiter`].
    pub fn on_failed_auth(&self, request: &Parts, problem: ApiProblem) -> ApiProblem {
        self.failed_auth.on_failed_auth(request, problem)
    }

    /// Takes a request from both rates and returns the tighter one; `None` if neither is set.
    fn take_request(&self, principal: &Principal) -> Option<rates::RateStatus> {
        let caller = self
            .callers
            .as_ref()
            .map(|rate| rate.take_request(&caller_key(principal)));
        // A request that is refused anyway must not count for its tenant.
        if caller.as_ref().is_some_and(|standing| standing.wait.is_some()) {
            return caller;
        }
        let tenant = self.tenants.as_ref().map(|rate| rate.take_request(principal.tenant()));
        caller
            .into_iter()
            .chain(tenant)
            .min_by_key(|standing| (standing.wait.is_none(), standing.remaining))
    }
}

/// Middleware that enforces the request rates. The three headers are those of draft-ietf-httpapi-ratelimit-headers-06,
/// the last draft with separate headers; every response to a rate-limited caller has them.
pub(super) async fn enforce_rate_limit(State(app): State<Arc<RouterState>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let standing = match auth::identified_caller(extensions) {
        Some(principal) if extensions.get::<OperatorChannel>().is_none() => app.limits.take_request(principal),
        _ => None,
    };
    let Some(standing) = standing else {
        return next.run(request).await;
    };
    let mut response = match standing.wait {
        None => next.run(request).await,
        Some(wait) => {
            let detail = format!("more than {} requests a minute", standing.limit);
            let problem = ApiProblem::new(Code::RateLimited, detail);
            problem.with_retry_after(Some(wait)).into_response()
        }
    };
    let seconds = standing.reset.as_secs_f64().ceil() as u64;
    let headers = response.headers_mut();
    headers.insert(RATE_LIMIT, HeaderValue::from(standing.limit));
    headers.insert(RATE_REMAINING, HeaderValue::from(standing.remaining));
    headers.insert(RATE_RESET, HeaderValue::from(seconds));
    response
}

#[cfg(test)]
mod tests;
