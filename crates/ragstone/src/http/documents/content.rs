//! `GET /api/v1/documents/{id}/content`: the original file of a document.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ragstone_core::document::Document;
use ragstone_core::ingest::percent_encode_text;
use ragstone_core::library::LibraryError;
use serde_json::json;

use super::form::last_component;
use crate::http::RouterState;
use crate::http::auth::RequireReader;
use crate::http::extract::{Path, header_text as text, parse_id};
use crate::http::problem::{ApiProblem, Code};

pub(in crate::http) const PROBLEMS: &[Code] = &[Code::NotFound, Code::RangeNotSatisfiable, Code::CatalogueUnavailable];

/// Downloads the original file of the published version.
///
/// It is always sent as an attachment. A `Range` header with one range of bytes is supported.
#[utoipa::path(get, path = "/api/v1/documents/{id}/content", tag = "documents",
    params(("id" = Uuid, Path), ("Range" = Option<String>, Header, description = "such as `bytes=0-99`")),
    responses((status = 200, description = "All bytes."), (status = 206, description = "The bytes of the range.")))]
pub(in crate::http) async fn get_document_content(
    State(app): State<Arc<RouterState>>,
    RequireReader(principal): RequireReader,
    Path(document): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let (scope, document) = (principal.scope(), parse_id("document", &document)?);
    let missing = || ApiProblem::not_found("document");
    let whole = app
        .library
        .open_original(&scope, document, None)
        .await?
        .ok_or_else(missing)?;
    let tag = entity_tag(&whole.document);
    let unchanged = text(&headers, &header::IF_RANGE).is_none_or(|wanted| wanted == tag);
    let wanted = text(&headers, &header::RANGE).filter(|_| unchanged);
    let (size, wanted) = (
        whole.size,
        wanted.map_or(Ok(None), |range| byte_range(range, whole.size)),
    );
    let Ok(wanted) = wanted else {
        return Ok(unsatisfiable_range(size));
    };
    let Some(range) = wanted else {
        let head = [(header::CONTENT_LENGTH, HeaderValue::from(size))];
        return Ok(content_response(
            StatusCode::OK,
            &tag,
            &whole.document,
            (head, Body::from_stream(whole.bytes)),
        ));
    };
    let part = app
        .library
        .open_original(&scope, document, Some(range.clone()))
        .await?
        .ok_or_else(missing)?;
    if part.document.published != whole.document.published {
        return Err(LibraryError::from(ragstone_core::seam::CatalogueError::Stale).into());
    }
    let shown = format!("bytes {}-{}/{size}", range.start, range.end - 1);
    let head = [
        (header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start)),
        (
            header::CONTENT_RANGE,
            HeaderValue::from_str(&shown).expect("digits make a header"),
        ),
    ];
    let body = (head, Body::from_stream(part.bytes));
    Ok(content_response(
        StatusCode::PARTIAL_CONTENT,
        &tag,
        &part.document,
        body,
    ))
}

fn content_response(status: StatusCode, tag: &str, document: &Document, body: impl IntoResponse) -> Response {
    let name = document.uri.split(['?', '#']).next().unwrap_or_default();
    let name = last_component(&percent_encoding::percent_decode_str(name).decode_utf8_lossy())
        .unwrap_or_else(|| "document".into());
    let disposition = format!("attachment; filename*=UTF-8''{}", percent_encode_text(&name));
    let head = [
        (header::CONTENT_TYPE, media_type(&document.media_type)),
        (header::CONTENT_DISPOSITION, disposition),
        (header::ETAG, tag.to_owned()),
        (header::ACCEPT_RANGES, "bytes".into()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
    ];
    (status, head, body).into_response()
}

/// The stored media type if it is valid in a header, else `application/octet-stream`.
fn media_type(stored: &str) -> String {
    let fits = !stored.is_empty() && HeaderValue::from_str(stored).is_ok();
    if fits {
        stored.to_owned()
    } else {
        "application/octet-stream".into()
    }
}

fn entity_tag(document: &Document) -> String {
    format!("\"{}\"", document.published.map_or(0, |generation| generation.0))
}

fn unsatisfiable_range(size: u64) -> Response {
    let detail = format!("the document has {size} bytes");
    let problem = ApiProblem::new(Code::RangeNotSatisfiable, detail).with_extension("size", json!(size));
    ([(header::CONTENT_RANGE, format!("bytes */{size}"))], problem).into_response()
}

/// The single range of a `Range` header. `None` for other units, syntax and several ranges, which are answered with the
/// whole file; `Err` for a range outside of the file.
fn byte_range(header: &str, size: u64) -> Result<Option<Range<u64>>, ()> {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..size,
        (Err(_), Ok(last)) if first.trim().is_empty() => size.saturating_sub(last)..size,
        _ => return Ok(None),
    };
    if range.start < range.end {
        Ok(Some(range))
    } else {
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |header: &str, expected: Result<Option<Range<u64>>, ()>| {
            assert_eq!(byte_range(header, 10), expected, "{header}");
        };
        check("bytes=0-3", Ok(Some(0..4)));
        check("bytes=4-", Ok(Some(4..10)));
        check("bytes=-3", Ok(Some(7..10)));
        check("bytes=-30", Ok(Some(0..10)));
        check("bytes=8-100", Ok(Some(8..10)));
        check("bytes=0-18446744073709551615", Ok(Some(0..10)));
        check("bytes=10-", Err(()));
        check("bytes=-0", Err(()));
        check("bytes=0-1,3-4", Ok(None));
        check("bytes=3-1", Ok(None));
        check("lines=0-3", Ok(None));
        check("bytes=a-b", Ok(None));
    }
}
