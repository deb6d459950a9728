//! Whether a caller is still one while it is answered.
//!
//! Invariant: once a key or a token has ended, its caller is sent no citation and no end any more, and after [`TRUSTED_FOR`] at most
//! nothing at all; the model's call ends with the answer.

use std::sync::Arc;

use async_stream::stream;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use ragstone_core::ask::AnswerEvent;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::http::App;
use crate::http::auth::{Keyring, Proof, TRUSTED_FOR};

/// The same events, broken off when what the caller came in by ends.
pub(super) fn while_the_proof_opens(
    app: &App,
    proof: Proof,
    events: BoxStream<'static, AnswerEvent>,
) -> BoxStream<'static, AnswerEvent> {
    match proof.may_end() {
        true => watch(app.keys.clone(), proof, events).boxed(),
        false => events,
    }
}

fn watch(
    keys: Arc<Keyring>,
    proof: Proof,
    mut events: BoxStream<'static, AnswerEvent>,
) -> impl Stream<Item = AnswerEvent> + Send {
    let mut looks = interval_at(Instant::now() + TRUSTED_FOR, TRUSTED_FOR);
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
            if !is_between_looks && let Err(problem) = proof.still_opens(&keys).await {
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
