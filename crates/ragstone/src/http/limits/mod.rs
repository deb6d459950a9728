//! What one caller and one tenant may use: requests a minute, streams at once, tokens a day; and how many wrong keys one
//! address may send.
//!
//! Invariant: nothing is limited that no setting limits; whoever came through the operator's door has no rate. What is
//! remembered of callers is bounded.

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

/// Requests the limit allows at once, and then a minute.
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// Requests it allows at this moment.
pub(super) const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// Seconds until it allows all of them again.
pub(super) const RATE_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// How much is allowed; 0 is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct LimitSettings {
    /// Requests of one caller, at once and then a minute.
    pub requests_per_minute: u32,
    /// The same of all callers of a tenant.
    pub tenant_requests_per_minute: u32,
    /// Streams of one caller at once.
    pub caller_streams: usize,
    /// Streams of all callers at once.
    pub streams: usize,
    /// Tokens of one caller a day, in UTC.
    pub tokens_per_day: u64,
    /// The same of all callers of a tenant.
    pub tenant_tokens_per_day: u64,
    /// Wrong keys, tokens and tickets of one address, at once and then a minute.
    pub failed_auths_per_minute: u32,
}

/// A caller as it is counted: whatever its role, the same subject is the same caller.
pub(super) type CallerKey = (TenantId, String);

pub(super) fn caller_key(principal: &Principal) -> CallerKey {
    (principal.tenant().clone(), principal.subject().to_owned())
}

/// What is used at the moment.
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

    /// A place for one stream more, for as long as it is kept.
    pub fn reserve_stream(&self, principal: &Principal) -> Result<StreamSlot, ApiProblem> {
        streams::StreamLimit::acquire_slot(&self.streams, caller_key(principal))
    }

    /// What the sender of a proof that opened nothing is told.
    pub fn on_failed_auth(&self, request: &Parts, problem: ApiProblem) -> ApiProblem {
        self.failed_auth.on_failed_auth(request, problem)
    }

    /// What the tighter of the two rates says; none where neither is set.
    fn take_request(&self, principal: &Principal) -> Option<rates::RateStatus> {
        let caller = self
            .callers
            .as_ref()
            .map(|rate| rate.take_request(&caller_key(principal)));
        // A caller who is refused anyway takes nothing from its tenant.
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

/// Bounds how often a caller and a tenant come. The three headers are those of draft-ietf-httpapi-ratelimit-headers-06,
/// the last draft that had them apart; they stand on every answer to a caller whose rate is limited.
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
