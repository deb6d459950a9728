//! Every response that is not 2xx: RFC 9457 `application/problem+json` with a stable code and a hint.
//!
//! Invariant: internal causes are logged with the request's id and not sent; a problem that the caller caused says what
//! is wrong and with which item.

mod code;
mod from;

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

pub use code::Code;
pub(super) use code::code_table;

/// The media type of a problem response.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error response: why a request failed.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiProblem {
    /// The kind of problem, which decides the status.
    pub code: Code,
    /// What is wrong, and with which item; sent to the caller.
    pub detail: String,
    // Boxed to keep `Result<_, ApiProblem>`, which every handler returns, small.
    hint: Option<Box<str>>,
    pointer: Option<Box<str>>,
    retry_after: Option<Duration>,
    /// Whether a token was refused; adds `error="invalid_token"` to `WWW-Authenticate`.
    of_token: bool,
    extensions: Map<String, Value>,
    cause: Option<Box<str>>,
}

/// What the log line of a failed request needs beside its status; a response extension.
#[derive(Debug, Clone)]
pub struct FailureNote {
    /// The stable code of the problem.
    pub code: String,
    /// The internal cause, which is not sent to the caller.
    pub cause: Option<String>,
}

/// A problem (RFC 9457): the body of every response that is not 2xx.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Where the code is explained: a reference relative to this server.
    #[serde(rename = "type")]
    pub type_: String,
    /// Title of the code.
    pub title: String,
    /// HTTP status of the response.
    pub status: u16,
    /// Stable code, one of those in the table above.
    pub code: String,
    /// What is wrong, and with which item.
    pub detail: String,
    /// Suggestion what to do next.
    pub hint: String,
    /// JSON pointer to the mistake in the request body; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Additional members of some codes.
    #[serde(flatten)]
    #[schema(ignore)]
    pub extensions: Map<String, Value>,
}

impl ApiProblem {
    /// A problem with the status, title and hint of `code`.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            hint: None,
            pointer: None,
            retry_after: None,
            of_token: false,
            extensions: Map::new(),
            cause: None,
        }
    }

    /// Adds the internal cause, which is only logged.
    pub fn with_cause(mut self, cause: &dyn std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    /// What the log line of the failed request needs.
    pub fn failure_note(&self) -> FailureNote {
        FailureNote {
            code: self.code.as_str().to_owned(),
            cause: self.cause.as_deref().map(str::to_owned),
        }
    }

    /// Adds a JSON pointer to the mistake in the request body.
    pub fn with_pointer(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into().into_boxed_str());
        self
    }

    /// Adds a JSON pointer, unless it is empty and so means the whole body.
    pub fn with_optional_pointer(self, pointer: String) -> Self {
        match pointer.is_empty() {
            true => self,
            false => self.with_pointer(pointer),
        }
    }

    /// Replaces the hint of the code.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into_boxed_str());
        self
    }

    /// Adds `Retry-After`; `None` changes nothing.
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait.or(self.retry_after);
        self
    }

    /// Marks that a token was refused and its sender needs another one (RFC 6750, 3.1).
    pub fn for_token(mut self) -> Self {
        self.of_token = true;
        self
    }

    /// Adds a member to the body.
    pub fn with_extension(mut self, key: &str, value: Value) -> Self {
        self.extensions.insert(key.to_owned(), value);
        self
    }

    /// 404 for something that does not exist or that the caller may not see; both are indistinguishable.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            Code::NotFound,
            format!("there is no such {what}, or not for this caller"),
        )
    }

    /// The JSON body of the response.
    pub fn to_body(&self) -> ProblemBody {
        ProblemBody {
            type_: format!("/docs#{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            code: self.code.as_str().to_owned(),
            detail: self.detail.clone(),
            hint: self.hint.as_deref().unwrap_or(self.code.hint()).to_owned(),
            pointer: self.pointer.clone().map(String::from),
            extensions: self.extensions.clone(),
        }
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = serde_json::to_vec(&self.to_body()).expect("a struct of strings serialises");
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        response.extensions_mut().insert(self.code);
        response.extensions_mut().insert(self.failure_note());
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(match self.of_token {
                true => r#"Bearer error="invalid_token""#,
                false => "Bearer",
            });
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after {
            let seconds = HeaderValue::from(wait.as_secs_f64().ceil() as u64);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
