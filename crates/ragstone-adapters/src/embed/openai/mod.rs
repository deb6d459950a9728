//! Embeddings of any OpenAI-compatible service.
//!
//! A service that fails for some texts loses only those: a batch is halved until they are alone, and a text that fails
//! alone is shortened, and at last gets no vector. The limits of a request are learned from refusals.
//!
//! Invariant: vectors come back in the order of the texts, with unit length, all with the dimensions that were probed
//! at the start. A question never waits behind passages: each kind has its own request limit. No text is blamed while
//! the service fails for a plain text as well: that is an outage.

mod isolation;
mod limits;
mod reply;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use ragstone_core::prompt::estimate_tokens;
use ragstone_core::rank::gate::WordStatistics;
use ragstone_core::seam::embedder::{EmbedderFingerprint, Embedding, PassageEmbedding, TextKind};
use ragstone_core::seam::{EmbedError, Embedder};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::openai::{OpenAiClient, OpenAiConnection, ServiceError};
use isolation::TextOutcome;
use limits::LearnedLimits;

/// Most texts of one request, which is the limit of OpenAI's service.
pub const MAX_BATCH_TEXTS: usize = 2_048;

/// Estimated tokens that nearly every embedding model accepts.
pub const DEFAULT_CHUNK_TOKENS: usize = 512;

/// Tries for a question: a user is waiting, and lexical search works without a vector.
const QUERY_TRIES: usize = 2;

/// Longest wait for a question's vector, including tries and pauses; less if a single request may take less.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Text that is embedded at the start to learn the dimensions.
const PROBE: &str = "How long is a vector?";

/// Tries of a failing request before a plain text is tried instead.
const TRIES_BEFORE_PROBE: usize = 2;

/// Settings of an embedding service.
#[derive(Debug, Clone)]
pub struct OpenAiEmbedderOptions {
    /// Address, credentials and limits of the service.
    pub connection: OpenAiConnection,
    /// Name of the model at the service.
    pub model: String,
    /// Dimensions to request; `None` for the model's own.
    pub dimensions: Option<usize>,
    /// Text put before each question.
    pub query_prefix: String,
    /// Text put before each passage.
    pub passage_prefix: String,
    /// Texts per request, 1 to 2,048.
    pub batch_texts: usize,
    /// Estimated tokens per request.
    pub batch_tokens: usize,
    /// Estimated tokens of a text that the model accepts, if known; longer texts are cut.
    pub text_tokens: Option<usize>,
    /// Estimated tokens that a chunk should not exceed, so that the model probably reads all of it.
    pub chunk_tokens: usize,
    /// Concurrent requests for passages.
    pub passage_concurrency: usize,
    /// Concurrent requests for questions.
    pub query_concurrency: usize,
}

impl OpenAiEmbedderOptions {
    /// Settings with default limits.
    pub fn new(connection: OpenAiConnection, model: impl Into<String>) -> Self {
        Self {
            connection,
            model: model.into(),
            dimensions: None,
            query_prefix: String::new(),
            passage_prefix: String::new(),
            batch_texts: 256,
            batch_tokens: 100_000,
            text_tokens: None,
            chunk_tokens: DEFAULT_CHUNK_TOKENS,
            passage_concurrency: 4,
            query_concurrency: 16,
        }
    }

    /// Everything that determines the vectors, for a service with these `dimensions`.
    pub fn fingerprint(&self, dimensions: usize) -> EmbedderFingerprint {
        EmbedderFingerprint {
            model: self.model.clone(),
            revision: String::new(),
            dimensions,
            pooling: String::new(),
            query_prefix: self.query_prefix.clone(),
            passage_prefix: self.passage_prefix.clone(),
        }
    }
}

/// Encodings of vectors to request, best first: base64 takes a quarter of the bytes, and some services know neither
/// name.
const ENCODINGS: [Option<&str>; 3] = [Some("base64"), Some("float"), None];

/// Embedder behind any OpenAI-compatible service.
#[derive(Debug)]
pub struct OpenAiEmbedder {
    client: OpenAiClient,
    options: OpenAiEmbedderOptions,
    fingerprint: EmbedderFingerprint,
    passages: Semaphore,
    queries: Semaphore,
    /// Index in `ENCODINGS` of the one that the service accepts.
    encoding: AtomicU8,
    limits: LearnedLimits,
}

