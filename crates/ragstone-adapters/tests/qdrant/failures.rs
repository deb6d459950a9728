//! What passes is tried again, what does not is told, and nothing is half believed.

use std::sync::Arc;
use std::time::Duration;

use ragstone_adapters::index::qdrant::{ApiKey, QdrantIndex, QdrantOptions};
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::index::{DIMENSIONS, ask, question, spec, store_visible};
use ragstone_core::seam::contract::{Sample, acl, assert_same, caller, expected};
use ragstone_core::seam::index::{IndexError, IndexPoint};

use crate::{index, options};
use ragstone_adapters::index::qdrant::testing::{Collection, Fault, TestServer};

/// More than the client's own second try and all of ours.
const MANY: usize = 50;

fn points(count: u32) -> Vec<IndexPoint> {
    let mut sample = Sample::new(41, DIMENSIONS);
    (0..count)
        .map(|n| sample.point(&acl("a", &[&["everyone"]]), "x", 1, n))
        .collect()
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let server = TestServer::start().await;
    let index: Arc<dyn VectorIndex> = Arc::new(index(&server.url()));
    let points = points(20);
    server.fail("health_check", [Fault::Unavailable; 2]);
    server.fail("get_collection", [Fault::Unavailable; 2]);
    server.fail("create_collection", [Fault::Lost]);
    server.fail("create_field_index", [Fault::Lost, Fault::Unavailable, Fault::Late]);
    server.fail(
        "upsert",
        [Fault::Unavailable, Fault::Lost, Fault::Unavailable, Fault::Late],
    );
    server.fail("set_payload", [Fault::Unavailable, Fault::Lost, Fault::Late]);
    store_visible(&index, &points).await;
    assert_eq!(index.count_points().await.unwrap(), 20);
    for read in ["query_batch", "scroll", "get", "count"] {
        server.fail(read, [Fault::Unavailable; 2]);
    }
    let query = ask(&caller("a", &[]), &question(&mut Sample::new(42, DIMENSIONS)));
    assert_same(
        &index.search(&query).await.unwrap(),
        &expected(&points, &query),
        "after all",
    );
    server.fail("delete", [Fault::Lost, Fault::Unavailable, Fault::Late]);
    index
        .delete_generation(points[0].chunk.document_id, points[0].generation)
        .await
        .unwrap();
    assert_eq!(index.count_points().await.unwrap(), 0);
}

#[tokio::test]
async fn what_does_not_pass_is_unavailable() {
    let server = TestServer::start().await;
    let index: Arc<dyn VectorIndex> = Arc::new(index(&server.url()));
    let points = points(3);
    store_visible(&index, &points).await;
    let query = ask(&caller("a", &[]), &question(&mut Sample::new(42, DIMENSIONS)));
    server.fail("query_batch", [Fault::Unavailable; MANY]);
    server.fail("upsert", [Fault::Late; MANY]);
    let searched = index.search(&query).await;
    assert!(matches!(searched, Err(IndexError::Unavailable { .. })), "{searched:?}");
    let stored = index.upsert_points(points).await;
    assert!(matches!(stored, Err(IndexError::Unavailable { .. })), "{stored:?}");
}

#[tokio::test]
async fn a_refusal_is_told_at_once() {
    let server = TestServer::start().await;
    let index: Arc<dyn VectorIndex> = Arc::new(index(&server.url()));
    store_visible(&index, &points(3)).await;
    server.fail("upsert", [Fault::Refused]);
    let refused = index.upsert_points(points(3)).await;
    assert!(matches!(refused, Err(IndexError::Mismatch { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_silent_server_is_not_waited_for() {
    let server = TestServer::start().await;
    let hasty = QdrantOptions {
        timeout: Duration::from_millis(20),
        read_retries: 1,
        ..options(&server.url())
    };
    let index: Arc<dyn VectorIndex> = Arc::new(QdrantIndex::new(hasty).unwrap());
    server.fail("health_check", [Fault::Silent; MANY]);
    let refused = index.prepare_index(&spec()).await;
    assert!(matches!(refused, Err(IndexError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn no_server_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let index = index(&format!("http://127.0.0.1:{port}"));
    let refused = index.prepare_index(&spec()).await;
    assert!(matches!(refused, Err(IndexError::Unavailable { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_not_told() {
    let server = TestServer::start().await;
    server.state().api_key = Some("right".into());
    let with_key = |key: Option<&str>| QdrantOptions {
        api_key: key.map(ApiKey::new),
        ..options(&server.url())
    };
    QdrantIndex::new(with_key(Some("right")))
        .unwrap()
        .prepare_index(&spec())
        .await
        .unwrap();
    for key in [None, Some("wrong")] {
        let refused = QdrantIndex::new(with_key(key))
            .unwrap()
            .prepare_index(&spec())
            .await
            .unwrap_err();
        assert!(matches!(refused, IndexError::Mismatch { .. }), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("wrong"));
    }
}

#[tokio::test]
async fn an_old_server_and_another_ones_collection_are_refused() {
    let server = TestServer::start().await;
    let options = options(&server.url());
    let index = QdrantIndex::new(options.clone()).unwrap();
    server.state().version = "1.16.3".into();
    let refused = index.prepare_index(&spec()).await.unwrap_err();
    assert!(refused.to_string().contains("1.16.3"), "{refused}");
    server.state().version = "1.17.0".into();
    server
        .state()
        .collections
        .insert(options.collection.clone(), Collection::default());
    let refused = index.prepare_index(&spec()).await.unwrap_err();
    assert!(matches!(refused, IndexError::Mismatch { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&options.collection), "{refused}");
}

#[tokio::test]
async fn a_lost_collection_is_damage() {
    let server = TestServer::start().await;
    let index: Arc<dyn VectorIndex> = Arc::new(index(&server.url()));
    store_visible(&index, &points(3)).await;
    server.state().collections.clear();
    let query = ask(&caller("a", &[]), &question(&mut Sample::new(42, DIMENSIONS)));
    let lost = index.search(&query).await;
    assert!(matches!(lost, Err(IndexError::Damaged { .. })), "{lost:?}");
}

#[tokio::test]
async fn a_payload_that_is_not_ours_is_damage() {
    let server = TestServer::start().await;
    let index: Arc<dyn VectorIndex> = Arc::new(index(&server.url()));
    let points = points(3);
    store_visible(&index, &points).await;
    for collection in server.state().collections.values_mut() {
        for point in collection.points.values_mut() {
            point.payload.remove("acl");
        }
    }
    let damaged = index.get_chunks(&caller("a", &[]), &[points[0].id], false).await;
    assert!(matches!(damaged, Err(IndexError::Damaged { .. })), "{damaged:?}");
}
