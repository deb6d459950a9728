//! How a search asks: how often, and how it fills lists that Qdrant cannot fill by itself.

use std::sync::Arc;

use ragstone_core::access::ScopedQuery;
use ragstone_core::filter::Filter;
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::index::{DIMENSIONS, ask, question, spec, store_visible};
use ragstone_core::seam::contract::{Sample, acl, assert_same, caller, expected};
use ragstone_core::seam::index::{IndexQuery, Point};
use serde_json::json;

use crate::{index, options};
use ragstone_adapters::index::qdrant::QdrantIndex;
use ragstone_adapters::index::qdrant::testing::TestServer;

#[tokio::test]
async fn a_search_takes_four_rounds() {
    let server = TestServer::start().await;
    let index: Arc<dyn VectorIndex> = Arc::new(index(&server.url()));
    let mut sample = Sample::new(31, DIMENSIONS);
    let points: Vec<Point> = (0..50)
        .map(|n| sample.point(&acl("a", &[&["everyone"]]), "x", 1, n))
        .collect();
    store_visible(&index, &points).await;
    server.calls();
    let query = ask(&caller("a", &[]), &question(&mut sample));
    index.search(&query).await.unwrap();
    let mut calls = server.calls();
    assert_eq!(calls.pop(), Some("get"), "the vectors of the best");
    assert_eq!(calls.pop(), Some("query_batch"), "the true scores of the union");
    calls[..2].sort_unstable();
    assert_eq!(
        calls,
        ["count", "query", "query", "query"],
        "gates and scope, then both lists"
    );
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
    let mut points: Vec<Point> = (0..600).map(|n| sample.point(&open, "x", 1, n)).collect();
    let model = points[0].clone();
    for point in &mut points {
        point.dense.clone_from(&model.dense);
        point.lexical = model.lexical.clone();
    }
    store_visible(&index, &points[..1]).await;
    index.upsert(points.clone()).await.unwrap();
    index
        .publish(points[0].chunk.document_id, points[0].generation)
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
        point
            .fields
            .insert("day".into(), format!("2024-{:02}", n % 12).into());
        points.push(point);
    }
    store_visible(&index, &points).await;
    let query = ask(&caller("a", &names), &question(&mut sample));
    assert_same(
        &index.search(&query).await.unwrap(),
        &expected(&points, &query),
        "five sets",
    );
    let late = Filter::parse(&json!({"type": "gte", "key": "day", "value": "2024-08"})).unwrap();
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
    let points: Vec<Point> = (0..30)
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
    let both = tokio::join!(first.ensure(&spec), second.ensure(&spec));
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
    let points: Vec<Point> = (0..5_300)
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
    index.ensure(&spec).await.unwrap();
    index.upsert(points.clone()).await.unwrap();
    let (x, y) = (points[0].chunk.document_id, points[5_299].chunk.document_id);
    let mut expected = vec![
        ((x, points[0].generation), 5_200),
        ((y, points[0].generation), 100),
    ];
    expected.sort();
    assert_eq!(index.generations(None).await.unwrap(), expected);
    assert_eq!(
        index.generations(Some(y)).await.unwrap(),
        [((y, points[0].generation), 100)]
    );
    assert_eq!(index.count().await.unwrap(), 5_300);
}
