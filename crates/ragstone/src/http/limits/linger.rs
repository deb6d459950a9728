//! Reads the rest of a body that was refused, for a moment.
//!
//! A connection that is closed while its client still sends loses the answer on the way: the client sees a reset in place
//! of the 413. So what still comes is read and thrown away, within bounds; whoever goes on is cut off.
//!
//! Invariant: a client that waits for `100 Continue` is never told to go on.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Multipart;
use axum::http::{HeaderMap, header};
use futures::StreamExt;

/// How long a refused body is read on.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of it.
const MAX_DRAINED_BYTES: usize = 64 * 1024 * 1024;

/// Throws away what comes of `body`, in a task of its own.
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

/// The same for a form of which some was read.
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
