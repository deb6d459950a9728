//! Reads and discards the rest of a refused request body for a limited time.
//!
//! If the server closes a connection while the client still sends, the client sees a reset instead of the 413. So the
//! rest of the body is read and discarded, within bounds; after that the connection is cut off.
//!
//! Invariant: a client that waits for `100 Continue` never gets it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Multipart;
use axum::http::{HeaderMap, header};
use futures::StreamExt;

/// Longest time to read on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum bytes to read on.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;

/// Discards the rest of `body` in a background task. Does nothing if the client sent `Expect`, because reading the body
/// would make the server send `100 Continue`.
pub(in crate::http) fn drain_body(headers: &HeaderMap, body: Body) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let mut chunks = body.into_data_stream();
    let rest = async move {
        let mut bytes = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            bytes += chunk.len();
            if bytes > MAX_DRAINED_BYTES {
                break;
            }
        }
    };
    tokio::spawn(tokio::time::timeout(DRAIN_TIMEOUT, rest));
}

/// The same for a form that was read in part.
pub(in crate::http) fn drain_form(mut form: Multipart) {
    let rest = async move {
        let mut bytes = 0;
        while let Ok(Some(mut field)) = form.next_field().await {
            while let Ok(Some(chunk)) = field.chunk().await {
                bytes += chunk.len();
                if bytes > MAX_DRAINED_BYTES {
                    return;
                }
            }
        }
    };
    tokio::spawn(tokio::time::timeout(DRAIN_TIMEOUT, rest));
}
