//! Embeddings of any OpenAI-compatible service.
//!
//! Invariant: vectors come back in the order of the texts, of unit length, all of the dimensions that were probed at
//! the start. A question never waits behind passages: each kind has a lane of its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use ragstone_core::prompt::tokens;
use ragstone_core::rank::gate::WordStatistics;
use ragstone_core::seam::embedder::{EmbedderFingerprint, Embedding, TextKind};
use ragstone_core::seam::{EmbedError, Embedder};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::openai::{Client, Connection, Fault};

/// Most texts of one request; the service's own limit.
pub const MAX_BATCH_TEXTS: usize = 2_048;

/// Tries for a question: whoever asked is waiting, and the words can be searched without a vector.
const QUERY_TRIES: usize = 2;

/// Longest wait for a question's vector, tries and pauses included; less where a single request may take less.
const QUERY_PATIENCE: Duration = Duration::from_secs(10);

/// What is embedded at the start to see how long a vector is.
const PROBE: &str = "How long is a vector?";

/// How a service is used.
#[derive(Debug, Clone)]
pub struct OpenAiEmbedderOptions {
    /// Where it is.
    pub connection: Connection,
    /// The model's name there.
    pub model: String,
    /// The length of vectors to ask for; none for the model's own.
    pub dimensions: Option<usize>,
    /// Put before a question.
    pub query_prefix: String,
    /// Put before a passage.
    pub passage_prefix: String,
    /// Texts of one request, 1 to 2,048.
    pub batch_texts: usize,
    /// Estimated tokens of one request.
    pub batch_tokens: usize,
    /// Estimated tokens of a text that the model reads; a longer one is refused.
    pub text_tokens: usize,
    /// Requests for passages at once.
    pub passage_lane: usize,
    /// Requests for questions at once.
    pub query_lane: usize,
}

impl OpenAiEmbedderOptions {
    /// The usual limits.
    pub fn new(connection: Connection, model: impl Into<String>) -> Self {
        Self {
            connection,
            model: model.into(),
            dimensions: None,
            query_prefix: String::new(),
            passage_prefix: String::new(),
            batch_texts: 256,
            batch_tokens: 100_000,
            text_tokens: 8_191,
            passage_lane: 4,
            query_lane: 16,
        }
    }

