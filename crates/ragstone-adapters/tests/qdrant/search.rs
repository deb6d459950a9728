//! How a search asks: how often, and how it fills lists that Qdrant cannot fill by itself.

use std::sync::Arc;

use ragstone_core::access::ScopedQuery;
use ragstone_core::filter::MetadataFilter;
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::index::{DIMENSIONS, ask, question, spec, store_visible};
use ragstone_core::seam::contract::{Sample, acl, assert_same, caller, expected};
use ragstone_core::seam::index::{IndexPoint, IndexQuery};
use serde_json::json;

use crate::{index, options};
use ragstone_adapters::index::qdrant::QdrantIndex;
use ragstone_adapters::index::qdrant::testing::{TestServer, Traffic};

/// Points of one document that everyone may read.
fn open_points(sample: &mut Sample, count: u32) -> Vec<IndexPoint> {
    let open = acl("a", &[&["everyone"]]);
    (0..count).map(|n| sample.point(&open, "x", 1, n)).collect()
}

/// What one search asks for: how many rounds, the calls in order of name, and what it is given.
async fn cost(
    server: &TestServer,
    index: &QdrantIndex,
    query: &ScopedQuery<IndexQuery>,
) -> (u64, Vec<&'static str>, Traffic) {
    server.calls();
    server.traffic();
    let before = index.search_rounds();
    index.search(query).await.unwrap();
    let mut calls = server.calls();
    calls.sort_unstable();
    (index.search_rounds() - before, calls, server.traffic())
}

/// Stores points of one document, and shows them at once.
async fn store(index: &QdrantIndex, points: &[IndexPoint]) {
    index.prepare_index(&spec()).await.unwrap();
    index.upsert_points(points.to_vec()).await.unwrap();
    let (document, generation) = (points[0].chunk.document_id, points[0].generation);
    index.publish_generation(document, generation).await.unwrap();
}

#[tokio::test]
async fn a_search_takes_two_rounds_and_reads_no_payloads() {
    let server = TestServer::start().await;
    let index = index(&server.url());
    let mut sample = Sample::new(31, DIMENSIONS);
    let mut points = open_points(&mut sample, 400);
    for (n, point) in points.iter_mut().enumerate() {
        // The gate is guessed rightly, and few points share a pair.
        point.gate = 1.0;
        point.lexical.bigrams.retain(|_| n % 20 == 0);
    }
    store(&index, &points).await;
    let asked = IndexQuery {
        depth: 100,
        ..question(&mut sample)
    };
    let query = ask(&caller("a", &[]), &asked);
    let (rounds, calls, _) = cost(&server, &index, &query).await;
    assert_eq!(rounds, 4, "the size of the scope, and the gates, are not known yet");
    assert_eq!(calls, ["count", "get", "query_batch", "query_batch", "scroll"]);
    let (rounds, calls, traffic) = cost(&server, &index, &query).await;
    assert_eq!(rounds, 2);
    assert_eq!(calls, ["get", "query_batch", "query_batch"]);
    let expected = Traffic {
        queries: 5,
        points: 368,
        payloads: 0,
        // Eleven points may be among the ten best: a dense vector and a sparse one each.
        vectors: 22,
        bytes: 2_112,
    };
    assert_eq!(traffic, expected, "lists, what they lack, and the vectors of the best");
}

#[tokio::test]
async fn a_scope_no_larger_than_a_list_lacks_no_scores() {
    let server = TestServer::start().await;
    let index = index(&server.url());
    let mut sample = Sample::new(37, DIMENSIONS);
    store(&index, &open_points(&mut sample, 20)).await;
    let query = ask(&caller("a", &[]), &question(&mut sample));
    index.search(&query).await.unwrap();
    let (rounds, calls, traffic) = cost(&server, &index, &query).await;
    assert_eq!((rounds, calls), (2, vec!["get", "query_batch"]));
    assert_eq!((traffic.queries, traffic.payloads), (3, 0));
}

