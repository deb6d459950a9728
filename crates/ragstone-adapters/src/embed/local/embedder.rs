//! The local model as an [`Embedder`]: one thread pool for queries and one for passages, so that no query waits behind
//! passages.
//!
//! Invariant: both queues are bounded. Passages wait for a free slot; a query that finds none is answered `Busy`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::rank::gate::{WordPieces, WordStatistics, document_gate, word_statistics};
use ragstone_core::rank::late::TokenVectors;
use ragstone_core::seam::embedder::{EmbedError, EmbeddedTokens, Embedder, EmbedderFingerprint, Embedding, TextKind};
use ragstone_encoder::{InputRole, LocalEmbedding, LocalModel, ModelError, PoolingMode};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Capacity of the queue of passage batches.
const WAITING_PASSAGES: usize = 16;
/// Capacity of the queue of queries.
const WAITING_QUERIES: usize = 1024;
/// Texts of several callers that are run through the model together: each small document alone would use only one
/// core.
const GATHERED_TEXTS: usize = 64;
/// Suggested retry delay of a query that found the queue full.
const QUERY_PAUSE: Duration = Duration::from_millis(250);
/// The vocabulary's entry for unknown pieces.
const UNKNOWN: &str = "[UNK]";
/// Ids that are searched for it; in every BERT vocabulary it is among the first.
const UNKNOWN_WITHIN: u32 = 4096;

type LocalEmbedResult = Result<Vec<LocalEmbedding>, ModelError>;

/// Texts in the queue of a thread pool.
struct EmbedTask {
    texts: Vec<String>,
    answer: oneshot::Sender<LocalEmbedResult>,
}

/// Embedder that runs the model in this process.
pub struct LocalEmbedder {
    model: Arc<LocalModel>,
    fingerprint: EmbedderFingerprint,
    unknown: u32,
    passages: mpsc::Sender<EmbedTask>,
    queries: mpsc::Sender<EmbedTask>,
}

impl LocalEmbedder {
    /// Starts the threads of `model`: one for passages, which uses as many more as the model was loaded with, and
    /// `query_threads` for queries. They end with the embedder.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(model: LocalModel, query_threads: usize) -> std::io::Result<Self> {
        let model = Arc::new(model);
        let unknown = (0..UNKNOWN_WITHIN).find(|id| model.piece_text(*id) == UNKNOWN);
        Ok(Self {
            fingerprint: build_fingerprint(&model),
            unknown: unknown.unwrap_or(u32::MAX),
            passages: spawn_threads(
                "embed-passages",
                &model,
                InputRole::Passage,
                (1, GATHERED_TEXTS),
                WAITING_PASSAGES,
            )?,
            queries: spawn_threads(
                "embed-questions",
                &model,
                InputRole::Query,
                (query_threads.max(1), 1),
                WAITING_QUERIES,
            )?,
            model,
        })
    }

    fn convert_embedding(&self, embedding: LocalEmbedding) -> Embedding {
        let tokens = embedding.tokens.map(|tokens| EmbeddedTokens {
            pieces: tokens
                .ids
                .iter()
                .map(|id| self.model.piece_text(*id).to_owned())
                .collect(),
            spans: tokens
                .spans
                .iter()
                .map(|span| span.start as u32..span.end as u32)
                .collect(),
            vectors: TokenVectors::normalized(self.fingerprint.dimensions, tokens.rows),
            ids: tokens.ids,
        });
        Embedding {
            vector: embedding.vector,
            tokens,
        }
    }
}

/// Starts threads on one shared queue; each takes waiting tasks of up to `gathered` texts.
fn spawn_threads(
    name: &str,
    model: &Arc<LocalModel>,
    side: InputRole,
    (threads, gathered): (usize, usize),
    waiting: usize,
) -> std::io::Result<mpsc::Sender<EmbedTask>> {
    let (sender, receiver) = mpsc::channel::<EmbedTask>(waiting);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..threads {
        let (model, receiver) = (model.clone(), receiver.clone());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(works) = receive_batch(&receiver, gathered) {
                embed_batch(&model, side, works);
            }
        })?;
    }
    Ok(sender)
}

/// The next task and those that wait behind it; `None` once all senders are gone.
fn receive_batch(receiver: &Mutex<mpsc::Receiver<EmbedTask>>, gathered: usize) -> Option<Vec<EmbedTask>> {
    let mut receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
    let mut works = vec![receiver.blocking_recv()?];
    let mut texts = works[0].texts.len();
    while texts < gathered
        && let Ok(work) = receiver.try_recv()
    {
        texts += work.texts.len();
        works.push(work);
    }
    Some(works)
}

fn embed_batch(model: &LocalModel, side: InputRole, mut works: Vec<EmbedTask>) {
    works.retain(|work| !work.answer.is_closed());
    let texts: Vec<&str> = works
        .iter()
        .flat_map(|work| work.texts.iter().map(String::as_str))
        .collect();
    match model.embed_texts(&texts, side, true) {
        Ok(embeddings) => {
            let mut embeddings = embeddings.into_iter();
            for work in works {
                let own = embeddings.by_ref().take(work.texts.len()).collect();
                // The caller may have been cancelled meanwhile.
                let _ = work.answer.send(Ok(own));
            }
        }
        // One refused text must not fail the texts of other callers.
        Err(_) if works.len() > 1 => works.into_iter().for_each(|work| embed_batch(model, side, vec![work])),
        Err(error) => {
            if let Some(work) = works.pop() {
                let _ = work.answer.send(Err(error));
            }
        }
    }
}

