//! Contract of every chat model.

use futures::StreamExt;

use super::chat::{ChatEvent, ChatModel, ChatRequest, FinishReason};

/// Asks `request`, whose passages hold an answer, and checks the order of events; gives the text that was said.
///
/// # Panics
/// Where the model breaks the contract.
pub async fn answers(model: &dyn ChatModel, request: ChatRequest) -> String {
    let passages = request.passages.clone();
    let mut events = model.stream_reply(request).await.expect("the request is a good one");
    let (mut text, mut usages, mut ended) = (String::new(), 0, None);
    while let Some(event) = events.next().await {
        assert!(ended.is_none(), "nothing follows the end: {event:?}");
        match event.expect("nothing fails in this request") {
            ChatEvent::Delta(delta) => {
                assert!(!delta.is_empty(), "an empty delta says nothing");
                text.push_str(&delta);
            }
            ChatEvent::Quote { passage, range } => {
                let quoted = passage
                    .checked_sub(1)
                    .and_then(|at| passages.get(at))
                    .expect("passages count from 1");
                assert!(quoted.chunk.text.get(range).is_some(), "a quote lies in its passage");
                assert!(!text.is_empty(), "a quote follows the text it is the source of");
            }
            ChatEvent::Usage(_) => usages += 1,
            ChatEvent::End(finish) => ended = Some(finish),
        }
    }
    assert!(usages <= 1, "usage comes at most once");
    assert_eq!(ended, Some(FinishReason::Stop), "an answer ends by itself");
    assert!(!text.trim().is_empty(), "an answer has text");
    text
}

/// The same request twice at once: answers do not mix, and a dropped one does not disturb the other.
///
/// # Panics
/// Where the model breaks the contract.
pub async fn answers_side_by_side(model: &dyn ChatModel, request: ChatRequest) {
    let dropped = model
        .stream_reply(request.clone())
        .await
        .expect("the request is a good one");
    let (one, two) = futures::join!(answers(model, request.clone()), async {
        drop(dropped);
        answers(model, request).await
    });
    assert_eq!(
        one, two,
        "the same request gets the same answer from a model without chance"
    );
}

/// A model has a name and says how much it can read.
///
/// # Panics
/// Where the model breaks the contract.
pub fn describes_itself(model: &dyn ChatModel) {
    let description = model.model_description();
    assert!(!description.model.is_empty(), "a model has a name");
    assert!(description.context_tokens > 0, "a model can read something");
    let secret = description.endpoint.iter().any(|endpoint| endpoint.contains('@'));
    assert!(!secret, "an endpoint shows no credentials");
}
