//! Extractors for bodies, query parameters and ids; invalid input becomes a problem that names its place.

use std::str::FromStr;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use futures::StreamExt;
use ragstone_core::seam::catalogue::PageRequest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::RouterState;
use super::limits::linger;
use super::problem::{ApiProblem, Code};
use super::unknown::{self, unknown_field, unknown_parameter};

/// Items of a list page if the request sets no limit.
const DEFAULT_PAGE_ITEMS: usize = 50;
/// Maximum number of items of a list page.
const MAX_PAGE_ITEMS: usize = 1_000;

/// Extractor for a JSON body of at most `settings.json_bytes`, declared as JSON and not compressed.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<RouterState>> for Json<T> {
    type Rejection = ApiProblem;
    async fn from_request(request: Request, app: &Arc<RouterState>) -> Result<Self, ApiProblem> {
        if !is_json(request.headers()) {
            let sent = header_text(request.headers(), &CONTENT_TYPE).unwrap_or("missing");
            let detail = format!("Content-Type is {sent}, not application/json");
            return Err(ApiProblem::new(Code::MediaType, detail));
        }
        check_uncompressed(request.headers())?;
        let reading = read_body(request, app.settings.json_bytes);
        let body = match tokio::time::timeout(app.settings.request_timeout, reading).await {
            Err(_) => {
                return Err(ApiProblem::new(Code::Interrupted, "the body did not arrive in time"));
            }
            Ok(body) => body?,
        };
        read_json(&body).map(Self)
    }
}

/// Parses a whole JSON body. The problem of a mistake has a pointer to its place.
pub(super) fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiProblem> {
    let mut text = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let mut path: Vec<_> = error.path().iter().map(pointer_segment).collect();
        let error = error.into_inner();
        match unknown::parse_unknown_field(&error.to_string()) {
            Some((name, known)) if error.is_data() => {
                path.pop_if(|last| *last == format!("/{}", unknown::escape_pointer(name)));
                unknown_field(Code::BadBody, &path.concat(), name, &known)
            }
            _ => json_problem(&error).with_optional_pointer(path.concat()),
        }
    })?;
    text.end().map(|()| read).map_err(|error| json_problem(&error))
}

/// One segment of the path to a mistake, as part of a JSON pointer.
fn pointer_segment(segment: &serde_path_to_error::Segment) -> String {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", unknown::escape_pointer(key)),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    }
}

/// Extractor for an optional JSON body; an empty body gives the default.
pub(super) struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<RouterState>> for OptionalJson<T> {
    type Rejection = ApiProblem;
    async fn from_request(request: Request, app: &Arc<RouterState>) -> Result<Self, ApiProblem> {
        match request.body().size_hint().exact() {
            Some(0) => Ok(Self(T::default())),
            _ => Json::from_request(request, app).await.map(|Json(body)| Self(body)),
        }
    }
}

/// Refuses compressed bodies, because their length does not limit their decompressed size.
pub(super) fn check_uncompressed(headers: &HeaderMap) -> Result<(), ApiProblem> {
    match header_text(headers, &CONTENT_ENCODING) {
        Some(encoding) if !encoding.trim().eq_ignore_ascii_case("identity") => Err(ApiProblem::new(
            Code::MediaType,
            format!("Content-Encoding is {encoding}; bodies are sent as they are"),
        )),
        _ => Ok(()),
    }
}

/// Whether `Content-Type` declares JSON: `application/json` or `application/*+json`.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let declared = header_text(headers, &CONTENT_TYPE).unwrap_or_default();
    let essence = declared
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json")
}

/// The value of a header; `None` if it is absent or not visible ASCII.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `Content-Length` is greater than `limit`.
pub(super) fn declares_more_than(headers: &HeaderMap, limit: u64) -> bool {
    let declared = header_text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    declared.is_some_and(|length| length > limit)
}

/// Reads a whole body. One that declares more than `limit` bytes is refused before it is read, others when they exceed
/// it.
async fn read_body(request: Request, limit: usize) -> Result<Vec<u8>, ApiProblem> {
    let (parts, body) = request.into_parts();
    let too_large = |rest: Body| {
        linger::drain_body(&parts.headers, rest);
        ApiProblem::new(Code::TooLarge, format!("the body has more than {limit} bytes"))
    };
    if declares_more_than(&parts.headers, limit as u64) {
        return Err(too_large(body));
    }
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiProblem::new(Code::Interrupted, "the body broke off"))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(Body::from_stream(chunks)));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Whether an error means that the client disconnected before the body was complete.
pub(super) fn is_disconnected(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<hyper::Error>())
}

/// Malformed JSON is `bad_json`; valid JSON of the wrong shape is `bad_body`.
pub(super) fn json_problem(error: &serde_json::Error) -> ApiProblem {
    let code = if error.is_data() { Code::BadBody } else { Code::BadJson };
    ApiProblem::new(code, error.to_string())
}

/// Extractor for query parameters; an unknown parameter is refused.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiProblem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|error| {
                let text = error.body_text();
                match unknown::parse_unknown_field(&text) {
                    Some((name, known)) => unknown_parameter(name, &known),
                    None => ApiProblem::new(Code::BadQuery, text),
                }
            })
    }
}

/// Extractor for path parameters. A segment that is not UTF-8 gives 404.
pub(super) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(parts)| Self(parts))
            .map_err(|_| ApiProblem::not_found("path"))
    }
}

/// For optional nullable fields: a null becomes `Some(None)`; with `default`, an absent field is `None`.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Parses an id from the path. Invalid text gives 404, because it names nothing.
pub(super) fn parse_id<T: FromStr>(what: &str, text: &str) -> Result<T, ApiProblem> {
    text.parse().map_err(|_| ApiProblem::not_found(what))
}

/// Page request from query parameters: 50 items by default, clamped to 1 to 1,000.
pub(super) fn page_request(cursor: Option<String>, limit: Option<usize>) -> PageRequest {
    PageRequest {
        cursor,
        limit: limit.unwrap_or(DEFAULT_PAGE_ITEMS).clamp(1, MAX_PAGE_ITEMS),
    }
}
