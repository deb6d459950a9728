//! `POST /api/v1/search`: the passages that match a question best.

use std::sync::Arc;

use axum::extract::State;
use ragstone_core::filter::MetadataFilter;
use ragstone_core::id::CollectionName;
use ragstone_core::library::{MAX_PASSAGES, SearchRequest};
use ragstone_core::seam::index::SearchMode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::RouterState;
use super::audit::AuditRecord;
use super::auth::RequireReader;
use super::body::{NoticeBody, PassageBody, passage_bodies};
use super::extract::Json;
use super::problem::{ApiProblem, Code};

pub(super) const PROBLEMS: &[Code] = &[
    Code::BadJson,
    Code::TooLarge,
    Code::MediaType,
    Code::BadBody,
    Code::BadFilter,
    Code::BadQuestion,
    Code::CatalogueUnavailable,
    Code::IndexUnavailable,
    Code::EmbedderUnavailable,
];

/// A search request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Search)]
pub(super) struct SearchBody {
    /// A question or keywords. The name `question` is accepted too.
    #[serde(alias = "question")]
    query: String,
    /// Maximum number of passages; clamped to 1 to 100. Default: set by the server.
    limit: Option<usize>,
    /// Search only this collection. Default: all collections.
    #[schema(value_type = Option<String>)]
    collection: Option<CollectionName>,
    /// Filter: a comparison `{type: eq|ne|gt|gte|lt|lte|in|nin|prefix, key, value}` or a combination
    /// `{type: and|or|not, filters: […]}`. Keys are those of the metadata, and `document_id`, `source`, `uri`,
    /// `department_id` and `created_at`.
    #[schema(value_type = Option<Object>)]
    filter: Option<Value>,
    /// `hybrid` (default), `dense` (vectors only) or `lexical` (words only).
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    mode: SearchMode,
}

/// The result of a search.
#[derive(Serialize, ToSchema)]
pub(super) struct SearchResponse {
    /// The passages, best first.
    passages: Vec<PassageBody>,
    /// What the caller should know, such as a search by words only.
    notices: Vec<NoticeBody>,
}

/// Returns the passages that match best, among those that the caller may read.
#[utoipa::path(post, path = "/api/v1/search", tag = "ask", request_body = SearchBody,
    responses((status = 200, description = "The passages, best first.", body = SearchResponse)))]
pub(super) async fn search_passages(
    State(app): State<Arc<RouterState>>,
    RequireReader(principal): RequireReader,
    trail: AuditRecord,
    Json(body): Json<SearchBody>,
) -> Result<axum::Json<SearchResponse>, ApiProblem> {
    check_question(&app, &body.query)?;
    trail.set_question(&body.query);
    let request = SearchRequest {
        collection: body.collection,
        filter: parse_filter(body.filter.as_ref())?,
        mode: body.mode,
        ..SearchRequest::new(body.query, passage_limit(&app, body.limit))
    };
    let found = app.library.search(&principal.scope(), &request).await?;
    found
        .passages
        .iter()
        .for_each(|passage| trail.add_target(passage.chunk.document_id));
    Ok(axum::Json(SearchResponse {
        passages: passage_bodies(&found.passages),
        notices: found.notices.iter().map(NoticeBody::from).collect(),
    }))
}

/// Fails if a question is longer than `settings.question_bytes`.
pub(super) fn check_question(app: &RouterState, question: &str) -> Result<(), ApiProblem> {
    let (bytes, most) = (question.len(), app.settings.question_bytes);
    match bytes > most {
        true => Err(ApiProblem::new(
            Code::BadQuestion,
            format!("the question has {bytes} bytes, more than {most}"),
        )),
        false => Ok(()),
    }
}

/// The number of passages: as requested or the default, clamped to the allowed range.
pub(super) fn passage_limit(app: &RouterState, asked: Option<usize>) -> usize {
    asked.unwrap_or(app.settings.passages).clamp(1, MAX_PASSAGES)
}

/// Parses a filter; null counts as absent. The problem of a mistake has a pointer to its place.
pub(super) fn parse_filter(filter: Option<&Value>) -> Result<Option<MetadataFilter>, ApiProblem> {
    Ok(filter
        .filter(|filter| !filter.is_null())
        .map(MetadataFilter::from_json)
        .transpose()?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::http::test_app::TestApp;

    #[tokio::test]
    async fn search_finds_what_the_filter_leaves_and_names_its_mistakes() {
        let app = TestApp::new();
        for (uri, year) in [("old", 2020), ("new", 2024)] {
            let body = json!({"uri": uri, "text": "The turbine needs oil.", "metadata": {"year": year}});
            app.post("/api/v1/documents", &body).send().await;
        }
        app.work().await;
        let search = async |body: Value| app.post("/api/v1/search", &body).send().await;
        let filter = json!({"type": "gt", "key": "year", "value": 2022});
        for name in ["query", "question"] {
            let found = search(json!({name: "turbine oil", "filter": filter})).await.json();
            let passage = &found["passages"][0];
            assert_eq!(found["passages"].as_array().unwrap().len(), 1);
            assert_eq!(
                (&passage["uri"], &passage["range"], &passage["page"]),
                (&json!("new"), &json!([0, 22]), &json!(1))
            );
            assert_eq!(passage["ranks"], json!({"dense": null, "lexical": 1}));
            assert_eq!(found["notices"][0]["code"], "lexical_only");
        }
        let all = search(json!({"query": "turbine", "filter": null, "limit": 1_000, "mode": "lexical"}))
            .await
            .json();
        assert_eq!(all["passages"].as_array().unwrap().len(), 2);
        let wrong = json!({"type": "and", "filters": [filter, {"type": "near", "key": "year", "value": 1}]});
        let wrong = search(json!({"query": "turbine", "filter": wrong}))
            .await
            .problem(422, "bad_filter");
        assert_eq!(wrong["pointer"], "/filter/filters/1/type");
        search(json!({"query": " "})).await.problem(422, "bad_question");
        search(json!({})).await.problem(422, "bad_body");
        search(json!({"query": "a", "mode": "fuzzy"}))
            .await
            .problem(422, "bad_body");
        search(json!({"query": "a", "mode": "dense"}))
            .await
            .problem(503, "embedder_unavailable");
        app.get("/api/v1/search")
            .send()
            .await
            .problem(405, "method_not_allowed");
    }
}
