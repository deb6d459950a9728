//! Daily token budgets, charged by the usage that answers report.
//!
//! Invariant: an answer that has started is finished, so running answers may exceed a budget; an answer whose reader
//! left is charged by its length, so leaving early saves nothing.

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use ragstone_core::access::Principal;
use ragstone_core::ask::AnswerEvent;
use time::OffsetDateTime;

use super::LimitSettings;
use crate::http::problem::{ApiProblem, Code};
use crate::http::{ApiServices, RouterState};

/// Bytes of text that count as one token if the model reported no usage.
const BYTES_A_TOKEN: usize = 4;

/// 429 if the caller or its tenant has used up the tokens of the day.
pub(in crate::http) async fn check_token_budget(app: &RouterState, principal: &Principal) -> Result<(), ApiProblem> {
    let limits = app.settings.limits;
    if !is_budget_set(&limits) {
        return Ok(());
    }
    let now = (app.clock)();
    let spent = app
        .usage
        .get_daily_usage(principal.tenant(), principal.subject(), now.date());
    let spent = spent.await?;
    let over = |spent: u64, most: u64| most != 0 && spent >= most;
    let (most, whose) = if over(spent.caller, limits.tokens_per_day) {
        (limits.tokens_per_day, "this caller")
    } else if over(spent.tenant, limits.tenant_tokens_per_day) {
        (limits.tenant_tokens_per_day, "this tenant")
    } else {
        return Ok(());
    };
    let detail = format!("{whose} has spent the {most} tokens of the day, which ends at 0:00 UTC");
    Err(ApiProblem::new(Code::TokenBudgetSpent, detail).with_retry_after(Some(until_midnight(now))))
}

/// Passes the events on, and charges the usage of the answer before its last event is passed on.
pub(in crate::http) fn meter_answer(
    app: &RouterState,
    principal: &Principal,
    events: BoxStream<'static, AnswerEvent>,
) -> BoxStream<'static, AnswerEvent> {
    match is_budget_set(&app.settings.limits) {
        true => metered_stream(app.api.clone(), principal.clone(), events).boxed(),
        false => events,
    }
}

fn is_budget_set(limits: &LimitSettings) -> bool {
    limits.tokens_per_day != 0 || limits.tenant_tokens_per_day != 0
}

fn until_midnight(now: OffsetDateTime) -> Duration {
    let today = now.to_offset(time::UtcOffset::UTC).time() - time::Time::MIDNIGHT;
    Duration::from_secs(24 * 60 * 60).saturating_sub(today.unsigned_abs())
}

fn metered_stream(
    api: Arc<ApiServices>,
    principal: Principal,
    mut events: BoxStream<'static, AnswerEvent>,
) -> impl Stream<Item = AnswerEvent> + Send {
    let mut meter = TokenMeter {
        api,
        principal,
        bytes: 0,
    };
    stream! {
        let mut spoke = false;
        while let Some(event) = events.next().await {
            match &event {
                AnswerEvent::Sources { passages, .. } => {
                    meter.bytes += passages.iter().map(|passage| passage.chunk.text.len()).sum::<usize>();
                }
                AnswerEvent::Delta { text } => {
                    spoke = true;
                    meter.bytes += text.len();
                }
                AnswerEvent::Citation(_) => {}
                AnswerEvent::Done(answer) => {
                    meter.bytes = 0;
                    let used = answer.usage.prompt_tokens + answer.usage.completion_tokens;
                    record_usage(&meter.api, &meter.principal, used).await;
                }
                // A model that failed before its first word used no tokens.
                AnswerEvent::Failed { .. } if !spoke => meter.bytes = 0,
                AnswerEvent::Failed { .. } => {}
            }
            yield event;
        }
    }
}

/// Bytes of prompt and answer so far; charges them when it is dropped before the answer reported its usage.
struct TokenMeter {
    api: Arc<ApiServices>,
    principal: Principal,
    bytes: usize,
}

impl Drop for TokenMeter {
    fn drop(&mut self) {
        let tokens = self.bytes.div_ceil(BYTES_A_TOKEN) as u64;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if tokens > 0 {
            let (api, principal) = (self.api.clone(), self.principal.clone());
            runtime.spawn(async move { record_usage(&api, &principal, tokens).await });
        }
    }
}

/// A failure is only logged: the answer is not lost because it could not be charged.
async fn record_usage(api: &ApiServices, principal: &Principal, tokens: u64) {
    let today = (api.clock)().date();
    let spent = api
        .usage
        .add_daily_usage(principal.tenant(), principal.subject(), today, tokens);
    if let Err(error) = spent.await {
        tracing::error!(%error, tokens, "what an answer used could not be counted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight_in_utc() {
        let check = |at: OffsetDateTime, seconds: u64| assert_eq!(until_midnight(at).as_secs(), seconds, "{at}");
        check(time::macros::datetime!(2024-02-29 00:00:00 UTC), 86_400);
        check(time::macros::datetime!(2024-02-29 23:59:59 UTC), 1);
        check(time::macros::datetime!(2024-03-01 01:00:00 +2), 3_600);
    }
}