impl OpenAiEmbedder {
    /// Embeds one text to learn the dimensions, and refuses a service whose vectors have other dimensions than
    /// requested.
    pub async fn connect(options: OpenAiEmbedderOptions) -> Result<Self, EmbedError> {
        let refused = |detail: String| EmbedError::Refused { detail };
        let client = OpenAiClient::new(options.connection.clone()).map_err(|error| refused(error.to_string()))?;
        let mut embedder = Self {
            fingerprint: options.fingerprint(0),
            passages: Semaphore::new(options.passage_concurrency.max(1)),
            queries: Semaphore::new(options.query_concurrency.max(1)),
            encoding: AtomicU8::new(0),
            limits: LearnedLimits::new(options.text_tokens),
            client,
            options,
        };
        let length = embedder.probe_vector().await?.len();
        match embedder.options.dimensions {
            Some(wanted) if wanted != length => Err(refused(format!(
                "model {:?} gives vectors of {length} dimensions where {wanted} are set",
                embedder.options.model
            ))),
            _ => {
                embedder.fingerprint.dimensions = length;
                Ok(embedder)
            }
        }
    }

    /// Embeds the probe with the first encoding that the service accepts.
    async fn probe_vector(&self) -> Result<Vec<f32>, ServiceError> {
        let probe = [PROBE.to_owned()];
        for (encoding, name) in (0u8..).zip(ENCODINGS) {
            self.encoding.store(encoding, Ordering::Relaxed);
            match self.request_probe(&probe).await {
                Ok(vector) if encoding == 0 => return Ok(vector),
                // The best encoding may have failed for another reason, so try it again.
                Ok(vector) => {
                    self.encoding.store(0, Ordering::Relaxed);
                    let again = self.request_probe(&probe).await;
                    return again.or_else(|_| {
                        self.encoding.store(encoding, Ordering::Relaxed);
                        tracing::info!(
                            encoding_format = name.unwrap_or("none"),
                            "the embedding service takes another encoding, remembered until the end of this process"
                        );
                        Ok(vector)
                    });
                }
                Err(fault) if fault.may_be_form() => {}
                Err(fault) => return Err(fault),
            }
        }
        self.encoding.store(0, Ordering::Relaxed);
        let vectors = self
            .request_vectors(&probe, self.options.connection.max_tries())
            .await?;
        single_vector(vectors)
    }

    /// Requests the probe's vector; only a busy service is retried.
    async fn request_probe(&self, probe: &[String]) -> Result<Vec<f32>, ServiceError> {
        let is_busy = |fault: &ServiceError| fault.is_transient() && !fault.may_be_form();
        let tries = self.options.connection.max_tries();
        single_vector(self.request_vectors_while(probe, tries, is_busy).await?)
    }

    /// Puts the prefix for `kind` before each text.
    fn add_prefix(&self, texts: &[String], kind: TextKind) -> Vec<String> {
        let prefix = match kind {
            TextKind::Query => &self.options.query_prefix,
            TextKind::Passage => &self.options.passage_prefix,
        };
        texts.iter().map(|text| format!("{prefix}{text}")).collect()
    }

