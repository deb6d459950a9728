//! Batches passages of several callers into one request, because many small documents would each wait for a request of
//! their own.
//!
//! Texts wait a few milliseconds for others, and longer while the maximum number of requests is running; so the slower
//! the service is, the larger the requests are. A caller with enough texts for a whole request gets one of its own.
//!
//! Invariant: each caller gets the results of its own texts, in their order. A refused request is repeated for each
//! caller alone, so that one caller's texts cannot cause the refusal of another's. Texts whose callers are gone are
//! not sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::rank::gate::WordStatistics;
use ragstone_core::seam::embedder::{EmbedderFingerprint, Embedding, PassageEmbedding, TextKind};
use ragstone_core::seam::{EmbedError, Embedder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long the first text waits for others.
const BATCH_DELAY: Duration = Duration::from_millis(2);
/// Most bytes of texts in one request, unless one caller brings more.
const MAX_BYTES: usize = 256 * 1024;

/// An embedder that batches passages before it passes them on.
pub struct BatchingEmbedder {
    inner: Arc<dyn Embedder>,
    gathering: Arc<PassageBatcher>,
}

/// Queue of waiting calls, and the limits of requests.
struct PassageBatcher {
    waiting: Mutex<PendingCalls>,
    /// Permits for concurrent requests; each running request holds one.
    requests: Arc<Semaphore>,
    max_texts: usize,
}

#[derive(Default)]
struct PendingCalls {
    calls: VecDeque<PassageCall>,
    /// Whether a task serves the queue and will take what is added.
    is_served: bool,
}

/// Texts of one caller.
struct PassageCall {
    texts: Vec<String>,
    answer: oneshot::Sender<PassageEmbedResult>,
}

type PassageEmbedResult = Result<Vec<PassageEmbedding>, EmbedError>;

impl BatchingEmbedder {
    /// Passes passages to `inner` in requests of about `max_texts` texts, at most `at_once` at a time; questions are
    /// passed on at once.
    pub fn new(inner: Arc<dyn Embedder>, max_texts: usize, at_once: usize) -> Self {
        let gathering = PassageBatcher {
            waiting: Mutex::default(),
            requests: Arc::new(Semaphore::new(at_once.max(1))),
            max_texts: max_texts.max(1),
        };
        Self {
            inner,
            gathering: Arc::new(gathering),
        }
    }
}

#[async_trait]
impl Embedder for BatchingEmbedder {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        self.inner.fingerprint()
    }

    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        self.inner.embed_texts(texts, kind).await
    }

    async fn embed_passages(&self, texts: &[String]) -> PassageEmbedResult {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        if texts.len() >= self.gathering.max_texts || total_bytes(texts) >= MAX_BYTES {
            return self.inner.embed_passages(texts).await;
        }
        let (answer, answered) = oneshot::channel();
        let call = PassageCall {
            texts: texts.to_vec(),
            answer,
        };
        if self.gathering.add_call(call) {
            tokio::spawn(serve_calls(self.gathering.clone(), self.inner.clone()));
        }
        let ended = || EmbedError::Broken {
            detail: "the request ended without an answer".into(),
        };
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    fn fits_input_limit(&self, text: &str) -> bool {
        self.inner.fits_input_limit(text)
    }

    fn word_statistics(&self, text: &str) -> Option<WordStatistics> {
        self.inner.word_statistics(text)
    }
}

impl PassageBatcher {
    /// Adds a call; returns true if the caller must start a task that serves the queue.
    fn add_call(&self, call: PassageCall) -> bool {
        let mut waiting = self.lock_waiting();
        waiting.calls.push_back(call);
        !std::mem::replace(&mut waiting.is_served, true)
    }

    /// Takes the calls of the next request; if there are none, the queue is no longer served.
    fn take_batch(&self) -> Vec<PassageCall> {
        let mut waiting = self.lock_waiting();
        waiting.calls.retain(|call| !call.answer.is_closed());
        let (mut calls, mut texts, mut size) = (Vec::new(), 0, 0);
        while let Some(call) = waiting.calls.front() {
            (texts, size) = (texts + call.texts.len(), size + total_bytes(&call.texts));
            if !calls.is_empty() && (texts > self.max_texts || size > MAX_BYTES) {
                break;
            }
            calls.extend(waiting.calls.pop_front());
        }
        waiting.is_served = !calls.is_empty();
        calls
    }

    fn lock_waiting(&self) -> MutexGuard<'_, PendingCalls> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends requests until the queue is empty.
async fn serve_calls(gathering: Arc<PassageBatcher>, inner: Arc<dyn Embedder>) {
    loop {
        tokio::time::sleep(BATCH_DELAY).await;
        let request = gathering.requests.clone().acquire_owned().await;
        let place = request.expect("the requests are never closed");
        let calls = gathering.take_batch();
        if calls.is_empty() {
            return;
        }
        tokio::spawn(send_batch(inner.clone(), calls, place));
    }
}

/// Sends one request for all calls; stops if all callers are gone.
async fn send_batch(inner: Arc<dyn Embedder>, mut calls: Vec<PassageCall>, _place: OwnedSemaphorePermit) {
    let texts: Vec<String> = calls.iter().flat_map(|call| call.texts.clone()).collect();
    let answer = tokio::select! {
        answer = inner.embed_passages(&texts) => answer,
        () = all_left(&mut calls) => return,
    };
    match answer {
        Ok(embeddings) if embeddings.len() == texts.len() => {
            let mut embeddings = embeddings.into_iter();
            for call in calls {
                let own = embeddings.by_ref().take(call.texts.len()).collect();
                // The caller may have been cancelled meanwhile.
                let _ = call.answer.send(Ok(own));
            }
        }
        Ok(_) | Err(EmbedError::Refused { .. }) if calls.len() > 1 => {
            for call in calls {
                let own = inner.embed_passages(&call.texts).await;
                let _ = call.answer.send(own);
            }
        }
        answer => {
            for call in calls {
                let _ = call.answer.send(answer.clone());
            }
        }
    }
}

async fn all_left(calls: &mut [PassageCall]) {
    for call in calls {
        call.answer.closed().await;
    }
}

fn total_bytes(texts: &[String]) -> usize {
    texts.iter().map(String::len).sum()
}

#[cfg(test)]
mod tests;
