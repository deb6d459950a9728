//! Embeddings of any OpenAI-compatible service.
//!
//! A service that works and fails at some texts costs only those: a batch is halved until they stand alone, and one that
//! fails alone is cut shorter, and then goes without a vector. What a request may hold is learned on the way.
//!
//! Invariant: vectors come back in the order of the texts, of unit length, all of the dimensions that were probed at
//! the start. A question never waits behind passages: each kind has a lane of its own. No text is found at fault while
//! the service fails at a plain one as well: that is an outage.

mod isolation;
mod limits;
mod reply;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use ragstone_core::prompt::tokens;
use ragstone_core::rank::gate::WordStatistics;
use ragstone_core::seam::embedder::{EmbedderFingerprint, Embedding, PassageEmbedding, TextKind};
use ragstone_core::seam::{EmbedError, Embedder};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::openai::{Client, Connection, Fault};
use isolation::Outcome;
use limits::LearnedLimits;

/// Most texts of one request; the service's own limit.
pub const MAX_BATCH_TEXTS: usize = 2_048;

/// Estimated tokens that nearly every embedding model reads.
pub const DEFAULT_CHUNK_TOKENS: usize = 512;

/// Tries for a question: whoever asked is waiting, and the words can be searched without a vector.
const QUERY_TRIES: usize = 2;

/// Longest wait for a question's vector, tries and pauses included; less where a single request may take less.
const QUERY_PATIENCE: Duration = Duration::from_secs(10);

/// What is embedded at the start to see how long a vector is.
const PROBE: &str = "How long is a vector?";

/// Tries of a request that fails, before a plain text is tried in its place.
const TRIES_BEFORE_PROBE: usize = 2;

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
    /// Estimated tokens of a text that the model reads, where that is known; a longer one is cut.
    pub text_tokens: Option<usize>,
    /// Estimated tokens that a chunk should not exceed, so that the model probably reads all of it.
    pub chunk_tokens: usize,
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
            text_tokens: None,
            chunk_tokens: DEFAULT_CHUNK_TOKENS,
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

/// How vectors are asked for, the best first: base64 takes a quarter of the bytes, and some services know neither.
const ENCODINGS: [Option<&str>; 3] = [Some("base64"), Some("float"), None];

