//! Every answer that is not 2xx: RFC 9457 `application/problem+json` with a stable code and a hint.
//!
//! Invariant: what went wrong inside is logged with the request's id and not told; a problem of a caller says what
//! and which.

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

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was not answered as asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiProblem {
    /// What kind of problem.
    pub code: Code,
    /// What and which.
    pub detail: String,
    // Boxed, as every handler's result is as large as this.
    hint: Option<Box<str>>,
    pointer: Option<Box<str>>,
    retry_after: Option<Duration>,
    /// Whether a token was sent that was refused.
    of_token: bool,
    extensions: Map<String, Value>,
    cause: Option<Box<str>>,
}

/// What the log says of an answer that is an error, beside its status; travels with the response.
#[derive(Debug, Clone)]
pub struct FailureNote {
    /// The stable word.
    pub code: String,
    /// What went wrong inside, where it is not told to the caller.
    pub cause: Option<String>,
}

/// A problem as it is sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Where the code is explained; a reference relative to this server.
    #[serde(rename = "type")]
    pub type_: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable word; all of them stand in the table above.
    pub code: String,
    /// What and which.
    pub detail: String,
    /// What to do next.
    pub hint: String,
    /// JSON pointer to the mistake in the body, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Further members of some codes.
    #[serde(flatten)]
    #[schema(ignore)]
    pub extensions: Map<String, Value>,
}

impl ApiProblem {
    /// A problem of `code`.
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

    /// With what went wrong inside, for the log alone.
    pub fn with_cause(mut self, cause: &dyn std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into());
        self
    }

    /// What the log says of it.
    pub fn failure_note(&self) -> FailureNote {
        FailureNote {
            code: self.code.as_str().to_owned(),
            cause: self.cause.as_deref().map(str::to_owned),
        }
    }

    /// With the place of the mistake in the body.
    pub fn with_pointer(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into().into_boxed_str());
        self
    }

    /// With the place of the mistake, unless that is the whole body.
    pub fn with_optional_pointer(self, pointer: String) -> Self {
        match pointer.is_empty() {
            true => self,
            false => self.with_pointer(pointer),
        }
    }

    /// With a hint of its own in place of its code's.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into_boxed_str());
        self
    }

    /// With the time after which it may work.
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait.or(self.retry_after);
        self
    }

    /// Of a token that was sent: who sent it needs another one (RFC 6750, 3.1).
    pub fn for_token(mut self) -> Self {
        self.of_token = true;
        self
    }

    /// With a further member.
    pub fn with_extension(mut self, key: &str, value: Value) -> Self {
        self.extensions.insert(key.to_owned(), value);
        self
    }

    /// Unknown and forbidden alike.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            Code::NotFound,
            format!("there is no such {what}, or not for this caller"),
        )
    }

    /// What is sent.
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
