//! What a verified token says: whether it is for this service and of this moment, and whom it speaks for.
//!
//! Invariant: a claim that is missing gives nothing; one of another form refuses the token. No claim widens what another
//! one gives.

use ragstone_core::access::{Reader, ReaderSet, Role};
use ragstone_core::id::TenantId;
use serde_json::Value;

use super::TokenRefused;
use super::token::Claims;
use crate::config::{ClaimPath, Issuer};
use crate::http::auth::Verified;

/// Most values of a claim with departments, groups or roles.
pub const MAX_VALUES: usize = 1_000;

/// Whether `claims` name one of `audience`.
pub fn check_audience(claims: &Claims, audience: &[String]) -> Result<(), TokenRefused> {
    let ours = |name: &Value| match name {
        Value::String(name) => Ok(audience.contains(name)),
        _ => Err(TokenRefused::Claim("aud".into())),
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
        false => Err(TokenRefused::Audience),
    }
}

/// Whether `now` lies within the time of `claims`; both in seconds since 1970, clocks differing by up to `skew`.
/// When it ends, skew included.
pub fn check_times(claims: &Claims, now: f64, skew: f64) -> Result<f64, TokenRefused> {
    let expires = time(claims, "exp")?.ok_or_else(|| TokenRefused::Claim("exp".into()))?;
    if expires + skew <= now {
        return Err(TokenRefused::Expired);
    }
    for name in ["nbf", "iat"] {
        if time(claims, name)?.is_some_and(|begins| begins - skew > now) {
            return Err(TokenRefused::NotYet);
        }
    }
    Ok(expires + skew)
}

/// A NumericDate (RFC 7519, 2), which may have a fraction.
fn time(claims: &Claims, name: &str) -> Result<Option<f64>, TokenRefused> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(seconds)) => Ok(Some(seconds.as_f64().unwrap_or(f64::INFINITY))),
        Some(_) => Err(TokenRefused::Claim(name.to_owned())),
    }
}

/// Whom `claims` speak for, by what `issuer` is set to mean.
pub fn caller(claims: &Claims, issuer: &Issuer) -> Result<Verified, TokenRefused> {
    let subject = required(claims, &issuer.subject_claim)?;
    let mut readers = ReaderSet::from([reader("user", subject, &issuer.subject_claim)?]);
    for (kind, path) in [("dept", &issuer.departments_claim), ("group", &issuer.groups_claim)] {
        for name in values(claims, path.as_ref())? {
            let path = path.as_ref().expect("a claim with values has a path");
            readers.insert(reader(kind, name, path)?);
        }
    }
    Ok(Verified {
        tenant: tenant(claims, issuer)?,
        subject: subject.to_owned(),
        readers,
        role: role(claims, issuer)?,
        until: None,
    })
}

fn tenant(claims: &Claims, issuer: &Issuer) -> Result<TenantId, TokenRefused> {
    let Some(path) = &issuer.tenant_claim else {
        return Ok(issuer.tenant.clone().unwrap_or_default());
    };
    let named = required(claims, path)?.parse();
    named.map_err(|_| TokenRefused::Claim(path.to_string()))
}

fn reader(kind: &str, name: &str, path: &ClaimPath) -> Result<Reader, TokenRefused> {
    let reader = format!("{kind}:{name}").parse();
    reader.map_err(|_| TokenRefused::Claim(path.to_string()))
}

/// The highest role that the settings give to one of the token's; a reader if they give none.
fn role(claims: &Claims, issuer: &Issuer) -> Result<Role, TokenRefused> {
    let named = values(claims, issuer.role_claim.as_ref())?;
    let given = named.iter().filter_map(|name| issuer.roles.get(*name));
    Ok(given.copied().max().unwrap_or(Role::Reader))
}

fn required<'a>(claims: &'a Claims, path: &ClaimPath) -> Result<&'a str, TokenRefused> {
    let text = find(claims, path)?.and_then(Value::as_str);
    text.ok_or_else(|| TokenRefused::Claim(path.to_string()))
}

/// The text or the texts of a claim; none where it is missing or null.
fn values<'a>(claims: &'a Claims, path: Option<&ClaimPath>) -> Result<Vec<&'a str>, TokenRefused> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let wrong = || TokenRefused::Claim(path.to_string());
    match find(claims, path)? {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(items)) if items.len() > MAX_VALUES => Err(TokenRefused::TooMany(path.to_string())),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().ok_or_else(wrong));
            texts.collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn find<'a>(claims: &'a Claims, path: &ClaimPath) -> Result<Option<&'a Value>, TokenRefused> {
    let (last, way) = path.names().split_last().expect("a path has a name");
    let mut object = claims;
    for name in way {
        match object.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(inner)) => object = inner,
            Some(_) => return Err(TokenRefused::Claim(path.to_string())),
        }
    }
    Ok(object.get(last))
}
