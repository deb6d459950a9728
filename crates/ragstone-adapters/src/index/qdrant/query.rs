//! Builds the queries of a search and parses their answers.
//!
//! Invariant: a query for a list or for scores requests no payload: the server parses a whole one to return a part of
//! it.

use qdrant_client::qdrant::{
    BatchResult, Condition, DenseVector, Filter, PayloadIncludeSelector, Query, QueryBatchPoints, QueryPoints,
    VectorInput, WithPayloadSelector, query, vector_input, with_payload_selector::SelectorOptions,
};
use ragstone_core::id::PointId;
use ragstone_core::seam::index::IndexError;

use super::leg::SearchLeg;
use super::lists::LegRanking;
use super::payload::{DENSE, LEXICAL, parse_point_id, qdrant_id};
use super::server::QdrantClient;

/// Query for the best `limit` points of a leg that match `filter`.
pub(super) fn nearest_query(server: &QdrantClient, leg: &SearchLeg, filter: &Filter, limit: usize) -> QueryPoints {
    let (using, variant) = match leg {
        SearchLeg::Dense { vector, .. } => {
            let dense = DenseVector { data: vector.clone() };
            (DENSE, vector_input::Variant::Dense(dense))
        }
        SearchLeg::Lexical(terms) => (LEXICAL, vector_input::Variant::Sparse(terms.clone())),
    };
    let nearest = VectorInput { variant: Some(variant) };
    QueryPoints {
        collection_name: server.collection_name(),
        query: Some(Query {
            variant: Some(query::Variant::Nearest(nearest)),
        }),
        using: Some(using.to_owned()),
        filter: Some(filter.clone()),
        params: leg.search_params(server.options.graph_breadth),
        limit: Some(limit as u64),
        ..QueryPoints::default()
    }
}

/// Runs queries in one request and returns answers in their order; no queries make no request.
pub(super) async fn run_queries(
    server: &QdrantClient,
    what: &str,
    queries: Vec<QueryPoints>,
) -> Result<Vec<BatchResult>, IndexError> {
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let request = QueryBatchPoints {
        collection_name: server.collection_name(),
        query_points: queries,
        ..QueryBatchPoints::default()
    };
    let answer = server.send_read(what, |client| {
        let request = request.clone();
        async move { client.query_batch(request).await }
    });
    Ok(answer.await?.result)
}

/// The ranking from an answer to a query for `limit` points. Points that share no term with a lexical leg are dropped.
pub(super) fn parse_ranking(leg: &SearchLeg, answer: &BatchResult, limit: usize) -> Result<LegRanking, IndexError> {
    let all_count = matches!(leg, SearchLeg::Dense { .. });
    let entries = answer.result.iter().filter(|found| all_count || found.score > 0.0);
    let entries = entries.map(|found| Ok((parse_point_id(found.id.as_ref())?, f64::from(found.score))));
    let entries: Result<Vec<(PointId, f64)>, IndexError> = entries.collect();
    let entries = entries?;
    let exhausted = entries.len() < limit;
    Ok(LegRanking::new(entries, exhausted))
}

/// Condition that matches only these points.
pub(super) fn only_points(points: &[PointId]) -> Condition {
    Condition::has_id(points.iter().copied().map(qdrant_id))
}

/// Selector for these fields of the payload.
pub(super) fn include_fields(fields: Vec<&str>) -> WithPayloadSelector {
    let fields = fields.into_iter().map(str::to_owned).collect();
    WithPayloadSelector {
        selector_options: Some(SelectorOptions::Include(PayloadIncludeSelector { fields })),
    }
}