    /// Embeds passages with their prefix; one outcome for each text.
    async fn passage_outcomes(&self, texts: &[String]) -> Result<Vec<TextOutcome>, ServiceError> {
        let most = self.options.batch_texts.clamp(1, MAX_BATCH_TEXTS);
        let batches = split_into_batches(texts, most, self.options.batch_tokens);
        let at_once = self.options.passage_concurrency.max(1);
        let mut calls = Vec::with_capacity(batches.len());
        for batch in batches {
            calls.push(self.embed_batch(batch));
        }
        let outcomes: Vec<Vec<TextOutcome>> = stream::iter(calls).buffered(at_once).try_collect().await?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Embeds questions within `QUERY_TIMEOUT`.
    async fn embed_questions(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ServiceError> {
        let patience = QUERY_TIMEOUT.min(self.options.connection.first_byte_timeout());
        timeout(patience, self.embed_each_question(texts))
            .await
            .unwrap_or_else(|_| Err(ServiceError::broken(format!("it gave no vector within {patience:?}"))))
    }

    async fn embed_each_question(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ServiceError> {
        let tries = self.options.connection.max_tries().min(QUERY_TRIES);
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            vectors.push(self.embed_question(text, tries).await?);
        }
        Ok(vectors)
    }

    async fn request_with_permit(
        &self,
        lane: &Semaphore,
        texts: &[String],
        tries: usize,
        may_pass: impl FnMut(&ServiceError) -> bool,
    ) -> Result<Vec<reply::VectorResult>, ServiceError> {
        let _place = lane.acquire().await.expect("a lane is never closed");
        self.request_vectors_while(texts, tries, may_pass).await
    }

    async fn request_vectors(&self, texts: &[String], tries: usize) -> Result<Vec<reply::VectorResult>, ServiceError> {
        self.request_vectors_while(texts, tries, ServiceError::is_transient)
            .await
    }

    async fn request_vectors_while(
        &self,
        texts: &[String],
        tries: usize,
        mut may_pass: impl FnMut(&ServiceError) -> bool,
    ) -> Result<Vec<reply::VectorResult>, ServiceError> {
        let dimensions = self.fingerprint.dimensions;
        loop {
            let encoding = self.encoding.load(Ordering::Relaxed);
            let body = EmbeddingsRequest {
                model: &self.options.model,
                input: texts,
                encoding_format: ENCODINGS[usize::from(encoding)],
                dimensions: self.options.dimensions,
            };
            let read = |bytes: &[u8]| reply::parse_vectors(&self.client, bytes, texts.len(), dimensions);
            let result = self
                .client
                .post_json("embeddings", &body, tries, &mut may_pass, read)
                .await;
            match result {
                Err(fault)
                    if fault.names_parameter("encoding_format") && usize::from(encoding) + 1 < ENCODINGS.len() =>
                {
                    self.encoding.store(encoding + 1, Ordering::Relaxed);
                }
                result => return result,
            }
        }
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.fingerprint
    }

    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        let texts = self.add_prefix(texts, kind);
        let vectors = match kind {
            TextKind::Query => self.embed_questions(&texts).await?,
            TextKind::Passage => {
                let outcomes = self.passage_outcomes(&texts).await?.into_iter().enumerate();
                let vectors = outcomes.map(|(at, outcome)| match outcome {
                    TextOutcome::Whole(vector) | TextOutcome::Beginning(vector) => Ok(vector),
                    TextOutcome::None(why) => Err(EmbedError::Refused {
                        detail: format!("text {} of {}: {why}", at + 1, texts.len()),
                    }),
                });
                vectors.collect::<Result<_, _>>()?
            }
        };
        Ok(vectors.into_iter().map(without_tokens).collect())
    }

    async fn embed_passages(&self, texts: &[String]) -> Result<Vec<PassageEmbedding>, EmbedError> {
        let outcomes = self
            .passage_outcomes(&self.add_prefix(texts, TextKind::Passage))
            .await?;
        let embeddings = outcomes.into_iter().map(|outcome| match outcome {
            TextOutcome::Whole(vector) => PassageEmbedding::Full(without_tokens(vector)),
            TextOutcome::Beginning(vector) => PassageEmbedding::Truncated(without_tokens(vector)),
            TextOutcome::None(why) => PassageEmbedding::None(why),
        });
        Ok(embeddings.collect())
    }

    fn word_statistics(&self, _: &str) -> Option<WordStatistics> {
        None
    }

    fn fits_input_limit(&self, text: &str) -> bool {
        estimate_tokens(&self.options.passage_prefix) + estimate_tokens(text) <= self.options.chunk_tokens
    }
}

fn without_tokens(vector: Vec<f32>) -> Embedding {
    Embedding { vector, tokens: None }
}

/// The vector of a request for one text.
fn single_vector(vectors: Vec<reply::VectorResult>) -> Result<Vec<f32>, ServiceError> {
    let vector = vectors.into_iter().next();
    vector
        .unwrap_or_else(|| Err("it gave no vector".to_owned()))
        .map_err(ServiceError::broken)
}

/// Splits texts into runs that fit both limits, as long as possible.
fn split_into_batches(texts: &[String], most_texts: usize, most_tokens: usize) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (at, text) in texts.iter().enumerate() {
        let count = estimate_tokens(text);
        if at > start && (at - start == most_texts || held + count > most_tokens) {
            batches.push(&texts[start..at]);
            (start, held) = (at, 0);
        }
        held += count;
    }
    if start < texts.len() {
        batches.push(&texts[start..]);
    }
    batches
}

#[derive(Serialize)]
struct EmbeddingsRequest<'a> {
    model: &'a str,
    input: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_by_count_and_by_tokens() {
        let texts: Vec<String> = [4, 4, 40, 4, 4, 4].map(|bytes| "x".repeat(bytes)).to_vec();
        let sizes = |texts_most, tokens_most| -> Vec<usize> {
            split_into_batches(&texts, texts_most, tokens_most)
                .into_iter()
                .map(<[String]>::len)
                .collect()
        };
        assert_eq!(sizes(100, 100), [6]);
        assert_eq!(sizes(4, 100), [4, 2]);
        assert_eq!(sizes(100, 11), [2, 2, 2]);
        assert_eq!(sizes(100, 1), [1, 1, 1, 1, 1, 1]);
        assert!(split_into_batches(&[], 4, 4).is_empty());
    }
}
