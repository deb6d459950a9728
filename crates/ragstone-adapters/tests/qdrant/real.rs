//! Qdrant itself, one node of it: the contract, and what our own server claims of its rules.

use std::sync::Arc;

use ragstone_core::seam::VectorIndex;
use ragstone_core::seam::contract::{index_contract, point_reader_contract};

use crate::program::Server;
use crate::{both_sides, index};
use crate::{filters, search};

#[tokio::test]
async fn qdrant_keeps_the_contract() {
    let Some(server) = Server::find("the contract against Qdrant").await else {
        return;
    };
    index_contract(|| async { Arc::new(index(server.url())) as Arc<dyn VectorIndex> }).await;
    point_reader_contract(|| async { both_sides(server.url()) }).await;
}

#[tokio::test]
async fn qdrant_follows_the_rules_of_the_test_server() {
    let Some(server) = Server::find("the rules of the test server against Qdrant").await else {
        return;
    };
    filters::a_filter_means_the_same(server.url()).await;
    search::ties_are_fetched(server.url()).await;
    search::lists_are_filled(server.url()).await;
    search::points_are_stored_in_parts(server.url()).await;
}
