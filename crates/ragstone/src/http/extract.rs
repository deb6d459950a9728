//! Bodies, queries and ids, each read once at the door; what is wrong with one is a problem.

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

/// Items of a list that does not say.
const DEFAULT_PAGE_ITEMS: usize = 50;
/// Most items of a list.
const MAX_PAGE_ITEMS: usize = 1_000;

/// A JSON body.
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

/// Reads a whole JSON body; a mistake is named with its place.
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

/// A step of the path to a mistake, as a part of a JSON pointer.
fn pointer_segment(segment: &serde_path_to_error::Segment) -> String {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", unknown::escape_pointer(key)),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    }
}

/// A JSON body that may be left out.
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

/// Refuses compressed bodies: their size says nothing about what they unpack to.
pub(super) fn check_uncompressed(headers: &HeaderMap) -> Result<(), ApiProblem> {
    match header_text(headers, &CONTENT_ENCODING) {
        Some(encoding) if !encoding.trim().eq_ignore_ascii_case("identity") => Err(ApiProblem::new(
            Code::MediaType,
            format!("Content-Encoding is {encoding}; bodies are sent as they are"),
        )),
        _ => Ok(()),
    }
}

/// Whether a body is JSON by its declared type.
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

/// A header's text.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a body says that it has more than `limit` bytes.
pub(super) fn declares_more_than(headers: &HeaderMap, limit: u64) -> bool {
    let declared = header_text(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    declared.is_some_and(|length| length > limit)
}

/// All bytes of a body; one that is too large is refused before it is read where it says so, and else at the limit.
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

/// Whether the connection ended before the body did.
pub(super) fn is_disconnected(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<hyper::Error>())
}

/// Malformed JSON is one problem, JSON of another form is another.
pub(super) fn json_problem(error: &serde_json::Error) -> ApiProblem {
    let code = if error.is_data() { Code::BadBody } else { Code::BadJson };
    ApiProblem::new(code, error.to_string())
}

/// Query parameters.
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

/// Parts of the path. What is no text names nothing.
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

/// Tells null from nothing, in a field that may be left out.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// An id in the path. Text that is no id names nothing.
pub(super) fn parse_id<T: FromStr>(what: &str, text: &str) -> Result<T, ApiProblem> {
    text.parse().map_err(|_| ApiProblem::not_found(what))
}

/// Where a list goes on; 50 items if not said, at most 1,000.
pub(super) fn page_request(cursor: Option<String>, limit: Option<usize>) -> PageRequest {
    PageRequest {
        cursor,
        limit: limit.unwrap_or(DEFAULT_PAGE_ITEMS).clamp(1, MAX_PAGE_ITEMS),
    }
}