#[tokio::test]
async fn what_is_remembered_of_a_point_grants_nothing() {
    let server = TestServer::start().await;
    let options = options(&server.url());
    let [ours, theirs] = [&options; 2].map(|options| QdrantIndex::new(options.clone()).unwrap());
    let (ours, theirs): (Arc<dyn VectorIndex>, Arc<dyn VectorIndex>) = (Arc::new(ours), Arc::new(theirs));
    let mut sample = Sample::new(38, DIMENSIONS);
    let points = open_points(&mut sample, 3);
    store_visible(&ours, &points).await;
    let (document, generation) = (points[0].chunk.document_id, points[0].generation);
    let query = ask(&caller("a", &["group:g"]), &question(&mut sample));
    let revisions = async || {
        let hits = ours.search(&query).await.unwrap().hits;
        hits.iter().map(|hit| hit.acl_revision).collect::<Vec<_>>()
    };
    assert_eq!(revisions().await, [1; 3]);
    let set = async |index: &Arc<dyn VectorIndex>, sets: &[&[&str]], revision| {
        let (acl, fields) = (acl("a", sets), &points[0].fields);
        let set = index.set_access(document, generation, &acl, revision, fields);
        set.await.unwrap();
    };
    set(&theirs, &[&["group:h"]], 2).await;
    assert!(revisions().await.is_empty(), "another process took it away");
    set(&theirs, &[&["group:g"]], 3).await;
    assert_eq!(
        revisions().await,
        [1; 3],
        "given back; what was read before is never newer than the list"
    );
    set(&ours, &[&["group:g"]], 4).await;
    assert_eq!(revisions().await, [4; 3], "this process knows what it changed");
    let five: &[&[&str]] = &[&["group:g"], &["group:g"], &["group:g"], &["group:g"], &["group:h"]];
    set(&ours, five, 5).await;
    assert!(revisions().await.is_empty(), "the fifth set is looked at here");
    set(&theirs, &[five[0], five[0], five[0], five[0], five[0]], 6).await;
    assert_eq!(revisions().await, [6; 3], "and each time anew");
}

#[tokio::test]
async fn more_ties_than_were_fetched_are_fetched() {
    let server = TestServer::start().await;
    ties_are_fetched(&server.url()).await;
}

/// More ties than one request brings.
pub async fn ties_are_fetched(url: &str) {
    let index: Arc<dyn VectorIndex> = Arc::new(index(url));
    let mut sample = Sample::new(32, DIMENSIONS);
    let open = acl("a", &[&["everyone"]]);
    let mut points: Vec<IndexPoint> = (0..600).map(|n| sample.point(&open, "x", 1, n)).collect();
    let model = points[0].clone();
    for point in &mut points {
        point.dense.clone_from(&model.dense);
        point.lexical = model.lexical.clone();
    }
    store_visible(&index, &points[..1]).await;
    index.upsert_points(points.clone()).await.unwrap();
    index
        .publish_generation(points[0].chunk.document_id, points[0].generation)
        .await
        .unwrap();
    let query = ask(&caller("a", &[]), &question(&mut sample));
    assert_same(
        &index.search(&query).await.unwrap(),
        &expected(&points, &query),
        "600 ties",
    );
}

#[tokio::test]
async fn lists_are_filled_when_points_turn_out_not_to_be_the_callers() {
    let server = TestServer::start().await;
    lists_are_filled(&server.url()).await;
}

/// Points that the server cannot be asked to leave out.
pub async fn lists_are_filled(url: &str) {
    let index: Arc<dyn VectorIndex> = Arc::new(index(url));
    let mut sample = Sample::new(33, DIMENSIONS);
    let names = ["group:a", "group:b", "group:c", "group:d", "group:e"];
    let sets = |last: &'static str| {
        let sets = [&names[..1], &names[1..2], &names[2..3], &names[3..4], &[last]].map(|set| set.to_vec());
        let sets: Vec<&[&str]> = sets.iter().map(Vec::as_slice).collect();
        acl("a", &sets)
    };
    let mut points = Vec::new();
    for n in 0..400 {
        let (held, uri) = if n % 20 == 0 {
            ("group:e", "mine")
        } else {
            ("group:f", "theirs")
        };
        let mut point = sample.point(&sets(held), uri, 1, n);
        point.fields.insert("day".into(), format!("2024-{:02}", n % 12).into());
        points.push(point);
    }
    store_visible(&index, &points).await;
    let query = ask(&caller("a", &names), &question(&mut sample));
    assert_same(
        &index.search(&query).await.unwrap(),
        &expected(&points, &query),
        "five sets",
    );
    let late = MetadataFilter::from_json(&json!({"type": "gte", "key": "day", "value": "2024-08"})).unwrap();
    let query = ScopedQuery::for_contract(query.scope(), None, Some(late), query.query().clone());
    assert_same(
        &index.search(&query).await.unwrap(),
        &expected(&points, &query),
        "and a range of days",
    );
}

