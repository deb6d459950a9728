//! The one door to a principal: who calls, and what its role allows.
//!
//! Invariant: `identify` runs before any body is read and is the only maker of a caller; a handler names the role it
//! needs by the extractor it takes ([`Reader`], [`Writer`], [`Admin`]).

pub mod jwt;
mod key;
mod local;
mod ticket;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ragstone_core::access::{Principal, ReaderSet, Role};
use ragstone_core::id::TenantId;

use super::App;
use super::problem::{Code, Problem};
use jwt::{Issuers, TokenRefused, VerifiedToken};

pub use key::{AdminKey, MIN_KEY_BYTES, ShortKey};
pub(super) use ticket::{TICKET_LIFETIME, Tickets};

/// Marks a request that came through a door only the operator can open: the process itself, or its 0600 socket.
/// Set as a request extension by the process, never by a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorDoor;

/// Paths that answer without a caller.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// A caller who may read, search and ask.
pub struct Reader(pub Principal);
/// A caller who may also write.
pub struct Writer(pub Principal);
/// A caller who may do everything in its tenant.
pub struct Admin(pub Principal);

/// Whether a path answers without a caller.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Identifies the caller, or answers for the handler.
pub(super) async fn identify(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if is_open(request.uri().path()) {
        return next.run(request).await;
    }
    match caller(&app, &mut request).await {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn caller(app: &App, request: &mut Request) -> Result<Principal, Problem> {
    if request.extensions().get::<OperatorDoor>().is_some() {
        return Ok((app.operator)());
    }
    if app.settings.admin_key.is_none() && app.settings.issuers.is_none() {
        local::check(request, &app.settings.allowed_origins)?;
        return Ok((app.operator)());
    }
    if let Some(presented) = bearer(request.headers()) {
        return vouched(app, presented).await;
    }
    ticket(request.method(), request.uri())
        .and_then(|ticket| app.tickets.redeem(&ticket))
        .ok_or_else(|| Problem::new(Code::Unauthorized, "no key was sent, or the ticket is spent"))
}

/// A caller with the key, or with a token of an issuer.
async fn vouched(app: &App, presented: &str) -> Result<Principal, Problem> {
    let is_key = app
        .settings
        .admin_key
        .as_ref()
        .is_some_and(|key| key.is(presented));
    let token = match &app.settings.issuers {
        _ if is_key => administrator(),
        Some(issuers) if Issuers::has_form(presented) => issuers.verify(presented).await?,
        _ => return Err(Problem::new(Code::Unauthorized, "the key is not known here")),
    };
    let VerifiedToken {
        tenant,
        subject,
        readers,
        role,
    } = token;
    Ok(Principal::verified(tenant, subject, readers, role))
}

fn administrator() -> VerifiedToken {
    VerifiedToken {
        tenant: TenantId::default(),
        subject: "admin".into(),
        readers: ReaderSet::new(),
        role: Role::Admin,
    }
}

impl From<TokenRefused> for Problem {
    /// The reason is for the log: it would help whoever makes tokens up.
    fn from(reason: TokenRefused) -> Self {
        tracing::debug!(%reason, "a token was refused");
        match reason {
            TokenRefused::NoKeys => Self::new(Code::IssuerUnavailable, "the token cannot be verified now")
                .after(Some(jwt::REFETCH_INTERVAL)),
            _ => Self::new(Code::Unauthorized, "the token is not accepted here").of_a_token(),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

/// The ticket of a request for a stream; other requests can send headers.
fn ticket(method: &Method, uri: &Uri) -> Option<String> {
    let streams = uri.path() == "/api/v1/ask-stream"
        || uri.path().starts_with("/api/v1/jobs/") && uri.path().ends_with("/events");
    let value = uri
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("ticket="))?;
    (streams && method == Method::GET).then(|| value.to_owned())
}

fn identified(parts: &Parts) -> Result<Principal, Problem> {
    let principal = parts.extensions.get::<Principal>().cloned();
    principal.ok_or_else(|| Problem::new(Code::Unauthorized, "nobody was identified"))
}

fn at_least(parts: &Parts, role: Role) -> Result<Principal, Problem> {
    let principal = identified(parts)?;
    match principal.role() >= role {
        true => Ok(principal),
        false => Err(Problem::new(
            Code::Forbidden,
            format!("this needs the role {role:?}").to_lowercase(),
        )),
    }
}

macro_rules! extractor {
    ($($type:ident)+) => {
        $(impl<S: Sync> FromRequestParts<S> for $type {
            type Rejection = Problem;
            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                at_least(parts, Role::$type).map(Self)
            }
        })+
    };
}

extractor!(Reader Writer Admin);

#[cfg(test)]
mod tests;