    /// What decides the vectors of a service whose vectors are as long as this.
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

/// Any OpenAI-compatible embedder.
#[derive(Debug)]
pub struct OpenAiEmbedder {
    client: Client,
    options: OpenAiEmbedderOptions,
    fingerprint: EmbedderFingerprint,
    passages: Semaphore,
    queries: Semaphore,
    /// Whether vectors are asked for as base64, a quarter of the bytes; switched off where a service knows only numbers.
    compact: AtomicBool,
}

impl OpenAiEmbedder {
    /// Embeds one text to learn how long a vector is, and refuses a service whose vectors are not as long as was asked.
    pub async fn connect(options: OpenAiEmbedderOptions) -> Result<Self, EmbedError> {
        let refused = |detail: String| EmbedError::Refused { detail };
        let client = Client::new(options.connection.clone()).map_err(|error| refused(error.to_string()))?;
        let mut embedder = Self {
            fingerprint: options.fingerprint(0),
            passages: Semaphore::new(options.passage_lane.max(1)),
            queries: Semaphore::new(options.query_lane.max(1)),
            compact: AtomicBool::new(true),
            client,
            options,
        };
        let probe = embedder
            .request(&[PROBE.to_owned()], embedder.options.connection.tries())
            .await?;
        let length = probe[0].len();
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

    /// Texts with their prefix; a text that no request can hold is refused by its place.
    fn prepared(&self, texts: &[String], kind: TextKind) -> Result<Vec<String>, EmbedError> {
        let prefix = match kind {
            TextKind::Query => &self.options.query_prefix,
            TextKind::Passage => &self.options.passage_prefix,
        };
        let most = self.options.text_tokens;
        let check = |(at, text): (usize, &String)| {
            let number = at + 1;
            let text = format!("{prefix}{text}");
            match tokens(&text) {
                _ if text.trim().is_empty() => Err(format!("text {number} of {} is empty", texts.len())),
                count if count > most => Err(format!(
                    "text {number} of {} has about {count} tokens, the model reads {most}",
                    texts.len()
                )),
                _ => Ok(text),
            }
        };
        let prepared: Result<_, _> = texts.iter().enumerate().map(check).collect();
        prepared.map_err(|detail| EmbedError::Refused { detail })
    }

    /// One batch; if it is too long for the service, its halves.
    fn batch<'a>(
        &'a self,
        texts: &'a [String],
        kind: TextKind,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Fault>> {
        Box::pin(async move {
            match self.in_lane(texts, kind).await {
                Err(fault) if fault.too_long() && texts.len() > 1 => {
                    let (left, right) = texts.split_at(texts.len() / 2);
                    let mut vectors = self.batch(left, kind).await?;
                    vectors.extend(self.batch(right, kind).await?);
                    Ok(vectors)
                }
                result => result,
            }
        })
    }

    async fn in_lane(&self, texts: &[String], kind: TextKind) -> Result<Vec<Vec<f32>>, Fault> {
        let connection = &self.options.connection;
        match kind {
            TextKind::Passage => self.placed(&self.passages, texts, connection.tries()).await,
            TextKind::Query => {
                let patience = QUERY_PATIENCE.min(connection.first_byte());
                let tries = connection.tries().min(QUERY_TRIES);
                timeout(patience, self.placed(&self.queries, texts, tries))
                    .await
                    .unwrap_or_else(|_| Err(Fault::broken(format!("it gave no vector within {patience:?}"))))
            }
        }
    }

    async fn placed(&self, lane: &Semaphore, texts: &[String], tries: usize) -> Result<Vec<Vec<f32>>, Fault> {
        let _place = lane.acquire().await.expect("a lane is never closed");
        let vectors = self.request(texts, tries).await?;
        let dimensions = self.fingerprint.dimensions;
        match vectors.iter().find(|vector| vector.len() != dimensions) {
            Some(other) => Err(Fault::broken(format!(
                "it gave a vector of {} dimensions, the others have {dimensions}",
                other.len()
            ))),
            None => Ok(vectors),
        }
    }

    async fn request(&self, texts: &[String], tries: usize) -> Result<Vec<Vec<f32>>, Fault> {
        let compact = self.compact.load(Ordering::Relaxed);
        let body = Body {
            model: &self.options.model,
            input: texts,
            encoding_format: if compact { "base64" } else { "float" },
            dimensions: self.options.dimensions,
        };
        match self.client.post_json::<Reply>("embeddings", &body, tries).await {
            Ok(reply) => reply.vectors(texts.len()),
            Err(fault) if compact && fault.names("encoding_format") => {
                self.compact.store(false, Ordering::Relaxed);
                Box::pin(self.request(texts, tries)).await
            }
            Err(fault) => Err(fault),
        }
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.fingerprint
    }

    async fn embed(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        let texts = self.prepared(texts, kind)?;
        let most = self.options.batch_texts.clamp(1, MAX_BATCH_TEXTS);
        let batches = batches(&texts, most, self.options.batch_tokens);
        let at_once = self.options.passage_lane.max(1);
        let mut calls = Vec::with_capacity(batches.len());
        for batch in batches {
            calls.push(self.batch(batch, kind));
        }
        let vectors: Vec<Vec<Vec<f32>>> = stream::iter(calls).buffered(at_once).try_collect().await?;
        let embeddings = vectors
            .into_iter()
            .flatten()
            .map(|vector| Embedding { vector, tokens: None });
        Ok(embeddings.collect())
    }

    fn reads(&self, _: &str) -> Option<WordStatistics> {
        None
    }
}

/// Neighbouring texts, as many as fit both limits.
fn batches(texts: &[String], most_texts: usize, most_tokens: usize) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (at, text) in texts.iter().enumerate() {
        let count = tokens(text);
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
struct Body<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Numbers,
}

/// Some services send numbers whatever they were asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    Base64(String),
    Plain(Vec<f32>),
}

impl Reply {
    /// `count` vectors of unit length, in the order of the texts.
    fn vectors(self, count: usize) -> Result<Vec<Vec<f32>>, Fault> {
        let mut vectors = vec![Vec::new(); count];
        for item in self.data {
            let place = vectors.get_mut(item.index).filter(|place| place.is_empty());
            let place = place
                .ok_or_else(|| Fault::broken(format!("it gave a vector for no text: {}", item.index)))?;
            *place = unit(item.embedding.read()?).ok_or_else(|| {
                Fault::refused(format!(
                    "text {} of {count} got a vector without a length",
                    item.index + 1
                ))
            })?;
        }
        match vectors.iter().position(Vec::is_empty) {
            Some(missing) => Err(Fault::broken(format!(
                "it gave no vector for text {} of {count}",
                missing + 1
            ))),
            None => Ok(vectors),
        }
    }
}

impl Numbers {
    fn read(self) -> Result<Vec<f32>, Fault> {
        let text = match self {
            Self::Plain(numbers) => return Ok(numbers),
            Self::Base64(text) => text,
        };
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| Fault::broken(format!("its vector is not base64: {error}")))?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        match rest.is_empty() {
            true => Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()),
            false => Err(Fault::broken(format!(
                "its vector has {} bytes, not four a number",
                bytes.len()
            ))),
        }
    }
}

/// The vector at unit length; none where it has no length.
fn unit(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return None;
    }
    vector
        .iter_mut()
        .for_each(|x| *x = (f64::from(*x) / length) as f32);
    Some(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_by_count_and_by_tokens() {
        let texts: Vec<String> = [4, 4, 40, 4, 4, 4].map(|bytes| "x".repeat(bytes)).to_vec();
        let sizes = |texts_most, tokens_most| -> Vec<usize> {
            batches(&texts, texts_most, tokens_most)
                .into_iter()
                .map(<[String]>::len)
                .collect()
        };
        assert_eq!(sizes(100, 100), [6]);
        assert_eq!(sizes(4, 100), [4, 2]);
        assert_eq!(sizes(100, 11), [2, 2, 2]);
        assert_eq!(sizes(100, 1), [1, 1, 1, 1, 1, 1]);
        assert!(batches(&[], 4, 4).is_empty());
    }

    #[test]
    fn a_vector_is_brought_to_unit_length_or_refused() {
        assert_eq!(unit(vec![3.0, 4.0]), Some(vec![0.6, 0.8]));
        assert_eq!(unit(vec![0.0, 0.0]), None);
        assert_eq!(unit(vec![f32::NAN]), None);
        assert_eq!(unit(vec![]), None);
    }
}
