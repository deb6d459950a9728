//! The embedded index and Qdrant give the same ids in the same order, with the same scores.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::index::qdrant::testing::TestServer;
use ragstone_adapters::index::qdrant::{QdrantIndex, QdrantOptions};
use ragstone_adapters::sqlite::SqliteDatabase;
use ragstone_core::id::ChunkId;
use ragstone_core::rank::analyzer::analyze_text;
use ragstone_core::rank::bm25::plain_vector;
use ragstone_core::rank::fusion::{FusionCandidate, fuse_scores, rank_by_cosine, rank_by_lexical};
use ragstone_core::rank::late::TOP_LATE;
use ragstone_core::rank::{CANDIDATE_DEPTH, LexicalQuery, TermId, TermStatistics};
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::index::ask;
use ragstone_core::seam::contract::{Sample, acl, caller};
use ragstone_core::seam::index::{IndexHits, IndexPoint, IndexQuery, IndexSpec, SearchMode};
use serde_json::Value;

use crate::options;
use crate::program::Server;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
const DIMENSIONS: usize = 384;
/// One question in so many is asked, unless `RAGSTONE_TEST_ALL_QUESTIONS` is set.
const SAMPLE: usize = 12;
/// Questions are asked so many at a time.
const AT_ONCE: usize = 8;

#[tokio::test]
async fn the_test_server_and_the_embedded_index_agree() {
    let server = TestServer::start().await;
    let mut library = Words::default();
    let words = |sample: &mut Sample| {
        let words = (0..12).map(|_| format!("word{}", sample.below(60).min(sample.below(60))));
        words.collect::<Vec<_>>().join(" ")
    };
    let mut sample = Sample::new(61, DIMENSIONS);
    let mut texts: Vec<String> = (0..500).map(|_| words(&mut sample)).collect();
    // Copies have equal scores, which the ids tell apart.
    texts.extend_from_within(..60);
    texts.iter().for_each(|text| library.add("", text));
    let questions: Vec<String> = (0..40).map(|_| words(&mut sample)).collect();
    let both = Both::over(&server.url(), library.points()).await;
    both.agree(&library, &questions).await;
}

#[tokio::test]
async fn qdrant_and_the_embedded_index_agree_on_every_question() {
    let Some((library, questions)) = shared() else {
        ragstone_testkit::skip_test("the order of all questions", "put shared/ beside the repository");
        return;
    };
    let Some(server) = Server::find("the order of all questions against Qdrant").await else {
        return;
    };
    let both = Both::over(server.url(), library.points()).await;
    both.agree(&library, &questions).await;
    both.recall(&library, &questions).await;
}

/// The documents and questions of `../shared/data`, if they are there.
fn shared() -> Option<(Words, Vec<String>)> {
    let (scifact, squad) = (Path::new(SHARED).join("scifact"), Path::new(SHARED).join("squad2"));
    let mut library = Words::default();
    for document in lines(&scifact.join("corpus.jsonl"))? {
        library.add(text(&document, "title"), text(&document, "text"));
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(squad.join("docs"))
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        let article = std::fs::read_to_string(file).unwrap();
        let mut paragraphs = article.split("\n\n");
        let title = paragraphs.next().unwrap_or_default();
        paragraphs.for_each(|paragraph| library.add(title, paragraph));
    }
    let claims = lines(&scifact.join("queries.jsonl"))?
        .into_iter()
        .map(|line| text(&line, "text").to_owned());
    let questions = lines(&squad.join("questions.jsonl"))?
        .into_iter()
        .map(|line| text(&line, "question").to_owned());
    let all = claims.chain(questions);
    let step = if wants_all() { 1 } else { SAMPLE };
    Some((library, all.step_by(step).collect()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment how much it tries"
)]
fn wants_all() -> bool {
    std::env::var_os("RAGSTONE_TEST_ALL_QUESTIONS").is_some()
}

fn lines(path: &Path) -> Option<Vec<Value>> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap_or_default()
}

/// Texts with their true lexical side, and vectors that stand for an encoder's: each word has a direction of its own.
#[derive(Default)]
struct Words {
    points: Vec<IndexPoint>,
    statistics: TermStatistics,
    directions: std::sync::Mutex<HashMap<TermId, Arc<Vec<f32>>>>,
}

impl Words {
    fn add(&mut self, title: &str, text: &str) {
        let number = self.points.len();
        let mut point = Sample::new(number as u64, 1).point(
            &acl("a", &[&["everyone"]]),
            &format!("{}", number / 40),
            1,
            (number % 40) as u32,
        );
        point.lexical = plain_vector(title, text);
        point.gate = 1.0 - (number % 5) as f32 / 10.0;
        point.dense = Some(self.vector(text));
        let held = point.lexical.unigrams.iter().chain(&point.lexical.bigrams);
        for (term, _) in held {
            *self.statistics.df.entry(*term).or_default() += 1;
        }
        self.statistics.documents += 1;
        self.points.push(point);
    }

    fn points(&self) -> &[IndexPoint] {
        &self.points
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let mut sum = vec![0f32; DIMENSIONS];
        for word in analyze_text(text) {
            let direction = self.direction(TermId::from_term(&word));
            sum.iter_mut()
                .zip(direction.iter())
                .for_each(|(sum, part)| *sum += part);
        }
        let length = sum.iter().map(|part| part * part).sum::<f32>().sqrt().max(1e-9);
        sum.into_iter().map(|part| part / length).collect()
    }

