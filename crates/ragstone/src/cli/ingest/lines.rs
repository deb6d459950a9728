//! Ingests JSON lines; each line is a document as in `POST /api/v1/documents`.

use std::path::Path;

use anyhow::Context;
use async_stream::stream;
use axum::http::Method;
use futures::Stream;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};

use super::{IngestedDocument, UploadArguments, follow_document, record_refusal};
use crate::cli::client::ApiClient;

/// Number of the line, from 1, and its document or an error text.
pub type DocumentLine = (usize, Result<Map<String, Value>, String>);

/// Reads the lines of a file, or of stdin for `-`; empty lines are skipped.
pub async fn read_lines(path: &Path) -> anyhow::Result<impl Stream<Item = DocumentLine> + use<>> {
    let reader: Box<dyn AsyncBufRead + Send + Unpin> = match path == Path::new("-") {
        true => Box::new(BufReader::new(tokio::io::stdin())),
        false => {
            let file = tokio::fs::File::open(path).await;
            Box::new(BufReader::new(
                file.with_context(|| format!("cannot read {}", path.display()))?,
            ))
        }
    };
    Ok(stream! {
        let mut lines = reader.lines();
        for number in 1.. {
            match lines.next_line().await {
                Ok(Some(line)) if line.trim().is_empty() => {}
                Ok(Some(line)) => {
                    let document = serde_json::from_str(&line).map_err(|error| format!("not a JSON object: {error}"));
                    yield (number, document);
                }
                Ok(None) => break,
                Err(error) => {
                    yield (number, Err(format!("cannot be read: {error}")));
                    break;
                }
            }
        }
    })
}

/// Sends a line's document and, with `wait`, follows its job to the end.
pub async fn send_line(
    door: &ApiClient,
    (number, document): DocumentLine,
    with: &UploadArguments,
    wait: bool,
) -> anyhow::Result<IngestedDocument> {
    let document = match document {
        Ok(document) => document,
        Err(detail) => {
            return Ok(IngestedDocument::from_failure(
                format!("line {number}"),
                "bad_line",
                detail,
            ));
        }
    };
    let body = request_body(document, with);
    let uri = body["uri"]
        .as_str()
        .map_or_else(|| format!("line {number}"), String::from);
    match door.request_json(Method::POST, "/api/v1/documents", Some(&body)).await {
        Ok(accepted) => follow_document(door, uri, accepted, wait, &|_| {}).await,
        Err(error) => record_refusal(uri, error),
    }
}

/// The line's document with the arguments of the command. `_id` and `page` are kept as metadata; `_id` is the name of a
/// document without `uri`.
fn request_body(mut document: Map<String, Value>, with: &UploadArguments) -> Value {
    let id = document
        .remove("_id")
        .map(|id| id.as_str().map_or_else(|| id.to_string(), String::from));
    let page = document.remove("page");
    let mut metadata = with.metadata.clone().unwrap_or_default();
    match document.remove("metadata") {
        Some(Value::Object(own)) => metadata.extend(own),
        None | Some(Value::Null) => {}
        // A value of another type is sent as it is: the server refuses it as in any POST.
        Some(other) => {
            document.insert("metadata".into(), other);
            return Value::Object(document);
        }
    }
    metadata.extend(id.clone().map(|id| ("_id".to_owned(), json!(id))));
    metadata.extend(page.map(|page| ("page".to_owned(), page)));
    if let Some(id) = id {
        document.entry("uri").or_insert(json!(id));
    }
    if !metadata.is_empty() {
        document.insert("metadata".into(), metadata.into());
    }
    let mut default = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            document.entry(key).or_insert(value);
        }
    };
    default("department_id", with.department.as_ref().map(|id| json!(id)));
    default("readers", (!with.readers.is_empty()).then(|| json!(with.readers)));
    default("batch", with.batch.as_ref().map(|batch| json!(batch)));
    default("collection", with.collection.as_ref().map(|name| json!(name)));
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_own_words() {
        let with = UploadArguments {
            department: Some("hr".into()),
            metadata: Some(Map::from_iter([("year".into(), json!(1)), ("a".into(), json!("b"))])),
            ..UploadArguments::default()
        };
        let check =
            |line: Value, expected: Value| assert_eq!(request_body(line.as_object().unwrap().clone(), &with), expected);
        check(
            json!({"_id": "7", "text": "t", "page": 3, "metadata": {"year": 2}}),
            json!({"uri": "7", "text": "t", "department_id": "hr", "metadata": {"_id": "7", "page": 3, "year": 2, "a": "b"}}),
        );
        check(
            json!({"uri": "u", "metadata": ["a"], "_id": 7, "filters": 1}),
            json!({"uri": "u", "metadata": ["a"], "filters": 1}),
        );
        check(
            json!({"uri": "u", "text": "t", "department_id": "it"}),
            json!({"uri": "u", "text": "t", "department_id": "it", "metadata": {"year": 1, "a": "b"}}),
        );
    }
}
