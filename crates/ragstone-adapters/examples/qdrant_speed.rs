//! What the same synthetic chunks cost in Qdrant: writing them, searching them, and what exact scores add.
//!
//! `cargo run --release -p ragstone-adapters --example qdrant_speed -- URL COLLECTION [CHUNKS [DIMENSIONS [quantized]]]`. A
//! collection that has the chunks already is searched as it is, so that it can be looked at under other settings.
#![allow(clippy::unwrap_used, reason = "a measurement may fail loudly")]

mod synthetic;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ragstone_adapters::index::qdrant::{QdrantIndex, QdrantOptions};
use ragstone_core::access::{Principal, Role, Scope, ScopedQuery};
use ragstone_core::id::ChunkId;
use ragstone_core::rank::fusion::{FusionCandidate, fuse_scores};
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::{Sample, caller};
use ragstone_core::seam::index::{IndexPoint, IndexQuery, SearchMode};
use synthetic::{GROUPS, centers, chunk, processor_milliseconds, question, spec};

const BATCH: usize = 256;
const SEARCHES: usize = 200;
const GROUPS_HELD: u64 = 200;
/// Bytes of the token vectors of a chunk.
const TOKENS: usize = 4_700;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (url, collection) = (&arguments[1], &arguments[2]);
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<usize>().ok());
    let (chunks, dimensions) = (number(3).unwrap_or(100_000), number(4).unwrap_or(384));
    let options = |exact_below| QdrantOptions {
        collection: collection.clone(),
        exact_below,
        timeout: Duration::from_secs(60),
        quantized: arguments.iter().any(|argument| argument == "quantized"),
        ..QdrantOptions::new(url)
    };
    let exact = QdrantIndex::new(options(u64::MAX)).unwrap();
    let walking = QdrantIndex::new(options(0)).unwrap();
    exact.prepare_index(&spec(dimensions)).await.unwrap();
    if exact.count_points().await.unwrap() == 0 {
        write(&exact, chunks, dimensions).await;
    }
    let groups: Vec<String> = (0..GROUPS_HELD.min(GROUPS))
        .map(|group| format!("group:{}", group * 5))
        .collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let tenant = "large".parse().unwrap();
    let all = Principal::verified(tenant, "admin".into(), Default::default(), Role::Admin).scope();
    let scopes = [
        ("whole tenant", all),
        ("200 of 1,000 groups", caller("large", &groups)),
        ("one of 50 tenants", caller("small", &[])),
    ];
    for (name, scope) in &scopes {
        for (way, index) in [("compared", &exact), ("walked", &walking)] {
            for head in [0, 30] {
                time(&format!("{name}, {way}, {head} exact"), index, scope, dimensions, head).await;
            }
        }
        recall(name, &exact, &walking, scope, dimensions).await;
    }
}

async fn write(index: &QdrantIndex, chunks: usize, dimensions: usize) {
    let (mut sample, centers) = (Sample::new(1, dimensions), centers(dimensions));
    let (mut spent, before) = (Duration::ZERO, processor_milliseconds());
    for start in (0..chunks).step_by(BATCH) {
        let points: Vec<IndexPoint> = (start..(start + BATCH).min(chunks))
            .map(|n| IndexPoint {
                tokens: Some((0..TOKENS).map(|_| sample.below(256) as u8).collect()),
                ..chunk(&mut sample, &centers, n)
            })
            .collect();
        let mut shown: Vec<_> = points
            .iter()
            .map(|point| (point.chunk.document_id, point.generation))
            .collect();
        shown.dedup();
        let clock = Instant::now();
        index.upsert_points(points).await.unwrap();
        for (document, generation) in shown {
            index.publish_generation(document, generation).await.unwrap();
        }
        spent += clock.elapsed();
    }
    println!(
        "insert {:.0} chunks/s, in batches of {BATCH}; {:.3} ms of processor time a chunk here, the sample's own included",
        chunks as f64 / spent.as_secs_f64(),
        (processor_milliseconds() - before) / chunks as f64
    );
}

fn asked(scope: &Scope, query: IndexQuery, exact: usize) -> ScopedQuery<IndexQuery> {
    ScopedQuery::for_contract(
        scope,
        None,
        None,
        IndexQuery {
            exact_count: exact,
            ..query
        },
    )
}

async fn time(name: &str, index: &QdrantIndex, scope: &Scope, dimensions: usize, exact: usize) {
    let (mut sample, centers) = (Sample::new(2, dimensions), centers(dimensions));
    let before = processor_milliseconds();
    let mut times = Vec::with_capacity(SEARCHES);
    for _ in 0..SEARCHES {
        let query = asked(scope, question(&mut sample, &centers, SearchMode::Hybrid), exact);
        let clock = Instant::now();
        index.search(&query).await.unwrap();
        times.push(clock.elapsed());
    }
    let processor = (processor_milliseconds() - before) / SEARCHES as f64;
    times.sort();
    let milliseconds = |at: usize| times[times.len() * at / 100].as_secs_f64() * 1e3;
    println!(
        "{name}: p5 {:.2} ms, p50 {:.2} ms, p99 {:.2} ms; {processor:.2} ms of processor time here",
        milliseconds(5),
        milliseconds(50),
        milliseconds(99)
    );
}

/// How many of the ten best by F are found by walking the graph.
async fn recall(name: &str, exact: &QdrantIndex, walking: &QdrantIndex, scope: &Scope, dimensions: usize) {
    let (mut sample, centers) = (Sample::new(3, dimensions), centers(dimensions));
    let (mut found, mut wanted) = (0, 0);
    for _ in 0..SEARCHES {
        let query = asked(scope, question(&mut sample, &centers, SearchMode::Hybrid), 30);
        let (all, walked) = tokio::join!(best(exact, &query), best(walking, &query));
        found += all.intersection(&walked).count();
        wanted += all.len();
    }
    println!(
        "{name}: recall@10 {:.4}",
        f64::from(found as u32) / f64::from(wanted as u32)
    );
}

async fn best(index: &QdrantIndex, query: &ScopedQuery<IndexQuery>) -> HashSet<ChunkId> {
    let found = index.search(query).await.unwrap();
    let candidates: Vec<FusionCandidate<ChunkId>> = found
        .hits
        .iter()
        .map(|hit| FusionCandidate {
            id: hit.chunk,
            unigram: hit.unigrams,
            bigram: hit.bigrams,
            cosine: hit.dense,
        })
        .collect();
    let ranked = fuse_scores(&candidates, query.query().lexical.upper_bound, found.gate);
    ranked.into_iter().take(10).map(|ranked| ranked.id).collect()
}
