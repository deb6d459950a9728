//! The contract suite on a database in memory and on a file, and random searches against brute force.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ragstone_core::access::{Acl, ScopedQuery};
use ragstone_core::filter::MetadataFilter;
use ragstone_core::id::Generation;
use ragstone_core::seam::PointReader;
use ragstone_core::seam::contract::index::{DIMENSIONS, ask, question, spec, store_visible};
use ragstone_core::seam::contract::{
    Sample, acl, assert_same, caller, expected, growing_index_contract, index_contract, point_reader_contract,
};
use ragstone_core::seam::index::{IndexPoint, IndexQuery, IndexSpec, SearchMode, VectorIndex};
use serde_json::json;

use super::EmbeddedIndex;
use crate::sqlite::SqliteDatabase;

const LANGUAGES: [&str; 3] = ["de", "en", "fr"];

fn memory() -> (SqliteDatabase, Arc<dyn VectorIndex>) {
    let database = SqliteDatabase::in_memory().unwrap();
    let index = EmbeddedIndex::open(database.clone()).unwrap();
    (database, Arc::new(index))
}

fn reopened(database: &SqliteDatabase) -> Arc<dyn VectorIndex> {
    Arc::new(EmbeddedIndex::open(database.clone()).unwrap())
}

#[tokio::test]
async fn in_memory_keeps_the_contract() {
    index_contract(|| async { memory().1 }).await;
    growing_index_contract(|| async { memory().1 }).await;
}

#[tokio::test]
async fn points_can_be_moved() {
    point_reader_contract(|| async {
        let index = Arc::new(EmbeddedIndex::open(SqliteDatabase::in_memory().unwrap()).unwrap());
        (index.clone() as Arc<dyn VectorIndex>, index as Arc<dyn PointReader>)
    })
    .await;
}

#[tokio::test]
async fn a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let files = AtomicUsize::new(0);
    let make = || async {
        let file = files.fetch_add(1, Ordering::Relaxed);
        let database = SqliteDatabase::open(&folder.path().join(format!("{file}.db"))).unwrap();
        Arc::new(EmbeddedIndex::open(database).unwrap()) as Arc<dyn VectorIndex>
    };
    index_contract(make).await;
}

/// ACLs of two tenants, with conjunctions and some that admit nobody.
fn some_acl(sample: &mut Sample) -> Acl {
    const GROUPS: [&str; 6] = ["group:a", "group:b", "group:c", "everyone", "user:u", "nobody"];
    let set = |sample: &mut Sample| [GROUPS[sample.below(6) as usize], GROUPS[sample.below(6) as usize]];
    let (one, two) = (set(sample), set(sample));
    let tenant = ["a", "b"][sample.below(2) as usize];
    match sample.below(4) {
        0 => acl(tenant, &[&one, &two]),
        1 => acl(tenant, &[&one[..1]]),
        _ => acl(tenant, &[&one]),
    }
}

fn some_filter(sample: &mut Sample, depth: u64) -> MetadataFilter {
    fn tree(sample: &mut Sample, depth: u64) -> serde_json::Value {
        let n = sample.below(8);
        match sample.below(if depth == 0 { 4 } else { 7 }) {
            0 => json!({"type": "eq", "key": "n", "value": n}),
            1 => json!({"type": "lt", "key": "n", "value": n}),
            2 => json!({"type": "ne", "key": "missing", "value": n}),
            3 => json!({"type": "in", "key": "lang", "value": &LANGUAGES[..1 + n as usize % 2]}),
            4 => json!({"type": "and", "filters": [tree(sample, depth - 1), tree(sample, depth - 1)]}),
            5 => json!({"type": "or", "filters": [tree(sample, depth - 1), tree(sample, depth - 1)]}),
            _ => json!({"type": "not", "filters": [tree(sample, depth - 1)]}),
        }
    }
    MetadataFilter::from_json(&tree(sample, depth)).unwrap()
}

fn some_points(sample: &mut Sample, documents: u64) -> Vec<IndexPoint> {
    let mut points = Vec::new();
    for document in 0..documents {
        let acl = some_acl(sample);
        let language = LANGUAGES[sample.below(3) as usize];
        let fields = json!({"n": sample.below(8), "lang": language});
        for ordinal in 0..1 + sample.below(6) as u32 {
            let mut point = sample.point(&acl, &document.to_string(), 1 + document, ordinal);
            point.fields = fields.as_object().unwrap().clone();
            point.dense = point.dense.filter(|_| ordinal != 3);
            points.push(point);
        }
    }
    points
}

fn some_query(sample: &mut Sample, points: &[IndexPoint]) -> ScopedQuery<IndexQuery> {
    let held = ["group:a", "group:b", "group:c", "user:u"];
    let scope = caller(["a", "b"][sample.below(2) as usize], &held[..sample.below(5) as usize]);
    let mode = [SearchMode::Hybrid, SearchMode::Dense, SearchMode::Lexical][sample.below(3) as usize];
    let without = (0..sample.below(3)).map(|_| {
        let point = &points[sample.below(points.len() as u64) as usize];
        (point.chunk.document_id, point.generation)
    });
    let without = without.collect();
    let depth = 1 + sample.below(60) as usize;
    let query = IndexQuery {
        mode,
        depth,
        excluded: without,
        ..question(sample)
    };
    let filter = (sample.below(2) == 0).then(|| some_filter(sample, 3));
    ScopedQuery::for_contract(&scope, None, filter, query)
}