fn build_fingerprint(model: &LocalModel) -> EmbedderFingerprint {
    let own = model.fingerprint();
    EmbedderFingerprint {
        model: own.model.clone(),
        // The position where a text is truncated affects its vector as well.
        revision: format!("{}-{}", own.revision, own.max_length),
        dimensions: own.dimensions,
        pooling: match own.pooling {
            PoolingMode::Mean => "mean".into(),
            PoolingMode::Cls => "cls".into(),
        },
        query_prefix: own.query_prefix.clone(),
        passage_prefix: own.passage_prefix.clone(),
    }
}

#[async_trait]
impl Embedder for LocalEmbedder {
    fn fingerprint(&self) -> &EmbedderFingerprint {
        &self.fingerprint
    }

    async fn embed_texts(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let ended = || EmbedError::Broken {
            detail: "the model's thread ended".into(),
        };
        let (answer, answered) = oneshot::channel();
        let texts = texts.to_vec();
        let work = EmbedTask { texts, answer };
        match kind {
            TextKind::Passage => self.passages.send(work).await.map_err(|_| ended())?,
            TextKind::Query => self.queries.try_send(work).map_err(|error| match error {
                TrySendError::Full(_) => EmbedError::Busy {
                    detail: format!("{WAITING_QUERIES} questions are waiting already"),
                    after: Some(QUERY_PAUSE),
                },
                TrySendError::Closed(_) => ended(),
            })?,
        }
        let embeddings = answered.await.map_err(|_| ended())?;
        let embeddings = embeddings.map_err(|error| EmbedError::Refused {
            detail: error.to_string(),
        })?;
        Ok(embeddings
            .into_iter()
            .map(|embedding| self.convert_embedding(embedding))
            .collect())
    }

    fn word_statistics(&self, text: &str) -> Option<WordStatistics> {
        Some(word_statistics(text, self))
    }

    /// Counted by the model's own tokenizer. A text in a language that the model does not know is searched by its
    /// words only, so cutting it would not help.
    fn fits_input_limit(&self, text: &str) -> bool {
        let most = self.model.text_tokens();
        // A token has at least one byte.
        text.len() <= most
            || self.model.word_pieces(text).is_ok_and(|pieces| pieces.len() <= most)
            || document_gate(word_statistics(text, self)) == 0.0
    }
}

impl WordPieces for LocalEmbedder {
    fn word_pieces(&self, word: &str) -> Vec<u32> {
        self.model.word_pieces(word).unwrap_or_default()
    }

    fn unknown_piece(&self) -> u32 {
        self.unknown
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ragstone_core::seam::contract_embedder;

    use ragstone_encoder::tiny::{Dtype, TinyModel};
    use ragstone_encoder::{LocalOptions, NumericPrecision};

    use super::super::tests::model_directory;
    use super::*;

    fn start(folder: &Path) -> LocalEmbedder {
        let options = LocalOptions {
            precision: NumericPrecision::F32,
            threads: 2,
            ..LocalOptions::default()
        };
        LocalEmbedder::start(LocalModel::load(folder, options).unwrap(), 1).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_keeps_the_contract() {
        let tiny = TinyModel::new(2, 32, PoolingMode::Mean, Dtype::F32, "").write_directory();
        contract_embedder::holds(&start(tiny.path())).await;
    }

    #[test]
    fn the_real_model_keeps_the_contract() {
        if let Some(folder) = model_directory() {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(contract_embedder::holds(&start(folder)));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn callers_at_the_same_time_get_their_own() {
        let tiny = TinyModel::new(2, 32, PoolingMode::Mean, Dtype::F32, "").write_directory();
        let embedder = start(tiny.path());
        let texts: Vec<Vec<String>> = (0..40)
            .map(|n| vec!["a ".repeat(n % 7), "b c".into()][..1 + n % 2].to_vec())
            .collect();
        let calls = texts.iter().map(|texts| embedder.embed_texts(texts, TextKind::Passage));
        let together = futures::future::join_all(calls).await;
        for (texts, got) in texts.iter().zip(together) {
            let alone = embedder.embed_texts(texts, TextKind::Passage).await.unwrap();
            let vectors = |from: &[Embedding]| from.iter().map(|e| e.vector.clone()).collect::<Vec<_>>();
            assert_eq!(vectors(&got.unwrap()), vectors(&alone), "{texts:?}");
        }
    }

    #[tokio::test]
    async fn a_text_fits_by_its_tokens() {
        let tiny = TinyModel::new(2, 32, PoolingMode::Mean, Dtype::F32, "").write_directory();
        let embedder = start(tiny.path());
        let most = embedder.model.text_tokens();
        assert_eq!(most, embedder.model.fingerprint().max_length - 2);
        for (words, fits) in [(most, true), (most + 1, false)] {
            assert_eq!(
                embedder.fits_input_limit(&"a ".repeat(words)),
                fits,
                "{words} of {most}"
            );
        }
        assert!(
            embedder.fits_input_limit(&"退款期限".repeat(most)),
            "the model reads nothing of it anyway"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tokens_stand_where_they_are_in_the_text() {
        let tiny = TinyModel::new(2, 32, PoolingMode::Mean, Dtype::F32, "").write_directory();
        let embedder = start(tiny.path());
        let embeddings = embedder
            .embed_texts(&["a b cc".into()], TextKind::Passage)
            .await
            .unwrap();
        let tokens = embeddings[0].tokens.as_ref().unwrap();
        assert_eq!(tokens.pieces, ["a", "b", "c", "##c"]);
        assert_eq!(tokens.spans, [0..1, 2..3, 4..5, 5..6]);
        assert_eq!(tokens.vectors.len(), 4);
        let reading = embedder.word_statistics("a b zzz").unwrap();
        assert!((reading.unknown_share - 1.0 / 3.0).abs() < 1e-9, "{reading:?}");
    }
}
