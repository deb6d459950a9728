//! A scripted chat model, for the tests of everything above the seam.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};

use super::chat::{ChatDescription, ChatError, ChatEvent, ChatModel, ChatRequest, FinishReason};

/// A model that gives the same events to each request.
#[derive(Debug, Default)]
pub struct FakeChat {
    events: Vec<Result<ChatEvent, ChatError>>,
    refusal: Option<ChatError>,
    hangs: bool,
    requests: Mutex<Vec<ChatRequest>>,
    open: Arc<AtomicUsize>,
}

impl FakeChat {
    /// Says `pieces`, then ends.
    pub fn saying<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Self {
        let deltas = pieces.into_iter().map(|piece| ChatEvent::Delta(piece.to_owned()));
        Self::giving(deltas.chain([ChatEvent::End(FinishReason::Stop)]).map(Ok).collect())
    }

    /// A model that streams these events.
    pub fn giving(events: Vec<Result<ChatEvent, ChatError>>) -> Self {
        Self {
            events,
            ..Self::default()
        }
    }

    /// Refuses before the first event.
    pub fn refusing(error: ChatError) -> Self {
        Self {
            refusal: Some(error),
            ..Self::default()
        }
    }

    /// Says `text`, then nothing more for ever.
    pub fn hanging_after(text: &str) -> Self {
        Self {
            hangs: true,
            ..Self::giving(vec![Ok(ChatEvent::Delta(text.to_owned()))])
        }
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.requests
            .lock()
            .expect("nothing panics while it holds the lock")
            .clone()
    }

    /// Streams that were neither read to their end nor dropped.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Counts a stream as open while it lives.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl ChatModel for FakeChat {
    fn model_description(&self) -> ChatDescription {
        ChatDescription {
            model: "fake".into(),
            endpoint: None,
            quotes_sentences: false,
            context_tokens: 8_192,
        }
    }

    async fn stream_reply(
        &self,
        request: ChatRequest,
    ) -> Result<BoxStream<'static, Result<ChatEvent, ChatError>>, ChatError> {
        self.requests
            .lock()
            .expect("nothing panics while it holds the lock")
            .push(request);
        if let Some(error) = &self.refusal {
            return Err(error.clone());
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.open));
        let rest = if self.hangs {
            stream::pending().boxed()
        } else {
            stream::empty().boxed()
        };
        let events = stream::iter(self.events.clone()).chain(rest);
        Ok(events.inspect(move |_| _ = &open).boxed())
    }
}
