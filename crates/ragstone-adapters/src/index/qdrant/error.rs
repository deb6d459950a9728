//! Maps a failed request to the error of the seam, and decides whether to retry it.

use std::time::Duration;

use qdrant_client::QdrantError;
use ragstone_core::seam::index::IndexError;
use tonic::{Code, Status};

use crate::index::fit::mismatch_error;

/// Longest part of a server message that is shown, in characters.
const MAX_MESSAGE: usize = 300;

pub(super) fn damaged_error(detail: impl Into<String>) -> IndexError {
    IndexError::Damaged { detail: detail.into() }
}

/// The client's message for a server that answers, but not in HTTP/2.
const NO_HTTP2: &str = "http2 error";
/// Hint for that error.
const NO_HTTP2_HINT: &str =
    "; hint: gRPC is not spoken there, QDRANT_URL has to name its port (6334 as shipped; REST has 6333)";

/// Status that the server answered, if it did.
fn response_status(error: &QdrantError) -> Option<&Status> {
    match error {
        QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => Some(status),
        _ => None,
    }
}

/// Status code that the server answered.
pub(super) fn response_code(error: &QdrantError) -> Option<Code> {
    response_status(error).map(Status::code)
}

/// Whether the same request may succeed later. A broken connection or a timeout is reported as internal, unknown or
/// cancelled, depending on when it happens.
pub(super) fn is_transient(error: &QdrantError) -> bool {
    match response_code(error) {
        Some(code) => matches!(
            code,
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::Cancelled
                | Code::Internal
                | Code::Unknown
        ),
        None => matches!(error, QdrantError::Io(_)),
    }
}

/// How long the server asked to wait before a retry.
pub(super) fn retry_after(error: &QdrantError) -> Option<Duration> {
    match error {
        QdrantError::ResourceExhaustedError {
            retry_after_seconds, ..
        } => Some(Duration::from_secs(*retry_after_seconds)),
        _ => None,
    }
}

/// The seam's error for `error`, which happened during `what`.
pub(super) fn index_error(what: &str, error: &QdrantError) -> IndexError {
    let detail = match response_status(error) {
        Some(status) => {
            let message: String = status.message().chars().take(MAX_MESSAGE).collect();
            let hint = if message.contains(NO_HTTP2) { NO_HTTP2_HINT } else { "" };
            format!("{what}: {}: {message}{hint}", status.code())
        }
        None => format!("{what}: {error}"),
    };
    match response_code(error) {
        _ if is_transient(error) => IndexError::Unavailable { detail },
        Some(Code::NotFound) => IndexError::Damaged { detail },
        Some(Code::DataLoss) => IndexError::Damaged { detail },
        Some(Code::Unauthenticated | Code::PermissionDenied) => {
            mismatch_error(format!("{what}: the server refuses the API key, or there is none"))
        }
        _ => mismatch_error(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Code, passes: bool, kind: &str) {
        let error = QdrantError::from(Status::new(code, "why"));
        assert_eq!(is_transient(&error), passes, "{code:?}");
        let told = format!("{:?}", index_error("searching", &error));
        assert!(told.starts_with(kind), "{code:?}: {told}");
    }

    #[test]
    fn an_error_says_what_the_caller_can_do() {
        check(Code::Unavailable, true, "Unavailable");
        check(Code::ResourceExhausted, true, "Unavailable");
        check(Code::Cancelled, true, "Unavailable");
        check(Code::InvalidArgument, false, "Mismatch");
        check(Code::Unauthenticated, false, "Mismatch");
        check(Code::Unimplemented, false, "Mismatch");
        check(Code::NotFound, false, "Damaged");
    }

    #[test]
    fn the_port_of_rest_is_told_from_a_broken_connection() {
        let told = |message: &str| {
            let error = QdrantError::from(Status::internal(message));
            index_error("searching", &error).to_string()
        };
        assert!(told("h2 protocol error: http2 error").contains("6334"));
        assert!(!told("transport error").contains("hint"));
    }

    #[test]
    fn a_long_message_is_cut() {
        let error = QdrantError::from(Status::internal("x".repeat(10_000)));
        assert!(index_error("searching", &error).to_string().len() < 500);
    }
}
