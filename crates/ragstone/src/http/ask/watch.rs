//! Checks during an answer that the caller's credential is still valid.
//!
//! Invariant: once a key or token has ended, its caller gets no further citation and no `done`; text stops within
//! [`KEY_CACHE_TTL`]. The model's call is cancelled with the stream.

use std::sync::Arc;

use async_stream::stream;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use ragstone_core::ask::AnswerEvent;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::http::RouterState;
use crate::http::auth::{ApiKeyring, Credential, KEY_CACHE_TTL};

/// Passes the events on; ends them with `Failed` when the credential ends.
pub(super) fn while_credential_valid(
    app: &RouterState,
    proof: Credential,
    events: BoxStream<'static, AnswerEvent>,
) -> BoxStream<'static, AnswerEvent> {
    match proof.can_expire() {
        true => watch_credential(app.keys.clone(), proof, events).boxed(),
        false => events,
    }
}

fn watch_credential(
    keys: Arc<ApiKeyring>,
    proof: Credential,
    mut events: BoxStream<'static, AnswerEvent>,
) -> impl Stream<Item = AnswerEvent> + Send {
    let mut looks = interval_at(Instant::now() + KEY_CACHE_TTL, KEY_CACHE_TTL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream! {
        loop {
            // `biased`: the periodic check comes first, so that a model that never pauses cannot delay it.
            let event = tokio::select! {
                biased;
                _ = looks.tick() => None,
                event = events.next() => match event {
                    Some(event) => Some(event),
                    None => break,
                },
            };
            let is_between_looks = matches!(event, Some(AnswerEvent::Delta { .. } | AnswerEvent::Failed { .. }));
            // Text and `Failed` pass between two ticks; sources, each citation and `Done` are checked first.
            if !is_between_looks && let Err(problem) = proof.check_live(&keys).await {
                yield AnswerEvent::Failed {
                    code: problem.code.as_str().to_owned(),
                    detail: problem.detail,
                };
                break;
            }
            if let Some(event) = event {
                yield event;
            }
        }
    }
}