/// Any OpenAI-compatible embedder.
#[derive(Debug)]
pub struct OpenAiEmbedder {
    client: Client,
    options: OpenAiEmbedderOptions,
    fingerprint: EmbedderFingerprint,
    passages: Semaphore,
    queries: Semaphore,
    /// Which of `ENCODINGS` the service takes.
    encoding: AtomicU8,
    limits: LearnedLimits,
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
            encoding: AtomicU8::new(0),
            limits: LearnedLimits::new(options.text_tokens),
            client,
            options,
        };
        let length = embedder.first_vector().await?.len();
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

    /// The probe's vector, in the first encoding that the service takes.
    async fn first_vector(&self) -> Result<Vec<f32>, Fault> {
        let probe = [PROBE.to_owned()];
        for (encoding, name) in (0u8..).zip(ENCODINGS) {
            self.encoding.store(encoding, Ordering::Relaxed);
            match self.request_once(&probe).await {
                Ok(vector) if encoding == 0 => return Ok(vector),
                // What failed once for another reason may be taken now.
                Ok(vector) => {
                    self.encoding.store(0, Ordering::Relaxed);
                    let again = self.request_once(&probe).await;
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
        let vectors = self.request(&probe, self.options.connection.tries()).await?;
        single(vectors)
    }

    /// The probe's vector; only what is busy is tried again.
    async fn request_once(&self, probe: &[String]) -> Result<Vec<f32>, Fault> {
        let is_busy = |fault: &Fault| fault.passes() && !fault.may_be_form();
        let tries = self.options.connection.tries();
        single(self.request_while(probe, tries, is_busy).await?)
    }

    /// Texts with their prefix.
    fn prepared(&self, texts: &[String], kind: TextKind) -> Vec<String> {
        let prefix = match kind {
            TextKind::Query => &self.options.query_prefix,
            TextKind::Passage => &self.options.passage_prefix,
        };
        texts.iter().map(|text| format!("{prefix}{text}")).collect()
    }

    /// What became of each passage, its prefix before it.
    async fn outcomes(&self, texts: &[String]) -> Result<Vec<Outcome>, Fault> {
        let most = self.options.batch_texts.clamp(1, MAX_BATCH_TEXTS);
        let batches = batches(texts, most, self.options.batch_tokens);
        let at_once = self.options.passage_lane.max(1);
        let mut calls = Vec::with_capacity(batches.len());
        for batch in batches {
            calls.push(self.batch(batch));
        }
        let outcomes: Vec<Vec<Outcome>> = stream::iter(calls).buffered(at_once).try_collect().await?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// The vectors of questions, within the patience of whoever asked.
    async fn questions(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Fault> {
        let patience = QUERY_PATIENCE.min(self.options.connection.first_byte());
        timeout(patience, self.question_vectors(texts))
            .await
            .unwrap_or_else(|_| Err(Fault::broken(format!("it gave no vector within {patience:?}"))))
    }

    async fn question_vectors(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Fault> {
        let tries = self.options.connection.tries().min(QUERY_TRIES);
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            vectors.push(self.question(text, tries).await?);
        }
        Ok(vectors)
    }

    async fn placed(
        &self,
        lane: &Semaphore,
        texts: &[String],
        tries: usize,
        may_pass: impl FnMut(&Fault) -> bool,
    ) -> Result<Vec<reply::Vector>, Fault> {
        let _place = lane.acquire().await.expect("a lane is never closed");
        self.request_while(texts, tries, may_pass).await
    }

    async fn request(&self, texts: &[String], tries: usize) -> Result<Vec<reply::Vector>, Fault> {
        self.request_while(texts, tries, Fault::passes).await
    }

    async fn request_while(
        &self,
        texts: &[String],
        tries: usize,
        mut may_pass: impl FnMut(&Fault) -> bool,
    ) -> Result<Vec<reply::Vector>, Fault> {
        let dimensions = self.fingerprint.dimensions;
        loop {
            let encoding = self.encoding.load(Ordering::Relaxed);
            let body = Body {
                model: &self.options.model,
                input: texts,
                encoding_format: ENCODINGS[usize::from(encoding)],
                dimensions: self.options.dimensions,
            };
            let read = |bytes: &[u8]| reply::vectors(&self.client, bytes, texts.len(), dimensions);
            let result = self.client.post("embeddings", &body, tries, &mut may_pass, read).await;
            match result {
                Err(fault) if fault.names("encoding_format") && usize::from(encoding) + 1 < ENCODINGS.len() => {
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

    async fn embed(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        let texts = self.prepared(texts, kind);
        let vectors = match kind {
            TextKind::Query => self.questions(&texts).await?,
            TextKind::Passage => {
                let outcomes = self.outcomes(&texts).await?.into_iter().enumerate();
                let vectors = outcomes.map(|(at, outcome)| match outcome {
                    Outcome::Whole(vector) | Outcome::Beginning(vector) => Ok(vector),
                    Outcome::None(why) => Err(EmbedError::Refused {
                        detail: format!("text {} of {}: {why}", at + 1, texts.len()),
                    }),
                });
                vectors.collect::<Result<_, _>>()?
            }
        };
        Ok(vectors.into_iter().map(embedding).collect())
    }

    async fn embed_passages(&self, texts: &[String]) -> Result<Vec<PassageEmbedding>, EmbedError> {
        let outcomes = self.outcomes(&self.prepared(texts, TextKind::Passage)).await?;
        let embeddings = outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Whole(vector) => PassageEmbedding::Whole(embedding(vector)),
            Outcome::Beginning(vector) => PassageEmbedding::Beginning(embedding(vector)),
            Outcome::None(why) => PassageEmbedding::None(why),
        });
        Ok(embeddings.collect())
    }

    fn reads(&self, _: &str) -> Option<WordStatistics> {
        None
    }

    fn fits(&self, text: &str) -> bool {
        tokens(&self.options.passage_prefix) + tokens(text) <= self.options.chunk_tokens
    }
}

fn embedding(vector: Vec<f32>) -> Embedding {
    Embedding { vector, tokens: None }
}

/// The vector of a request for one text.
fn single(vectors: Vec<reply::Vector>) -> Result<Vec<f32>, Fault> {
    let vector = vectors.into_iter().next();
    vector
        .unwrap_or_else(|| Err("it gave no vector".to_owned()))
        .map_err(Fault::broken)
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
}
