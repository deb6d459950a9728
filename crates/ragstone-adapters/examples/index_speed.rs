//! Speed and size of the embedded index on synthetic chunks, against the targets of the design.
//!
//! `cargo run --release -p ragstone-adapters --no-default-features --features sqlite --example index_speed -- [CHUNKS
//! [DIMENSIONS]]`; by default 100,000 chunks of 384 and of 1,536 dimensions. Each index is written by one process and
//! searched by another, so that the memory shown is that of an index that was opened.
#![allow(clippy::unwrap_used, reason = "a measurement may fail loudly")]

mod synthetic;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ragstone_adapters::index::embedded::EmbeddedIndex;
use ragstone_adapters::sqlite::SqliteDatabase;
use ragstone_core::access::{Principal, Role, ScopedQuery};
use ragstone_core::filter::MetadataFilter;
use ragstone_core::seam::contract::{Sample, caller};
use ragstone_core::seam::index::{IndexPoint, IndexQuery, SearchMode, VectorIndex};
use serde_json::json;
use synthetic::{GROUPS, centers, chunk, processor_milliseconds, question, spec};

const GROUPS_HELD: u64 = 200;
const BATCH: usize = 256;
const SEARCHES: usize = 300;
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

fn write(path: &Path, chunks: usize, dimensions: usize) {
    let index = EmbeddedIndex::open(SqliteDatabase::open(path).unwrap()).unwrap();
    let mut sample = Sample::new(1, dimensions);
    let centers = centers(dimensions);
    let runtime = runtime();
    runtime.block_on(index.prepare_index(&spec(dimensions))).unwrap();
    let mut spent = Duration::ZERO;
    for start in (0..chunks).step_by(BATCH) {
        let points: Vec<IndexPoint> = (start..(start + BATCH).min(chunks))
            .map(|n| chunk(&mut sample, &centers, n))
            .collect();
        let mut shown: Vec<_> = points
            .iter()
            .map(|point| (point.chunk.document_id, point.generation))
            .collect();
        shown.dedup();
        let clock = Instant::now();
        runtime.block_on(async {
            index.upsert_points(points).await.unwrap();
            for (document, generation) in shown {
                index.publish_generation(document, generation).await.unwrap();
            }
        });
        spent += clock.elapsed();
    }
    println!(
        "  insert {:.0} chunks/s, in batches of {BATCH}",
        chunks as f64 / spent.as_secs_f64()
    );
}

fn search(path: &Path, dimensions: usize) {
    let clock = Instant::now();
    let index: Arc<dyn VectorIndex> = Arc::new(EmbeddedIndex::open(SqliteDatabase::open(path).unwrap()).unwrap());
    println!(
        "  open {:.2} s, {:.2} s of processor time; resident {} MB, at most {} MB",
        clock.elapsed().as_secs_f64(),
        processor_milliseconds() / 1e3,
        resident("VmRSS:"),
        resident("VmHWM:")
    );
    let centers = centers(dimensions);
    let mut sample = Sample::new(2, dimensions);
    let groups: Vec<String> = (0..GROUPS_HELD.min(GROUPS))
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
    let filter = MetadataFilter::from_json(&json!({"type": "prefix", "key": "uri", "value": "doc-1"})).unwrap();
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A line of the process's status, in MiB.
fn resident(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}
