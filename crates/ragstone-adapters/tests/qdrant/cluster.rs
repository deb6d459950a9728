//! Three nodes: the contract, and a node that is killed while points are written and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::ReplicaState;
use ragstone_adapters::index::qdrant::{QdrantIndex, QdrantOptions};
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::index::{DIMENSIONS, ask, question, spec, store_visible};
use ragstone_core::seam::contract::{Sample, acl, assert_same, caller, expected, index_contract};
use ragstone_core::seam::index::IndexPoint;

use crate::options;
use crate::program::Cluster;

const SHARDS: u32 = 3;
const REPLICAS: u32 = 2;
/// Documents written, and points of each.
const DOCUMENTS: usize = 60;
const POINTS: u32 = 20;
/// How long a node may take to have everything again.
const PATIENCE: Duration = Duration::from_secs(90);

/// As a cluster is set up, with the waits that a node's loss needs.
fn of_cluster(url: &str) -> QdrantOptions {
    QdrantOptions {
        shards: Some(SHARDS),
        replicas: Some(REPLICAS),
        first_wait: Duration::from_millis(50),
        longest_wait: Duration::from_secs(2),
        ..options(url)
    }
}

#[tokio::test]
async fn three_nodes_keep_the_contract() {
    let Some(mut cluster) = Cluster::find("the contract against three nodes of Qdrant").await else {
        return;
    };
    let url = cluster.node(0).url();
    let make = || async { Arc::new(QdrantIndex::new(of_cluster(&url)).unwrap()) as Arc<dyn VectorIndex> };
    index_contract(make).await;
}

#[tokio::test]
async fn a_node_that_is_lost_and_found_costs_nothing() {
    let Some(mut cluster) = Cluster::find("a Qdrant cluster that loses a node").await else {
        return;
    };
    let options = of_cluster(&cluster.node(0).url());
    let index: Arc<dyn VectorIndex> = Arc::new(QdrantIndex::new(options.clone()).unwrap());
    index.prepare_index(&spec()).await.unwrap();
    let mut sample = Sample::new(51, DIMENSIONS);
    let mut points: Vec<IndexPoint> = Vec::new();
    for number in 0..DOCUMENTS {
        // It dies between two writes as it may in one: the next finds it gone.
        match number {
            20 => cluster.node(2).kill(),
            40 => cluster.node(2).restart(),
            _ => {}
        }
        let document = of_document(&mut sample, number);
        store_visible(&index, &document).await;
        points.extend(document);
        // A new version of an earlier document takes its place.
        if number % 3 == 2 {
            let old = points.remove(0);
            let (document, generation) = (old.chunk.document_id, old.generation);
            points.retain(|point| (point.chunk.document_id, point.generation) != (document, generation));
            index.delete_generation(document, generation).await.unwrap();
        }
        if number % 10 == 9 {
            is_right(&index, &points, &mut sample, &format!("after {number} documents")).await;
        }
    }
    all_replicas_are_active(&options).await;
    is_right(&index, &points, &mut sample, "with all nodes").await;
    // What only the other two have had is asked of the one that came back.
    cluster.node(1).kill();
    is_right(&index, &points, &mut sample, "without another node").await;
}

fn of_document(sample: &mut Sample, number: usize) -> Vec<IndexPoint> {
    let open = acl("a", &[&["everyone"]]);
    (0..POINTS)
        .map(|ordinal| sample.point(&open, &format!("document-{number}"), 1, ordinal))
        .collect()
}

async fn is_right(index: &Arc<dyn VectorIndex>, points: &[IndexPoint], sample: &mut Sample, case: &str) {
    assert_eq!(index.count_points().await.unwrap(), points.len() as u64, "{case}");
    let query = ask(&caller("a", &[]), &question(sample));
    assert_same(&index.search(&query).await.unwrap(), &expected(points, &query), case);
    let generations = index.list_generations(None).await.unwrap();
    let whole = generations.iter().all(|(_, points)| *points == u64::from(POINTS));
    assert!(whole, "{case}: {generations:?}");
}

async fn all_replicas_are_active(options: &QdrantOptions) {
    let client = Qdrant::from_url(&options.url)
        .skip_compatibility_check()
        .build()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let info = client.collection_cluster_info(&options.collection).await.unwrap();
        let local = info.local_shards.iter().map(|shard| shard.state());
        let states: Vec<ReplicaState> = local
            .chain(info.remote_shards.iter().map(|shard| shard.state()))
            .collect();
        let active = states.iter().filter(|state| **state == ReplicaState::Active);
        if active.count() == (SHARDS * REPLICAS) as usize {
            return;
        }
        assert!(Instant::now() < end, "{states:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
