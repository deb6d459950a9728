//! The local model as an [`Embedder`]: two lanes of dedicated threads, so that no question waits behind passages.
//!
//! Invariant: both queues are bounded. Passages wait for a place; a question that finds none is told to come back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::rank::gate::{WordPieces, WordStatistics, gate_document, word_statistics};
use ragstone_core::rank::late::TokenVectors;
use ragstone_core::seam::embedder::{EmbedError, EmbeddedTokens, Embedder, EmbedderFingerprint, Embedding, TextKind};
use ragstone_encoder::{LocalEmbedding, LocalModel, ModelError, Pooling, Side};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Batches of passages that wait.
const WAITING_PASSAGES: usize = 16;
/// Questions that wait.
const WAITING_QUERIES: usize = 1024;
/// Texts of several callers that are run through the model together: many small documents would each keep one core only.
const GATHERED_TEXTS: usize = 64;
/// When a question that found no place may come back.
const QUERY_PAUSE: Duration = Duration::from_millis(250);
/// What the vocabulary calls what it lacks.
const UNKNOWN: &str = "[UNK]";
/// Ids looked through for it; it stands among the first in every BERT vocabulary.
const UNKNOWN_WITHIN: u32 = 4096;

type Answer = Result<Vec<LocalEmbedding>, ModelError>;

/// Texts on their way through a lane.
struct Work {
    texts: Vec<String>,
    answer: oneshot::Sender<Answer>,
}

/// A model of this process.
pub struct LocalEmbedder {
    model: Arc<LocalModel>,
    fingerprint: EmbedderFingerprint,
    unknown: u32,
    passages: mpsc::Sender<Work>,
    queries: mpsc::Sender<Work>,
}