    fn direction(&self, term: TermId) -> Arc<Vec<f32>> {
        let mut directions = self.directions.lock().unwrap();
        let new = || Arc::new(Sample::new(term.0.into(), DIMENSIONS).vector());
        directions.entry(term).or_insert_with(new).clone()
    }

    fn question(&self, text: &str, mode: SearchMode) -> IndexQuery {
        IndexQuery {
            mode,
            dense: Some(self.vector(text)),
            lexical: LexicalQuery::new(text, &self.statistics),
            query_gate: 0.97,
            depth: CANDIDATE_DEPTH,
            exact_count: TOP_LATE,
            excluded: Vec::new(),
        }
    }
}

/// The same points in both.
struct Both {
    embedded: Arc<dyn VectorIndex>,
    exact: Arc<dyn VectorIndex>,
    walking: Arc<dyn VectorIndex>,
    _folder: tempfile::TempDir,
}

impl Both {
    async fn over(url: &str, points: &[IndexPoint]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = SqliteDatabase::open(&folder.path().join("index.db")).unwrap();
        let exact = QdrantOptions {
            exact_below: u64::MAX,
            ..options(url)
        };
        let walking = QdrantOptions {
            exact_below: 0,
            ..exact.clone()
        };
        let both = Self {
            embedded: Arc::new(EmbeddedIndex::open(database).unwrap()),
            exact: Arc::new(QdrantIndex::new(exact).unwrap()),
            walking: Arc::new(QdrantIndex::new(walking).unwrap()),
            _folder: folder,
        };
        let spec = IndexSpec {
            embedder: Some("words".into()),
            dimensions: Some(DIMENSIONS),
            lexical: "l".into(),
        };
        for index in [&both.embedded, &both.exact] {
            index.prepare_index(&spec).await.unwrap();
            for batch in points.chunks(200) {
                index.upsert_points(batch.to_vec()).await.unwrap();
            }
            let shown: HashSet<_> = points
                .iter()
                .map(|point| (point.chunk.document_id, point.generation))
                .collect();
            for (document, generation) in shown {
                index.publish_generation(document, generation).await.unwrap();
            }
        }
        both
    }

    /// Same ids, same order, same scores.
    async fn agree(&self, library: &Words, questions: &[String]) {
        for (n, batch) in questions.chunks(AT_ONCE).enumerate() {
            let mode = [
                SearchMode::Hybrid,
                SearchMode::Hybrid,
                SearchMode::Dense,
                SearchMode::Lexical,
            ][n % 4];
            let heads = batch.iter().map(|question| self.heads(library, question, mode));
            for (question, (ours, theirs)) in batch.iter().zip(join_all(heads).await) {
                assert_eq!(ours, theirs, "{mode:?}: {question}");
            }
        }
    }

    async fn heads(&self, library: &Words, question: &str, mode: SearchMode) -> (Head, Head) {
        let query = ask(&caller("a", &[]), &library.question(question, mode));
        let (ours, theirs) = tokio::join!(self.embedded.search(&query), self.exact.search(&query));
        (
            head(&ours.unwrap(), query.query()),
            head(&theirs.unwrap(), query.query()),
        )
    }

    /// Where the graph is walked, nearly all of the ten best are found.
    async fn recall(&self, library: &Words, questions: &[String]) {
        let (scope, mut found, mut wanted) = (caller("a", &[]), 0, 0);
        for question in questions.iter().step_by(4) {
            let query = ask(&scope, &library.question(question, SearchMode::Hybrid));
            let ten = |hits: &IndexHits| {
                head(hits, query.query())
                    .into_iter()
                    .take(10)
                    .map(|(id, _)| id)
                    .collect::<HashSet<_>>()
            };
            let ours = ten(&self.embedded.search(&query).await.unwrap());
            let theirs = ten(&self.walking.search(&query).await.unwrap());
            (found, wanted) = (found + ours.intersection(&theirs).count(), wanted + ours.len());
        }
        assert!(found * 100 >= wanted * 99, "{found} of {wanted}");
    }
}

/// Ids with the bits of their scores.
type Head = Vec<(ChunkId, [u64; 3])>;

/// The best in the mode's order, with the bits of their scores.
fn head(hits: &IndexHits, asked: &IndexQuery) -> Head {
    let candidates: Vec<FusionCandidate<ChunkId>> = hits
        .hits
        .iter()
        .map(|hit| FusionCandidate {
            id: hit.chunk,
            unigram: hit.unigrams,
            bigram: hit.bigrams,
            cosine: hit.dense,
        })
        .collect();
    let upper = asked.lexical.upper_bound;
    let ranked = match asked.mode {
        SearchMode::Hybrid => fuse_scores(&candidates, upper, hits.gate),
        SearchMode::Dense => rank_by_cosine(&candidates),
        SearchMode::Lexical => rank_by_lexical(&candidates, hits.gate),
    };
    let by_id: HashMap<ChunkId, &FusionCandidate<ChunkId>> =
        candidates.iter().map(|candidate| (candidate.id, candidate)).collect();
    let scores = |id: &ChunkId| {
        let candidate = by_id[id];
        [candidate.unigram, candidate.bigram, candidate.cosine].map(f64::to_bits)
    };
    ranked
        .iter()
        .take(asked.exact_count)
        .map(|ranked| (ranked.id, scores(&ranked.id)))
        .collect()
}
