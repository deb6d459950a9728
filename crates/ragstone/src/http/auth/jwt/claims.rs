//! Checks the claims of a token whose signature is verified (audience, times), and maps them to a caller.
//!
//! Invariant: a missing claim gives no right; a claim of the wrong type refuses the token. No claim extends the rights
//! that another one gives.

use ragstone_core::access::{Reader, ReaderSet, Role};
use ragstone_core::id::TenantId;
use serde_json::Value;

use super::TokenError;
use super::token::Claims;
use crate::config::{ClaimPath, IssuerSettings};
use crate::http::auth::VerifiedCaller;

/// Maximum number of values of a claim with departments, groups or roles.
pub const MAX_VALUES: usize = 1_000;

/// Fails unless `aud` names one of `audience`.
pub fn check_audience(claims: &Claims, audience: &[String]) -> Result<(), TokenError> {
    let ours = |name: &Value| match name {
        Value::String(name) => Ok(audience.contains(name)),
        _ => Err(TokenError::Claim("aud".into())),
    };
    let named = match claims.get("aud") {
        None => false,
        Some(Value::Array(names)) => {
            let each: Vec<bool> = names.iter().map(ours).collect::<Result<_, _>>()?;
            each.contains(&true)
        }
        Some(name) => ours(name)?,
    };
    match named {
        true => Ok(()),
        false => Err(TokenError::Audience),
    }
}

/// Fails unless `now` is within `nbf`, `iat` and `exp`. Times are seconds since 1970; clocks may differ by up to `skew`
/// seconds. Returns `exp` plus `skew`.
pub fn check_times(claims: &Claims, now: f64, skew: f64) -> Result<f64, TokenError> {
    let expires = numeric_date(claims, "exp")?.ok_or_else(|| TokenError::Claim("exp".into()))?;
    if expires + skew <= now {
        return Err(TokenError::Expired);
    }
    for name in ["nbf", "iat"] {
        if numeric_date(claims, name)?.is_some_and(|begins| begins - skew > now) {
            return Err(TokenError::NotYet);
        }
    }
    Ok(expires + skew)
}

/// Reads a NumericDate (RFC 7519, 2), which may have a fraction.
fn numeric_date(claims: &Claims, name: &str) -> Result<Option<f64>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(seconds)) => Ok(Some(seconds.as_f64().unwrap_or(f64::INFINITY))),
        Some(_) => Err(TokenError::Claim(name.to_owned())),
    }
}

/// The caller that `claims` describe, by the claim names in the settings of `issuer`.
pub fn caller_from_claims(claims: &Claims, issuer: &IssuerSettings) -> Result<VerifiedCaller, TokenError> {
    let subject = required_text(claims, &issuer.subject_claim)?;
    let mut readers = ReaderSet::from([parse_reader("user", subject, &issuer.subject_claim)?]);
    for (kind, path) in [("dept", &issuer.departments_claim), ("group", &issuer.groups_claim)] {
        for name in claim_texts(claims, path.as_ref())? {
            let path = path.as_ref().expect("a claim with values has a path");
            readers.insert(parse_reader(kind, name, path)?);
        }
    }
    Ok(VerifiedCaller {
        tenant: tenant_from_claims(claims, issuer)?,
        subject: subject.to_owned(),
        readers,
        role: role_from_claims(claims, issuer)?,
        expires_at: None,
    })
}

fn tenant_from_claims(claims: &Claims, issuer: &IssuerSettings) -> Result<TenantId, TokenError> {
    let Some(path) = &issuer.tenant_claim else {
        return Ok(issuer.tenant.clone().unwrap_or_default());
    };
    let named = required_text(claims, path)?.parse();
    named.map_err(|_| TokenError::Claim(path.to_string()))
}

fn parse_reader(kind: &str, name: &str, path: &ClaimPath) -> Result<Reader, TokenError> {
    let reader = format!("{kind}:{name}").parse();
    reader.map_err(|_| TokenError::Claim(path.to_string()))
}

/// The highest role that the settings map one of the token's values to; reader if there is none.
fn role_from_claims(claims: &Claims, issuer: &IssuerSettings) -> Result<Role, TokenError> {
    let named = claim_texts(claims, issuer.role_claim.as_ref())?;
    let given = named.iter().filter_map(|name| issuer.roles.get(*name));
    Ok(given.copied().max().unwrap_or(Role::Reader))
}

fn required_text<'a>(claims: &'a Claims, path: &ClaimPath) -> Result<&'a str, TokenError> {
    let text = find_claim(claims, path)?.and_then(Value::as_str);
    text.ok_or_else(|| TokenError::Claim(path.to_string()))
}

/// The string or strings of a claim; empty if it is missing or null.
fn claim_texts<'a>(claims: &'a Claims, path: Option<&ClaimPath>) -> Result<Vec<&'a str>, TokenError> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let wrong = || TokenError::Claim(path.to_string());
    match find_claim(claims, path)? {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(items)) if items.len() > MAX_VALUES => Err(TokenError::TooMany(path.to_string())),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().ok_or_else(wrong));
            texts.collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn find_claim<'a>(claims: &'a Claims, path: &ClaimPath) -> Result<Option<&'a Value>, TokenError> {
    let (last, way) = path.claim_names().split_last().expect("a path has a name");
    let mut object = claims;
    for name in way {
        match object.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(inner)) => object = inner,
            Some(_) => return Err(TokenError::Claim(path.to_string())),
        }
    }
    Ok(object.get(last))
}
