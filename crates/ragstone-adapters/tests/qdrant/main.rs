//! The Qdrant adapter, over a real socket: against a server of our own that follows Qdrant's rules, and against Qdrant
//! itself where there is one.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(feature = "testing")]

mod agreement;
mod cluster;
mod failures;
mod filters;
mod program;
mod real;
mod search;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ragstone_adapters::index::qdrant::testing::TestServer;
use ragstone_adapters::index::qdrant::{QdrantIndex, QdrantOptions};
use ragstone_core::seam::PointReader;
use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::{index_contract, point_reader_contract};

/// Options for a server, with a collection of its own and without long waits.
pub fn options(url: &str) -> QdrantOptions {
    static COLLECTIONS: AtomicUsize = AtomicUsize::new(0);
    let number = COLLECTIONS.fetch_add(1, Ordering::Relaxed);
    QdrantOptions {
        collection: format!("test-{}-{number}", std::process::id()),
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(2),
        ..QdrantOptions::new(url)
    }
}

/// An index with a collection of its own.
pub fn index(url: &str) -> QdrantIndex {
    QdrantIndex::new(options(url)).unwrap()
}

#[tokio::test]
async fn keeps_the_contract() {
    let server = TestServer::start().await;
    index_contract(|| async { Arc::new(index(&server.url())) as Arc<dyn VectorIndex> }).await;
}

#[tokio::test]
async fn points_can_be_moved() {
    let server = TestServer::start().await;
    point_reader_contract(|| async { both_sides(&server.url()) }).await;
}

/// An index from both of its sides.
pub fn both_sides(url: &str) -> (Arc<dyn VectorIndex>, Arc<dyn PointReader>) {
    let index = Arc::new(index(url));
    (index.clone(), index)
}
