//! Whether a caller is still one while it is answered.
//!
//! Invariant: once a key or a token has ended, its caller is sent no citation and no end any more, and after [`KEY_CACHE_TTL`] at most
//! nothing at all; the model's call ends with the answer.

use std::sync::Arc;

use async_stream::stream;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use ragstone_core::ask::AnswerEvent;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::http::RouterState;
use crate::http::auth::{ApiKeyring, Credential, KEY_CACHE_TTL};

/// The same events, broken off when what the caller came in by ends.
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
            // The looks come first: a model that never pauses does not keep them away.
            let event = tokio::select! {
                biased;
                _ = looks.tick() => None,
                event = events.next() => match event {
                    Some(event) => Some(event),
                    None => break,
                },
            };
            let is_between_looks = matches!(event, Some(AnswerEvent::Delta { .. } | AnswerEvent::Failed { .. }));
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
