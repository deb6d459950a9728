//! Uploads one document as a multipart stream.

use std::sync::PoisonError;

use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;

use super::origin::{DocumentOrigin, OpenedDocument};
use super::{IngestedDocument, JobObserver, UploadArguments, follow_document, record_refusal};
use crate::cli::client::{ApiClient, read_json};

/// Uploads a document and, with `wait`, follows its job to the end.
pub async fn upload_document(
    door: &ApiClient,
    origin: DocumentOrigin,
    with: &UploadArguments,
    wait: bool,
    see: JobObserver<'_>,
) -> anyhow::Result<IngestedDocument> {
    let uri = origin.document_uri()?;
    let opened = match origin.open_document().await {
        Ok(opened) => opened,
        Err((code, detail)) => return Ok(IngestedDocument::from_failure(uri, code, detail)),
    };
    let broken = opened.broken.clone();
    let answer = door.send_checked(build_request(opened, &uri, with)?).await;
    let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (answer, broken) {
        (Ok(response), _) => follow_document(door, uri, read_json(response).await?, wait, see).await,
        (Err(_), Some(detail)) => Ok(IngestedDocument::from_failure(uri, "not_fetched", detail)),
        (Err(error), None) => record_refusal(uri, error),
    }
}

fn build_request(opened: OpenedDocument, uri: &str, with: &UploadArguments) -> anyhow::Result<Request<Body>> {
    let boundary = format!("ragstone-{}", uuid::Uuid::new_v4().simple());
    let mut head = String::new();
    let source_url = opened.source_url.map(|url| ("source_url", url));
    for (field, value) in form_fields(uri, with).into_iter().chain(source_url) {
        head.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
        ));
    }
    // Escaped as browsers do it: a quote or line break inside the name would end it.
    let name = opened.name.replace('"', "%22").replace('\r', "%0D");
    let name = name.replace('\n', "%0A");
    head.push_str(&format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {}\r\n\r\n",
        opened.media_type
    ));
    let tail = format!("\r\n--{boundary}--\r\n");
    let whole = |text: String| futures::stream::iter([std::io::Result::Ok(Bytes::from(text))]);
    let body = whole(head).chain(opened.bytes).chain(whole(tail));
    Ok(Request::builder()
        .method(Method::POST)
        .uri("/api/v1/documents")
        .header(header::HOST, "localhost")
        .header(
            header::CONTENT_TYPE,
            format!("multipart/form-data; boundary={boundary}"),
        )
        .body(Body::from_stream(body))?)
}

fn form_fields(uri: &str, with: &UploadArguments) -> Vec<(&'static str, String)> {
    let mut fields = vec![("uri", uri.to_owned())];
    if let Some(department) = &with.department {
        fields.push(("department_id", department.clone()));
    }
    if !with.readers.is_empty() {
        fields.push(("readers", Value::from(with.readers.clone()).to_string()));
    }
    if let Some(metadata) = &with.metadata {
        fields.push(("metadata", Value::from(metadata.clone()).to_string()));
    }
    if let Some(collection) = &with.collection {
        fields.push(("collection", collection.clone()));
    }
    if let Some(batch) = &with.batch {
        fields.push(("batch", batch.to_string()));
    }
    fields
}
