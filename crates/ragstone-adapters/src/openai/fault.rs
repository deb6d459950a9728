//! Errors of a service, classified by what the caller can do.

use std::time::Duration;

use ragstone_core::seam::{ChatError, EmbedError};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::retry_after::parse_retry_after;

/// Most characters of a service's message in an error.
const MAX_DETAIL_CHARACTERS: usize = 300;

/// OpenAI's message, with the status of a busy service, for a single request above the limit of tokens per minute.
const TOO_LARGE: &str = "request too large";

/// An error of a service, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServiceError {
    /// The service is overloaded or rate-limited: retry later, after `after` if it is given.
    Busy { detail: String, after: Option<Duration> },
    /// The service refuses this request and will refuse it again.
    Refused {
        status: Option<StatusCode>,
        detail: String,
        /// The whole body in lower case, searched for parameter names: many services put them outside the message.
        said: String,
    },
    /// The request failed for a reason that may be temporary.
    Broken {
        status: Option<StatusCode>,
        detail: String,
        /// The whole body in lower case.
        said: String,
    },
}

impl ServiceError {
    pub fn broken(detail: impl Into<String>) -> Self {
        Self::Broken {
            status: None,
            detail: detail.into(),
            said: String::new(),
        }
    }

    pub fn refused(detail: impl Into<String>) -> Self {
        Self::Refused {
            status: None,
            detail: detail.into(),
            said: String::new(),
        }
    }

    /// Classifies a reply that is not 2xx. A date in `Retry-After` is compared with the reply's own date.
    pub fn from_reply(status: StatusCode, headers: &HeaderMap, body: &str) -> Self {
        let (message, code) = parse_error_body(body);
        let detail = format!("{status}: {message}");
        let said = body.to_lowercase();
        match status.as_u16() {
            429 if code == "insufficient_quota" || said.contains(TOO_LARGE) => Self::Refused {
                status: Some(status),
                detail,
                said,
            },
            429 | 503 | 529 => Self::Busy {
                detail,
                after: parse_retry_after(headers),
            },
            408 | 425 | 500..=599 => Self::Broken {
                status: Some(status),
                detail,
                said,
            },
            _ => Self::Refused {
                status: Some(status),
                detail,
                said,
            },
        }
    }

    /// Classifies an error inside a reply that began with 200; `code` is the number it gives, if any.
    pub fn from_event(message: &str, code: Option<u64>) -> Self {
        let detail = format!("it stopped with an error: {}", shorten_message(message));
        match code {
            Some(429 | 503 | 529) => Self::Busy { detail, after: None },
            Some(400..=499) => Self::refused(detail),
            _ => Self::broken(detail),
        }
    }

    /// Whether a retry may help.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    /// `Retry-After`, if the service sent it.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }

    /// What went wrong, as text.
    pub fn detail(&self) -> &str {
        match self {
            Self::Busy { detail, .. } | Self::Refused { detail, .. } | Self::Broken { detail, .. } => detail,
        }
    }

    /// Whether the contents of the request may be at fault: false for a busy service and for a wrong key.
    pub fn may_be_contents(&self) -> bool {
        match self {
            Self::Busy { .. } => false,
            Self::Refused { status, said, .. } => status.is_none_or(|status| match status.as_u16() {
                401 | 402 => false,
                429 => said.contains(TOO_LARGE),
                _ => true,
            }),
            Self::Broken { .. } => true,
        }
    }

    /// Whether the form of the request may be at fault, such as a parameter.
    pub fn may_be_form(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                status.is_some_and(|status| matches!(status.as_u16(), 400 | 406 | 415 | 422))
            }
            Self::Broken { .. } => true,
            Self::Busy { .. } => false,
        }
    }

    /// Whether the size of the request may be at fault: true for a refusal in any words, for a failure only if the
    /// message says so.
    pub fn may_be_size(&self) -> bool {
        match self {
            Self::Refused { .. } => self.may_be_contents(),
            Self::Broken { said, .. } => is_about_size(said),
            Self::Busy { .. } => false,
        }
    }

    /// Whether the message is about tokens or lengths, and not about the number of texts.
    pub fn is_about_length(&self) -> bool {
        match self {
            Self::Refused {
                status: Some(status), ..
            } if status.as_u16() == 413 => true,
            Self::Refused { .. } if !self.may_be_contents() => false,
            Self::Refused { said, .. } | Self::Broken { said, .. } => ["token", "context", "sequence", "too long"]
                .iter()
                .any(|word| said.contains(word)),
            Self::Busy { .. } => false,
        }
    }

    /// Whether the request was rejected and the message names `parameter`. Some servers answer 500 to unknown
    /// parameters.
    pub fn names_parameter(&self, parameter: &str) -> bool {
        match self {
            Self::Refused {
                status: Some(status),
                said,
                ..
            } => matches!(status.as_u16(), 400 | 404 | 405 | 406 | 415 | 422) && said.contains(parameter),
            Self::Broken {
                status: Some(status),
                said,
                ..
            } => matches!(status.as_u16(), 500 | 501) && said.contains(parameter),
            _ => false,
        }
    }

    /// Whether the message says that a parameter is unknown, without naming it.
    pub fn is_about_parameters(&self) -> bool {
        const WORDS: [&str; 9] = [
            "unsupported",
            "not supported",
            "unknown",
            "unrecognized",
            "unrecognised",
            "unexpected",
            "extra",
            "not permitted",
            "parameter",
        ];
        WORDS.iter().any(|word| self.names_parameter(word))
    }
}

/// Phrases by which services say that a request is too large; numbers and units vary.
fn is_about_size(said: &str) -> bool {
    const WORDS: [&str; 15] = [
        "maximum",
        "too long",
        "too large",
        "too many",
        "too big",
        "context length",
        "at most",
        "no more than",
        "more than",
        "larger than",
        "longer than",
        "exceed",
        "batch size",
        "limit of",
        "max_",
    ];
    WORDS.iter().any(|word| said.contains(word))
}

impl From<ServiceError> for EmbedError {
    fn from(fault: ServiceError) -> Self {
        match fault {
            ServiceError::Busy { detail, after } => Self::Busy { detail, after },
            ServiceError::Refused { detail, .. } => Self::Refused { detail },
            ServiceError::Broken { detail, .. } => Self::Broken { detail },
        }
    }
}

impl From<ServiceError> for ChatError {
    fn from(fault: ServiceError) -> Self {
        match fault {
            ServiceError::Busy { detail, after } => Self::Busy { detail, after },
            ServiceError::Refused { detail, .. } => Self::Refused { detail },
            ServiceError::Broken { detail, .. } => Self::Broken { detail },
        }
    }
}

/// Message and code of an error body, in the forms that servers of this API use.
pub(crate) fn parse_error_body(body: &str) -> (String, String) {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let error = json.get("error").unwrap_or(&json);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let message = ["message", "detail", "error"]
        .iter()
        .find_map(|key| error.get(key).and_then(text));
    let message = message
        .or_else(|| text(error))
        .unwrap_or_else(|| body.trim().to_owned());
    let code = ["code", "type"]
        .iter()
        .find_map(|key| error.get(key).and_then(text))
        .unwrap_or_default();
    (shorten_message(&message), code)
}

/// Shortens a service's message to one line of limited length.
pub(super) fn shorten_message(message: &str) -> String {
    let shown: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_DETAIL_CHARACTERS)
        .collect();
    match shown.trim().is_empty() {
        true => "nothing said".into(),
        false => shown,
    }
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
