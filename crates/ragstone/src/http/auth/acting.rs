//! Impersonation by the operator: an evaluation asks each question as the caller that the question set names.
//!
//! Invariant: only requests through the operator channel can impersonate; from every other caller the header is
//! refused.

use axum::http::{HeaderMap, HeaderName};
use ragstone_core::access::{Reader, ReaderSet, Role};
use ragstone_core::id::TenantId;
use serde::Deserialize;

use super::VerifiedCaller;
use crate::http::problem::{ApiProblem, Code};

/// Header that names the caller to impersonate, as JSON.
pub const ACT_AS: HeaderName = HeaderName::from_static("x-ragstone-act-as");

/// The caller in the header, in the form of a question set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImpersonatedCaller {
    #[serde(default)]
    tenant: TenantId,
    user: Option<String>,
    #[serde(default)]
    departments: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    role: Option<Role>,
}

/// Parses the header; `None` if it is absent. Without `user` the subject is `nobody`; without `role` the role is
/// reader.
pub(super) fn parse_impersonation(headers: &HeaderMap) -> Result<Option<VerifiedCaller>, ApiProblem> {
    let Some(text) = headers.get(ACT_AS) else {
        return Ok(None);
    };
    let named: ImpersonatedCaller = serde_json::from_slice(text.as_bytes())
        .map_err(|error| ApiProblem::new(Code::BadField, format!("the caller to act for: {error}")))?;
    let readers = parse_readers(&named)?;
    Ok(Some(VerifiedCaller {
        tenant: named.tenant,
        subject: named.user.unwrap_or_else(|| "nobody".into()),
        readers,
        role: named.role.unwrap_or(Role::Reader),
        expires_at: None,
    }))
}

fn parse_readers(named: &ImpersonatedCaller) -> Result<ReaderSet, ApiProblem> {
    let each = |kind: &'static str, names: &[String]| -> Vec<String> {
        names.iter().map(|name| format!("{kind}:{name}")).collect()
    };
    let user: Vec<_> = named.user.iter().cloned().collect();
    [
        each("dept", &named.departments),
        each("group", &named.groups),
        each("user", &user),
    ]
    .concat()
    .iter()
    .map(|reader| reader.parse::<Reader>())
    .collect::<Result<_, _>>()
    .map_err(|error| ApiProblem::new(Code::BadReader, error.to_string()))
}
