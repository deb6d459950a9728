//! Micro-benchmarks of one search over the embedded index: each leg and both, for a caller who sees all and for one of many
//! groups.
//!
//! `cargo bench -p ragstone-adapters --no-default-features --features sqlite`. Larger libraries, and the shares of the
//! times that stand in `bench/README.md`, are measured by the example `index_speed`.
#![allow(clippy::unwrap_used, reason = "a measurement may fail loudly")]

#[path = "../examples/synthetic/mod.rs"]
#[allow(dead_code, reason = "the examples use more of it")]
mod synthetic;

use divan::Bencher;
use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::SqliteDatabase;
use ragstone_core::access::{Principal, Role, Scope, ScopedQuery};
use ragstone_core::seam::contract::{Sample, caller};
use ragstone_core::seam::index::{IndexPoint, SearchMode, VectorIndex};
use synthetic::{centers, chunk, question, spec};

const CHUNKS: usize = 10_000;
const BATCH: usize = 500;
const DIMENSIONS: [usize; 2] = [384, 1_536];

fn main() {
    divan::main();
}

/// A library in a folder of its own, with what its questions gather around.
struct Shelf {
    _folder: tempfile::TempDir,
    index: EmbeddedIndex,
    centers: Vec<Vec<f32>>,
    dimensions: usize,
    runtime: tokio::runtime::Runtime,
}

impl Shelf {
    fn new(dimensions: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = SqliteDatabase::open(&folder.path().join("bench.db")).unwrap();
        let shelf = Self {
            index: EmbeddedIndex::open(database).unwrap(),
            _folder: folder,
            centers: centers(dimensions),
            dimensions,
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        };
        shelf.runtime.block_on(shelf.fill());
        shelf
    }

    async fn fill(&self) {
        self.index.prepare_index(&spec(self.dimensions)).await.unwrap();
        let mut sample = Sample::new(1, self.dimensions);
        for start in (0..CHUNKS).step_by(BATCH) {
            let points: Vec<IndexPoint> = (start..start + BATCH)
                .map(|n| chunk(&mut sample, &self.centers, n))
                .collect();
            let mut shown: Vec<_> = points
                .iter()
                .map(|point| (point.chunk.document_id, point.generation))
                .collect();
            shown.dedup();
            self.index.upsert_points(points).await.unwrap();
            for (document, generation) in shown {
                self.index.publish_generation(document, generation).await.unwrap();
            }
        }
    }

    fn bench(&self, bencher: Bencher, scope: &Scope, mode: SearchMode) {
        let mut sample = Sample::new(2, self.dimensions);
        bencher
            .with_inputs(|| ScopedQuery::for_contract(scope, None, None, question(&mut sample, &self.centers, mode)))
            .bench_local_values(|query| self.runtime.block_on(self.index.search(&query)).unwrap());
    }
}

fn everything() -> Scope {
    let nobody = Default::default();
    Principal::verified("large".parse().unwrap(), "admin".into(), nobody, Role::Admin).scope()
}

#[divan::bench(args = DIMENSIONS)]
fn dense(bencher: Bencher, dimensions: usize) {
    Shelf::new(dimensions).bench(bencher, &everything(), SearchMode::Dense);
}

#[divan::bench(args = DIMENSIONS)]
fn lexical(bencher: Bencher, dimensions: usize) {
    Shelf::new(dimensions).bench(bencher, &everything(), SearchMode::Lexical);
}

#[divan::bench(args = DIMENSIONS)]
fn hybrid(bencher: Bencher, dimensions: usize) {
    Shelf::new(dimensions).bench(bencher, &everything(), SearchMode::Hybrid);
}

#[divan::bench(args = DIMENSIONS)]
fn hybrid_for_one_of_many_groups(bencher: Bencher, dimensions: usize) {
    let scope = caller("large", &["group:5"]);
    Shelf::new(dimensions).bench(bencher, &scope, SearchMode::Hybrid);
}