impl LocalEmbedder {
    /// Starts the lanes of `model`: one thread for passages, which uses as many more as the model was loaded with, and
    /// `query_threads` for questions. They end with the embedder.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(model: LocalModel, query_threads: usize) -> std::io::Result<Self> {
        let model = Arc::new(model);
        let unknown = (0..UNKNOWN_WITHIN).find(|id| model.piece(*id) == UNKNOWN);
        Ok(Self {
            fingerprint: fingerprint(&model),
            unknown: unknown.unwrap_or(u32::MAX),
            passages: lane(
                "embed-passages",
                &model,
                Side::Passage,
                (1, GATHERED_TEXTS),
                WAITING_PASSAGES,
            )?,
            queries: lane(
                "embed-questions",
                &model,
                Side::Query,
                (query_threads.max(1), 1),
                WAITING_QUERIES,
            )?,
            model,
        })
    }

    fn embedding(&self, embedding: LocalEmbedding) -> Embedding {
        let tokens = embedding.tokens.map(|tokens| EmbeddedTokens {
            pieces: tokens.ids.iter().map(|id| self.model.piece(*id).to_owned()).collect(),
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

/// Threads that take turns at one queue; each takes what waits, up to `gathered` texts.
fn lane(
    name: &str,
    model: &Arc<LocalModel>,
    side: Side,
    (threads, gathered): (usize, usize),
    waiting: usize,
) -> std::io::Result<mpsc::Sender<Work>> {
    let (sender, receiver) = mpsc::channel::<Work>(waiting);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..threads {
        let (model, receiver) = (model.clone(), receiver.clone());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(works) = take(&receiver, gathered) {
                run(&model, side, works);
            }
        })?;
    }
    Ok(sender)
}

/// The next work and what waits behind it; none once nobody can send any more.
fn take(receiver: &Mutex<mpsc::Receiver<Work>>, gathered: usize) -> Option<Vec<Work>> {
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

fn run(model: &LocalModel, side: Side, mut works: Vec<Work>) {
    works.retain(|work| !work.answer.is_closed());
    let texts: Vec<&str> = works
        .iter()
        .flat_map(|work| work.texts.iter().map(String::as_str))
        .collect();
    match model.embed(&texts, side, true) {
        Ok(embeddings) => {
            let mut embeddings = embeddings.into_iter();
            for work in works {
                let own = embeddings.by_ref().take(work.texts.len()).collect();
                // Whoever asked may have left meanwhile.
                let _ = work.answer.send(Ok(own));
            }
        }
        // One text that is refused must not cost its neighbours theirs.
        Err(_) if works.len() > 1 => works.into_iter().for_each(|work| run(model, side, vec![work])),
        Err(error) => {
            if let Some(work) = works.pop() {
                let _ = work.answer.send(Err(error));
            }
        }
    }
}

fn fingerprint(model: &LocalModel) -> EmbedderFingerprint {
    let own = model.fingerprint();
    EmbedderFingerprint {
        model: own.model.clone(),
        // Where a text is cut off decides its vector as well.
        revision: format!("{}-{}", own.revision, own.max_length),
        dimensions: own.dimensions,
        pooling: match own.pooling {
            Pooling::Mean => "mean".into(),
            Pooling::Cls => "cls".into(),
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

    async fn embed(&self, texts: &[String], kind: TextKind) -> Result<Vec<Embedding>, EmbedError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let ended = || EmbedError::Broken {
            detail: "the model's thread ended".into(),
        };
        let (answer, answered) = oneshot::channel();
        let texts = texts.to_vec();
        let work = Work { texts, answer };
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
            .map(|embedding| self.embedding(embedding))
            .collect())
    }

    fn reads(&self, text: &str) -> Option<WordStatistics> {
        Some(word_statistics(text, self))
    }

    /// By the model's own tokenizer. A text in a language that the model does not read goes by its words alone, which no
    /// cut would help.
    fn fits(&self, text: &str) -> bool {
        let most = self.model.text_tokens();
        // A token has at least one byte.
        text.len() <= most
            || self.model.word_pieces(text).is_ok_and(|pieces| pieces.len() <= most)
            || gate_document(word_statistics(text, self)) == 0.0
    }
}

impl WordPieces for LocalEmbedder {
    fn pieces(&self, word: &str) -> Vec<u32> {
        self.model.word_pieces(word).unwrap_or_default()
    }

    fn unknown(&self) -> u32 {
        self.unknown
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ragstone_core::seam::contract_embedder;

    use ragstone_encoder::tiny::{Dtype, Tiny};
    use ragstone_encoder::{LocalOptions, Precision};

    use super::super::tests::model_directory;
    use super::*;

    fn start(folder: &Path) -> LocalEmbedder {
        let options = LocalOptions {
            precision: Precision::F32,
            threads: 2,
            ..LocalOptions::default()
        };
        LocalEmbedder::start(LocalModel::load(folder, options).unwrap(), 1).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_keeps_the_contract() {
        let tiny = Tiny::new(2, 32, Pooling::Mean, Dtype::F32, "").write();
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
        let tiny = Tiny::new(2, 32, Pooling::Mean, Dtype::F32, "").write();
        let embedder = start(tiny.path());
        let texts: Vec<Vec<String>> = (0..40)
            .map(|n| vec!["a ".repeat(n % 7), "b c".into()][..1 + n % 2].to_vec())
            .collect();
        let calls = texts.iter().map(|texts| embedder.embed(texts, TextKind::Passage));
        let together = futures::future::join_all(calls).await;
        for (texts, got) in texts.iter().zip(together) {
            let alone = embedder.embed(texts, TextKind::Passage).await.unwrap();
            let vectors = |from: &[Embedding]| from.iter().map(|e| e.vector.clone()).collect::<Vec<_>>();
            assert_eq!(vectors(&got.unwrap()), vectors(&alone), "{texts:?}");
        }
    }

    #[tokio::test]
    async fn a_text_fits_by_its_tokens() {
        let tiny = Tiny::new(2, 32, Pooling::Mean, Dtype::F32, "").write();
        let embedder = start(tiny.path());
        let most = embedder.model.text_tokens();
        assert_eq!(most, embedder.model.fingerprint().max_length - 2);
        for (words, fits) in [(most, true), (most + 1, false)] {
            assert_eq!(embedder.fits(&"a ".repeat(words)), fits, "{words} of {most}");
        }
        assert!(
            embedder.fits(&"退款期限".repeat(most)),
            "the model reads nothing of it anyway"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tokens_stand_where_they_are_in_the_text() {
        let tiny = Tiny::new(2, 32, Pooling::Mean, Dtype::F32, "").write();
        let embedder = start(tiny.path());
        let embeddings = embedder.embed(&["a b cc".into()], TextKind::Passage).await.unwrap();
        let tokens = embeddings[0].tokens.as_ref().unwrap();
        assert_eq!(tokens.pieces, ["a", "b", "c", "##c"]);
        assert_eq!(tokens.spans, [0..1, 2..3, 4..5, 5..6]);
        assert_eq!(tokens.vectors.len(), 4);
        let reading = embedder.reads("a b zzz").unwrap();
        assert!((reading.unknown_share - 1.0 / 3.0).abs() < 1e-9, "{reading:?}");
    }
}
