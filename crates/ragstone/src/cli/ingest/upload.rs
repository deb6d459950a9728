//! One file as a multipart upload, streamed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use futures::StreamExt;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::{Ingested, See, With, follow, refused};
use crate::cli::client::{Door, read_json};

/// Bytes read from the disk at once.
const READ_BYTES: usize = 256 * 1024;
/// What a path segment of a URI may not hold as it is (RFC 3986).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Uploads a file and, if `wait`, follows it to its end.
pub async fn send(
    door: &Door,
    file: PathBuf,
    with: &With,
    wait: bool,
    see: See<'_>,
) -> anyhow::Result<Ingested> {
    let uri = file_uri(&file)?;
    let opened = match tokio::fs::File::open(&file).await {
        Ok(opened) => opened,
        Err(error) => {
            return Ok(Ingested::failed(
                uri,
                "unreadable",
                format!("cannot be read: {error}"),
            ));
        }
    };
    let request = request(&file, &uri, with, opened)?;
    match door.accepted(request).await {
        Ok(response) => follow(door, uri, read_json(response).await?, wait, see).await,
        Err(error) => refused(uri, error),
    }
}

/// `file://` and the absolute path, percent-encoded.
pub fn file_uri(file: &Path) -> anyhow::Result<String> {
    let path = file.canonicalize().or_else(|_| std::path::absolute(file));
    let path = path.with_context(|| format!("cannot name {}", file.display()))?;
    Ok(format!(
        "file://{}",
        percent_encode(path.as_os_str().as_encoded_bytes(), PATH)
    ))
}

fn request(file: &Path, uri: &str, with: &With, opened: tokio::fs::File) -> anyhow::Result<Request<Body>> {
    let boundary = format!("ragstone-{}", uuid::Uuid::new_v4().simple());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut head = String::new();
    for (field, value) in fields(uri, with) {
        head.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
        ));
    }
    // As browsers write it: a quote or line break inside the name would end it.
    let name = name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
    head.push_str(&format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    ));
    let tail = format!("\r\n--{boundary}--\r\n");
    let whole = |text: String| futures::stream::iter([std::io::Result::Ok(Bytes::from(text))]);
    let body = whole(head)
        .chain(ReaderStream::with_capacity(opened, READ_BYTES))
        .chain(whole(tail));
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

fn fields(uri: &str, with: &With) -> Vec<(&'static str, String)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_percent_encoded() {
        let check = |path: &str, expected: &str| assert_eq!(file_uri(Path::new(path)).unwrap(), expected);
        check("/none/a b.md", "file:///none/a%20b.md");
        check("/none/100%#?.md", "file:///none/100%25%23%3F.md");
        check("/none/ä.md", "file:///none/%C3%A4.md");
    }
}
