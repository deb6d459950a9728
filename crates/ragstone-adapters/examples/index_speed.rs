//! Speed and size of the embedded index on synthetic chunks, against the targets of the design.
//!
//! `cargo run --release -p ragstone-adapters --no-default-features --features sqlite --example index_speed -- [CHUNKS
//! [DIMENSIONS]]`; by default 100,000 chunks of 384 and of 1,536 dimensions. Each index is written by one process and
//! searched by another, so that the memory shown is that of an index that was opened.
#![allow(clippy::unwrap_used, reason = "a measurement may fail loudly")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::Database;
use ragstone_core::access::{Acl, Principal, Role, ScopedQuery};
use ragstone_core::filter::Filter;
use ragstone_core::rank::late::TOP_LATE;
use ragstone_core::rank::{DEPTH, LexicalQuery, SparseVector, TermId};
use ragstone_core::seam::contract::{Sample, acl, caller};
use ragstone_core::seam::index::{IndexQuery, IndexSpec, Point, SearchMode, VectorIndex};
use serde_json::json;

const TENANTS: usize = 50;
const GROUPS: u64 = 1_000;
const GROUPS_HELD: u64 = 200;
const CHUNKS_OF_A_DOCUMENT: usize = 20;
const UNIGRAMS: usize = 100;
const BIGRAMS: usize = 75;
const VOCABULARY: f64 = 200_000.0;
const CLUSTERS: u64 = 400;
const BATCH: usize = 256;
const SEARCHES: usize = 300;
const QUESTION_TERMS: usize = 9;
const CALLERS: usize = 4;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<usize>().ok());
    match (arguments.get(1).map(String::as_str), arguments.get(2)) {
        (Some("write"), Some(path)) => write(Path::new(path), number(3).unwrap(), number(4).unwrap()),
        (Some("search"), Some(path)) => search(Path::new(path), number(4).unwrap()),
        _ => {
            let chunks = number(1).unwrap_or(100_000);
            for dimensions in number(2).map_or(vec![384, 1_536], |dimensions| vec![dimensions]) {
                measure(&arguments[0], chunks, dimensions);
            }
        }
    }
}

fn measure(program: &str, chunks: usize, dimensions: usize) {
    println!("{chunks} chunks of {dimensions} dimensions");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("speed.db");
    for phase in ["write", "search"] {
        let mut command = Command::new(program);
        command
            .arg(phase)
            .arg(&path)
            .arg(chunks.to_string())
            .arg(dimensions.to_string());
        assert!(command.status().unwrap().success());
    }
    println!("  database {} MB", std::fs::metadata(&path).unwrap().len() >> 20);
}

/// One document in fifty belongs to a small tenant, which costs what one of fifty equal tenants would; the others to
/// a large one with a thousand groups.
fn owner(document: usize) -> Acl {
    match document.is_multiple_of(TENANTS) {
        true => acl("small", &[&["everyone"]]),
        false => acl(
            "large",
            &[&[&format!("group:{}", document as u64 * 7_919 % GROUPS)]],
        ),
    }
}

fn write(path: &Path, chunks: usize, dimensions: usize) {
    let index = EmbeddedIndex::open(Database::open(path).unwrap()).unwrap();
    let mut sample = Sample::new(1, dimensions);
    let centers: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| sample.vector()).collect();
    let runtime = runtime();
    runtime.block_on(index.ensure(&spec(dimensions))).unwrap();
    let mut spent = Duration::ZERO;
    for start in (0..chunks).step_by(BATCH) {
        let points: Vec<Point> = (start..(start + BATCH).min(chunks))
            .map(|n| chunk(&mut sample, &centers, n))
            .collect();
        let mut shown: Vec<_> = points
            .iter()
            .map(|point| (point.chunk.document_id, point.generation))
            .collect();
        shown.dedup();
        let clock = Instant::now();
        runtime.block_on(async {
            index.upsert(points).await.unwrap();
            for (document, generation) in shown {
                index.publish(document, generation).await.unwrap();
            }
        });
        spent += clock.elapsed();
    }
    println!(
        "  insert {:.0} chunks/s, in batches of {BATCH}",
        chunks as f64 / spent.as_secs_f64()
    );
}

fn chunk(sample: &mut Sample, centers: &[Vec<f32>], n: usize) -> Point {
    let document = n / CHUNKS_OF_A_DOCUMENT;
    let mut point = sample.point(
        &owner(document),
        &format!("doc-{document}"),
        1,
        (n % CHUNKS_OF_A_DOCUMENT) as u32,
    );
    point.chunk.text = "Lorem ipsum dolor sit amet, consetetur. ".repeat(20);
    let center = &centers[sample.below(CLUSTERS) as usize];
    let spread = 4.0 / (center.len() as f32).sqrt();
    point.dense = Some(sample.vector_near(center, spread));
    point.lexical = words(sample);
    point
}