#[tokio::test]
async fn a_large_scope_is_walked_and_a_small_one_compared() {
    let server = TestServer::start().await;
    let options = options(&server.url());
    let index: Arc<dyn VectorIndex> = Arc::new(QdrantIndex::new(options.clone()).unwrap());
    let mut sample = Sample::new(34, DIMENSIONS);
    let points: Vec<IndexPoint> = (0..30)
        .map(|n| sample.point(&acl("a", &[&["everyone"]]), "x", 1, n))
        .collect();
    store_visible(&index, &points).await;
    let walking = ragstone_adapters::index::qdrant::QdrantOptions {
        exact_below: 29,
        ..options
    };
    let walking = QdrantIndex::new(walking).unwrap();
    let query = ask(&caller("a", &[]), &question(&mut sample));
    index.search(&query).await.unwrap();
    assert_eq!(server.state().walks, 0);
    walking.search(&query).await.unwrap();
    assert_eq!(
        server.state().walks,
        1,
        "the list; scores of candidates are always exact"
    );
    server.calls();
    for _ in 0..3 {
        walking.search(&query).await.unwrap();
    }
    assert_eq!(server.state().walks, 4);
    assert!(
        !server.calls().contains(&"count"),
        "the size of a scope is remembered for a while"
    );
}

#[tokio::test]
async fn another_process_learns_the_spec_from_the_collection() {
    let server = TestServer::start().await;
    let options = options(&server.url());
    let (first, second) = (
        QdrantIndex::new(options.clone()).unwrap(),
        QdrantIndex::new(options).unwrap(),
    );
    let mut sample = Sample::new(35, DIMENSIONS);
    let spec = spec();
    let both = tokio::join!(first.prepare_index(&spec), second.prepare_index(&spec));
    both.0.unwrap();
    both.1.unwrap();
    let first: Arc<dyn VectorIndex> = Arc::new(first);
    let points = [sample.point(&acl("a", &[&["everyone"]]), "x", 1, 0)];
    store_visible(&first, &points).await;
    let query = ask(&caller("a", &[]), &question(&mut sample));
    assert_eq!(second.search(&query).await.unwrap().hits.len(), 1);
    let wrong = IndexQuery {
        dense: Some(vec![1.0]),
        ..query.query().clone()
    };
    assert!(second.search(&ask(query.scope(), &wrong)).await.is_err());
}

#[tokio::test]
async fn many_points_are_stored_in_parts_and_listed_in_pages() {
    let server = TestServer::start().await;
    points_are_stored_in_parts(&server.url()).await;
    let stored = server.calls().into_iter().filter(|call| *call == "upsert");
    assert_eq!(stored.count(), 5_300_usize.div_ceil(256));
}

/// More points than one request takes or gives.
pub async fn points_are_stored_in_parts(url: &str) {
    let index: Arc<dyn VectorIndex> = Arc::new(index(url));
    let mut sample = Sample::new(36, 2);
    let open = acl("a", &[&["everyone"]]);
    let points: Vec<IndexPoint> = (0..5_300)
        .map(|n| {
            let mut point = sample.point(&open, if n < 5_200 { "x" } else { "y" }, 1, n);
            point.dense = None;
            point
        })
        .collect();
    let spec = ragstone_core::seam::index::IndexSpec {
        embedder: None,
        dimensions: None,
        lexical: "l".into(),
    };
    index.prepare_index(&spec).await.unwrap();
    index.upsert_points(points.clone()).await.unwrap();
    let (x, y) = (points[0].chunk.document_id, points[5_299].chunk.document_id);
    let mut expected = vec![((x, points[0].generation), 5_200), ((y, points[0].generation), 100)];
    expected.sort();
    assert_eq!(index.list_generations(None).await.unwrap(), expected);
    assert_eq!(
        index.list_generations(Some(y)).await.unwrap(),
        [((y, points[0].generation), 100)]
    );
    assert_eq!(index.count_points().await.unwrap(), 5_300);
}
