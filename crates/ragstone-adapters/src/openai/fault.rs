//! What goes wrong with a service, by what can be done about it.

use std::time::Duration;

use ragstone_core::seam::{ChatError, EmbedError};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::retry_after::retry_after;

/// Most characters of a service's own words in an error.
const MAX_DETAIL_CHARACTERS: usize = 300;

/// What went wrong; no secret stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It may work later.
    Busy { detail: String, after: Option<Duration> },
    /// The same request will be refused again.
    Refused {
        status: Option<StatusCode>,
        detail: String,
    },
    /// It did not work, for a reason that may pass.
    Broken { detail: String },
}

impl Fault {
    pub fn broken(detail: impl Into<String>) -> Self {
        Self::Broken {
            detail: detail.into(),
        }
    }

    pub fn refused(detail: impl Into<String>) -> Self {
        Self::Refused {
            status: None,
            detail: detail.into(),
        }
    }

    /// What a reply that is not 2xx says. The date of the reply is the clock for a date to come back at.
    pub fn of_reply(status: StatusCode, headers: &HeaderMap, body: &str) -> Self {
        let (said, code) = words(body);
        let detail = format!("{status}: {said}");
        match status.as_u16() {
            429 if code == "insufficient_quota" => Self::Refused {
                status: Some(status),
                detail,
            },
            429 | 503 | 529 => Self::Busy {
                detail,
                after: retry_after(headers),
            },
            408 | 425 | 500..=599 => Self::Broken { detail },
            _ => Self::Refused {
                status: Some(status),
                detail,
            },
        }
    }

    /// Whether another try may help.
    pub fn passes(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    /// When to come back, if the service said so.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Busy { after, .. } => *after,
            _ => None,
        }
    }

    /// Whether the request was refused for its size, so that half of it may be taken.
    pub fn too_long(&self) -> bool {
        let Self::Refused {
            status: Some(status),
            detail,
        } = self
        else {
            return false;
        };
        let detail = detail.to_lowercase();
        let says_so = [
            "maximum",
            "too long",
            "too large",
            "too many",
            "context length",
            "at most",
        ];
        match status.as_u16() {
            413 => true,
            400 | 422 => says_so.iter().any(|words| detail.contains(words)),
            _ => false,
        }
    }

    /// Whether the request was refused and the refusal names `parameter`.
    pub fn names(&self, parameter: &str) -> bool {
        match self {
            Self::Refused {
                status: Some(status),
                detail,
            } => matches!(status.as_u16(), 400 | 422) && detail.contains(parameter),
            _ => false,
        }
    }
}

impl From<Fault> for EmbedError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy { detail, after } => Self::Busy { detail, after },
            Fault::Refused { detail, .. } => Self::Refused { detail },
            Fault::Broken { detail } => Self::Broken { detail },
        }
    }
}

impl From<Fault> for ChatError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Busy { detail, after } => Self::Busy { detail, after },
            Fault::Refused { detail, .. } => Self::Refused { detail },
            Fault::Broken { detail } => Self::Broken { detail },
        }
    }
}

/// The message and the code of an error body, in the forms that servers of this API use.
pub(super) fn words(body: &str) -> (String, String) {
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
    let shown: String = message
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_DETAIL_CHARACTERS)
        .collect();
    (
        if shown.is_empty() {
            "nothing said".into()
        } else {
            shown
        },
        code,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, headers: &[(&'static str, &str)], body: &str) -> Fault {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        Fault::of_reply(StatusCode::from_u16(status).unwrap(), &headers, body)
    }

    #[test]
    fn a_reply_says_when_to_come_back() {
        let check = |headers: &[(&'static str, &str)], expected: Option<f64>| {
            assert_eq!(
                of(429, headers, "").after(),
                expected.map(Duration::from_secs_f64),
                "{headers:?}"
            );
        };
        let now = ("date", "Tue, 15 Nov 1994 08:12:31 GMT");
        check(&[("retry-after", "2")], Some(2.0));
        check(&[("retry-after", "0.5")], Some(0.5));
        check(
            &[("retry-after", "Tue, 15 Nov 1994 08:12:41 GMT"), now],
            Some(10.0),
        );
        check(
            &[("retry-after", "Tue, 15 Nov 1994 08:12:01 GMT"), now],
            Some(0.0),
        );
        check(&[("retry-after", "Tue, 15 Nov 1994 08:12:41 GMT")], None);
        check(&[("retry-after", "-1")], None);
        check(&[("retry-after", "soon")], None);
        check(&[], None);
    }

    #[test]
    fn a_status_says_what_can_be_done() {
        assert!(of(429, &[], "").passes() && of(500, &[], "").passes() && of(504, &[], "").passes());
        let quota = r#"{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}"#;
        for fault in [
            of(400, &[], ""),
            of(401, &[], ""),
            of(404, &[], ""),
            of(302, &[], ""),
            of(429, &[], quota),
        ] {
            assert!(!fault.passes(), "{fault:?}");
        }
        let long = r#"{"error": {"message": "This model's maximum context length is 8192 tokens"}}"#;
        assert!(of(400, &[], long).too_long() && of(413, &[], "").too_long());
        assert!(!of(400, &[], "no such model").too_long() && !of(500, &[], long).too_long());
    }

    #[test]
    fn a_message_is_found_wherever_it_stands() {
        let check = |body: &str, expected: &str| assert_eq!(words(body).0, expected, "{body}");
        check(r#"{"error": {"message": "no model"}}"#, "no model");
        check(r#"{"error": "no model"}"#, "no model");
        check(r#"{"detail": "no model"}"#, "no model");
        check("<html>\nbad gateway", "<html>bad gateway");
        check("", "nothing said");
    }
}