/// Points come in batches, some are deleted or get another ACL, and at any moment a random search under a random
/// filter finds what brute force finds; an index opened again finds the same.
#[tokio::test]
async fn random_searches_find_what_brute_force_finds() {
    for seed in 0..4 {
        let mut sample = Sample::new(100 + seed, DIMENSIONS);
        let (database, index) = memory();
        let mut points = some_points(&mut sample, 120);
        for batch in points.chunks(7) {
            store_visible(&index, batch).await;
        }
        for round in 0..12 {
            let chosen = &points[sample.below(points.len() as u64) as usize];
            let (document, generation) = (chosen.chunk.document_id, chosen.generation);
            if round % 2 == 0 {
                index.delete_generation(document, generation).await.unwrap();
                points.retain(|point| point.chunk.document_id != document);
            } else {
                let acl = Acl {
                    tenant: chosen.acl.tenant.clone(),
                    ..some_acl(&mut sample)
                };
                let mut fields = chosen.fields.clone();
                fields.insert("n".into(), sample.below(8).into());
                if sample.below(2) == 0 {
                    fields.remove("lang");
                }
                fields.insert(format!("own{}", sample.below(3)), json!([1, "x"]));
                index.set_access(document, generation, &acl, 2, &fields).await.unwrap();
                for point in points.iter_mut().filter(|point| point.chunk.document_id == document) {
                    point.acl = acl.clone();
                    point.acl_revision = 2;
                    point.fields = fields.clone();
                }
            }
            let again = reopened(&database);
            for _ in 0..8 {
                let query = some_query(&mut sample, &points);
                let wanted = expected(&points, &query);
                let case = format!("seed {seed}, round {round}, {query:?}");
                assert_same(&index.search(&query).await.unwrap(), &wanted, &case);
                assert_same(&again.search(&query).await.unwrap(), &wanted, &case);
            }
        }
    }
}

/// An index of one open document that is shown, whose points have these vectors.
async fn one_document(
    sample: &mut Sample,
    dimensions: usize,
    count: u32,
    vector: impl Fn(&mut Sample, usize) -> Vec<f32>,
) -> (EmbeddedIndex, Vec<IndexPoint>) {
    let index = EmbeddedIndex::open(SqliteDatabase::in_memory().unwrap()).unwrap();
    let spec = IndexSpec {
        dimensions: Some(dimensions),
        ..spec()
    };
    index.prepare_index(&spec).await.unwrap();
    let open = acl("a", &[&["everyone"]]);
    let mut points: Vec<IndexPoint> = (0..count).map(|n| sample.point(&open, "c", 1, n)).collect();
    for (n, point) in points.iter_mut().enumerate() {
        point.dense = Some(vector(sample, n));
    }
    index.upsert_points(points.clone()).await.unwrap();
    let document = points[0].chunk.document_id;
    index.publish_generation(document, Generation(1)).await.unwrap();
    (index, points)
}

/// A segment that is large enough to be looked at by signs first finds what a comparison with every vector finds.
#[tokio::test]
async fn a_look_at_the_signs_loses_nothing() {
    let dimensions = 256;
    let mut sample = Sample::new(11, dimensions);
    let centers: Vec<_> = (0..20).map(|_| sample.vector()).collect();
    let (index, points) = one_document(&mut sample, dimensions, 5_000, |sample, n| {
        sample.vector_near(&centers[n % 20], 0.06)
    })
    .await;
    let large = index.shared.segments.snapshot().segments[0]
        .stored
        .sign_bits()
        .is_some();
    assert!(large, "the segment has signs");
    for center in &centers {
        let query = IndexQuery {
            mode: SearchMode::Dense,
            dense: Some(sample.vector_near(center, 0.03)),
            depth: 200,
            ..question(&mut sample)
        };
        let query = ScopedQuery::for_contract(&caller("a", &[]), None, None, query);
        let wanted = expected(&points, &query);
        assert_same(&index.search(&query).await.unwrap(), &wanted, "signs");
    }
}

/// Vectors so near to each other that a byte a component cannot tell them apart: the bounds keep all of them, and
/// the exact scores choose.
#[tokio::test]
async fn clustered_vectors_lose_nothing() {
    let dimensions = 96;
    let mut sample = Sample::new(7, dimensions);
    let centers: Vec<_> = (0..4).map(|_| sample.vector()).collect();
    let (index, points) = one_document(&mut sample, dimensions, 4_000, |sample, n| {
        let spread = [0.2, 0.02, 0.002, 0.000_2][n % 4];
        sample.vector_near(&centers[n / 4 % 4], spread)
    })
    .await;
    for round in 0..12 {
        let query = IndexQuery {
            mode: SearchMode::Dense,
            dense: Some(sample.vector_near(&centers[round % 4], 0.1)),
            depth: 200,
            ..question(&mut sample)
        };
        let query = ask(&caller("a", &[]), &query);
        let found = index.search(&query).await.unwrap();
        assert_same(&found, &expected(&points, &query), &format!("round {round}"));
    }
}