/// Terms by Zipf's law, pairs of such terms.
fn words(sample: &mut Sample) -> SparseVector {
    let mut zipf = |sample: &mut Sample| VOCABULARY.powf(f64::from(sample.share())) as u64;
    let mut side = |count: usize, draw: &mut dyn FnMut(&mut Sample) -> u64| {
        let mut terms = BTreeMap::new();
        while terms.len() < count {
            let term = TermId((draw(sample).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32);
            terms.insert(term, 0.2 + 2.0 * sample.share());
        }
        terms.into_iter().collect()
    };
    SparseVector {
        unigrams: side(UNIGRAMS, &mut zipf),
        bigrams: side(BIGRAMS, &mut |sample| zipf(sample) * 1_000_003 + zipf(sample)),
    }
}

fn search(path: &Path, dimensions: usize) {
    let clock = Instant::now();
    let index: Arc<dyn VectorIndex> = Arc::new(EmbeddedIndex::open(Database::open(path).unwrap()).unwrap());
    println!(
        "  open {:.2} s, {:.2} s of processor time; resident {} MB, at most {} MB",
        clock.elapsed().as_secs_f64(),
        processor_milliseconds() / 1e3,
        resident("VmRSS:"),
        resident("VmHWM:")
    );
    let mut sample = Sample::new(1, dimensions);
    let centers: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| sample.vector()).collect();
    let mut sample = Sample::new(2, dimensions);
    let groups: Vec<String> = (0..GROUPS_HELD)
        .map(|group| format!("group:{}", group * 5))
        .collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let all = Principal::verified(
        "large".parse().unwrap(),
        "admin".into(),
        Default::default(),
        Role::Admin,
    )
    .scope();
    let scopes = [
        ("whole tenant", all),
        ("200 of 1,000 groups", caller("large", &groups)),
        ("one of 50 tenants", caller("small", &[])),
    ];
    for (name, scope) in &scopes {
        for mode in [SearchMode::Dense, SearchMode::Lexical, SearchMode::Hybrid] {
            let ask = |query| ScopedQuery::for_contract(scope, None, None, query);
            time(&format!("{name}, {mode:?}"), &index, || {
                ask(question(&mut sample, &centers, mode))
            });
        }
    }
    let filter = Filter::parse(&json!({"type": "prefix", "key": "uri", "value": "doc-1"})).unwrap();
    time("whole tenant, Hybrid, filtered", &index, || {
        let query = question(&mut sample, &centers, SearchMode::Hybrid);
        ScopedQuery::for_contract(&scopes[0].1, None, Some(filter.clone()), query)
    });
    let queries = (0..SEARCHES).map(|_| {
        let query = question(&mut sample, &centers, SearchMode::Hybrid);
        ScopedQuery::for_contract(&scopes[0].1, None, None, query)
    });
    side_by_side(&index, queries.collect());
    println!("  resident {} MB after searching", resident("VmRSS:"));
}

fn question(sample: &mut Sample, centers: &[Vec<f32>], mode: SearchMode) -> IndexQuery {
    let center = &centers[sample.below(CLUSTERS) as usize];
    let dense = sample.vector_near(center, 3.0 / (center.len() as f32).sqrt());
    let SparseVector { unigrams, bigrams } = words(sample);
    let some = |terms: Vec<(TermId, f32)>| {
        let asked = terms
            .into_iter()
            .filter(|_| mode != SearchMode::Dense)
            .step_by(BIGRAMS / QUESTION_TERMS);
        asked.map(|(term, weight)| (term, f64::from(weight))).collect()
    };
    let lexical = LexicalQuery {
        unigrams: some(unigrams),
        bigrams: some(bigrams),
        upper_bound: 1.0,
    };
    IndexQuery {
        mode,
        dense: (mode != SearchMode::Lexical).then_some(dense),
        lexical,
        query_gate: 1.0,
        depth: DEPTH,
        exact: TOP_LATE,
        without: Vec::new(),
    }
}

fn time(name: &str, index: &Arc<dyn VectorIndex>, mut ask: impl FnMut() -> ScopedQuery<IndexQuery>) {
    let runtime = runtime();
    let before = processor_milliseconds();
    let mut times: Vec<Duration> = (0..SEARCHES)
        .map(|_| {
            let query = ask();
            let clock = Instant::now();
            let hits = runtime.block_on(index.search(&query)).unwrap();
            assert!(!hits.hits.is_empty());
            clock.elapsed()
        })
        .collect();
    let processor = (processor_milliseconds() - before) / SEARCHES as f64;
    times.sort();
    let milliseconds = |at: usize| times[times.len() * at / 100].as_secs_f64() * 1e3;
    println!(
        "  {name}: p5 {:.2} ms, p50 {:.2} ms, p99 {:.2} ms; {processor:.2} ms of processor time",
        milliseconds(5),
        milliseconds(50),
        milliseconds(99)
    );
}

/// How many searches a second are answered when several callers never pause.
fn side_by_side(index: &Arc<dyn VectorIndex>, queries: Vec<ScopedQuery<IndexQuery>>) {
    let runtime = runtime();
    let clock = Instant::now();
    runtime.block_on(async {
        let share = queries.len() / CALLERS;
        let callers = queries.chunks(share).map(|queries| async move {
            for query in queries {
                index.search(query).await.unwrap();
            }
        });
        futures::future::join_all(callers).await;
    });
    println!(
        "  whole tenant, Hybrid, {CALLERS} callers: {:.0} searches a second",
        queries.len() as f64 / clock.elapsed().as_secs_f64()
    );
}

fn spec(dimensions: usize) -> IndexSpec {
    IndexSpec {
        embedder: Some("synthetic".into()),
        dimensions: Some(dimensions),
        lexical: "synthetic".into(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// What all threads used so far, which other programs on the machine do not lengthen; in ticks of 10 ms.
fn processor_milliseconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}

/// A line of the process's status, in MiB.
fn resident(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}
