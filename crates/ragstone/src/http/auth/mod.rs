//! Authentication and authorisation: identifies the caller of a request, makes its principal and checks its role.
//!
//! Invariant: `identify_caller` runs before any body is read and is the only maker of a caller; a handler states the
//! role it needs by the extractor it takes ([`RequireReader`], [`RequireWriter`], [`RequireAdmin`]).

mod acting;
pub mod jwt;
mod key;
mod keyring;
mod local;
mod proof;
mod ticket;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ragstone_core::access::{Principal, Reader as ReaderToken, ReaderSet, Role};
use ragstone_core::id::TenantId;
use ragstone_core::seam::catalogue::CatalogueResult;
use ragstone_core::seam::keys::{KeyRecord, KeySecret};
use time::OffsetDateTime;

use super::problem::{ApiProblem, Code};
use super::{ApiServices, RouterState};
use jwt::{TokenError, TokenIssuers};

pub use acting::ACT_AS;
pub use key::{AdminKey, MIN_KEY_BYTES, ShortKeyError};
pub use keyring::ApiKeyring;
pub(super) use keyring::{KEY_CACHE_TTL, NewKey};
pub(super) use proof::Credential;
pub(super) use ticket::{TICKET_LIFETIME, TicketStore};

/// Marks a request that came through a channel which only the operator can use: a call within the process, or its
/// socket with mode 0600. Set as a request extension by the process, never by a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorChannel;

/// Paths that need no caller.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Extractor: a caller of any role, who may read, search and ask. 401 without a caller.
pub struct RequireReader(pub Principal);
/// Extractor: a caller with the role writer or admin. 403 for a lower role.
pub struct RequireWriter(pub Principal);
/// Extractor: a caller with the role admin, who may do everything in its tenant. 403 for a lower role.
pub struct RequireAdmin(pub Principal);

/// [`RequireAdmin`] with the caller's credential and rights over other tenants.
pub(super) struct RequireAdminIdentity(pub CallerIdentity);

/// An identified caller with the credential it presented; also the extractor for any role.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallerIdentity {
    /// Tenant, subject, readers and role.
    pub principal: Principal,
    /// The key or token of the request, checked again during long streams.
    pub credential: Credential,
    /// Whether it may manage the keys of all tenants: true for the operator and for the admin key of the settings.
    pub manages_all_tenants: bool,
}

/// The claims of a verified key or token about its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCaller {
    /// Tenant of the caller.
    pub tenant: TenantId,
    /// Name of the caller, unique within the tenant.
    pub subject: String,
    /// Readers that the caller holds, beside `everyone`.
    pub readers: ReaderSet,
    /// Role of the caller.
    pub role: Role,
    /// When the credential expires, for tokens; `None` for keys, whose end is read from the store.
    pub expires_at: Option<OffsetDateTime>,
}

/// The only place that makes a principal of an outside caller; pinned by `tests/tidy.rs`.
fn make_principal(caller: VerifiedCaller) -> Principal {
    Principal::verified(caller.tenant, caller.subject, caller.readers, caller.role)
}

impl CallerIdentity {
    fn for_operator(app: &RouterState) -> Self {
        Self {
            principal: (app.operator)(),
            credential: Credential::default(),
            manages_all_tenants: true,
        }
    }

    fn for_first_key() -> Self {
        let caller = VerifiedCaller {
            tenant: TenantId::default(),
            subject: "admin".into(),
            readers: ReaderSet::new(),
            role: Role::Admin,
            expires_at: None,
        };
        Self {
            principal: make_principal(caller),
            credential: Credential::default(),
            manages_all_tenants: true,
        }
    }

    fn from_token(caller: VerifiedCaller) -> Self {
        let until = caller.expires_at;
        Self {
            principal: make_principal(caller),
            credential: Credential {
                key: None,
                expires_at: until,
            },
            manages_all_tenants: false,
        }
    }

    fn from_key(key: &KeyRecord) -> Self {
        let caller = VerifiedCaller {
            tenant: key.tenant.clone(),
            subject: key.subject.clone(),
            readers: key.readers.clone(),
            role: key.role,
            expires_at: None,
        };
        Self {
            principal: make_principal(caller),
            credential: Credential {
                key: Some(key.id),
                expires_at: None,
            },
            manages_all_tenants: false,
        }
    }
}

impl ApiServices {
    /// Whether callers must authenticate: true as soon as an admin key, a token issuer or an API key exists.
    pub async fn is_auth_required(&self) -> CatalogueResult<bool> {
        Ok(self.is_auth_required_by_settings() || self.keys.has_keys().await?)
    }

    fn is_auth_required_by_settings(&self) -> bool {
        self.settings.admin_key.is_some() || self.settings.issuers.is_some()
    }

    /// Readers of an upload that names none. Default while the setting is absent: everyone of the tenant, and nobody
    /// once authentication is required.
    pub(super) fn default_readers(&self) -> ReaderSet {
        let guarded = self.is_auth_required_by_settings() || self.keys.are_keys_known();
        match &self.settings.default_readers {
            Some(readers) => readers.clone(),
            None if guarded => ReaderSet::new(),
            None => ReaderSet::from([ReaderToken::everyone()]),
        }
    }
}

/// Whether a path needs no caller.
pub(super) fn is_open_path(path: &str) -> bool {
    OPEN_PATHS.contains(&path)
}

/// Middleware that identifies the caller and adds a [`CallerIdentity`] extension, or responds with the problem.
pub(super) async fn identify_caller(State(app): State<Arc<RouterState>>, request: Request, next: Next) -> Response {
    if is_open_path(request.uri().path()) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match authenticate_request(&app, &parts).await {
        Ok(identity) => {
            parts.extensions.insert(identity);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => match has_credential(&parts) {
            true => app.limits.on_failed_auth(&parts, problem).into_response(),
            false => problem.into_response(),
        },
    }
}

/// Whether a request carries a key, a token or a ticket.
fn has_credential(parts: &Parts) -> bool {
    parts.headers.contains_key(AUTHORIZATION) || stream_ticket(&parts.method, &parts.uri).is_some()
}

async fn authenticate_request(app: &RouterState, parts: &Parts) -> Result<CallerIdentity, ApiProblem> {
    let guarded = app.is_auth_required().await?;
    if parts.extensions.get::<OperatorChannel>().is_some() {
        let acted_for = acting::parse_impersonation(&parts.headers)?;
        return Ok(acted_for.map_or_else(|| CallerIdentity::for_operator(app), CallerIdentity::from_token));
    }
    let identity = authenticate_remote(app, parts, guarded).await?;
    match parts.headers.contains_key(ACT_AS) {
        true => Err(ApiProblem::new(
            Code::Forbidden,
            "only the operator acts for other callers",
        )),
        false => Ok(identity),
    }
}

async fn authenticate_remote(app: &RouterState, parts: &Parts, guarded: bool) -> Result<CallerIdentity, ApiProblem> {
    if !guarded {
        local::check_local(parts, &app.settings.allowed_origins)?;
        return Ok(CallerIdentity::for_operator(app));
    }
    match bearer_token(&parts.headers) {
        Some(presented) => verify_bearer(app, presented).await,
        None => redeem_ticket(app, parts).await,
    }
}

/// Verifies the text after `Bearer` and returns its caller. This is where admin key, API key and token are
/// distinguished.
async fn verify_bearer(app: &RouterState, presented: &str) -> Result<CallerIdentity, ApiProblem> {
    let first_key = app.settings.admin_key.as_ref();
    if first_key.is_some_and(|key| key.matches_key(presented)) {
        return Ok(CallerIdentity::for_first_key());
    }
    if KeySecret::has_key_prefix(presented) {
        let key = app.keys.verify_key(presented).await?;
        return Ok(CallerIdentity::from_key(&key));
    }
    match &app.settings.issuers {
        Some(issuers) if TokenIssuers::has_token_form(presented) => {
            Ok(CallerIdentity::from_token(issuers.verify_token(presented).await?))
        }
        _ => Err(keyring::unknown_key_problem()),
    }
}

/// The owner of the stream ticket in the query. The ticket is refused if the key or token that bought it has ended.
async fn redeem_ticket(app: &RouterState, parts: &Parts) -> Result<CallerIdentity, ApiProblem> {
    let refused = || ApiProblem::new(Code::Unauthorized, "no key was sent, or the ticket is spent");
    let ticket = stream_ticket(&parts.method, &parts.uri).and_then(|ticket| app.tickets.redeem_ticket(&ticket));
    let identity = ticket.ok_or_else(refused)?;
    match identity.credential.check_live(&app.keys).await {
        Err(ended) if ended.code == Code::Unauthorized => Err(refused()),
        opens => opens.map(|()| identity),
    }
}

impl From<TokenError> for ApiProblem {
    /// The reason is only logged: it would help an attacker who forges tokens.
    fn from(reason: TokenError) -> Self {
        tracing::debug!(%reason, "a token was refused");
        match reason {
            TokenError::NoKeys => Self::new(Code::IssuerUnavailable, "the token cannot be verified now")
                .with_retry_after(Some(jwt::REFETCH_INTERVAL)),
            _ => Self::new(Code::Unauthorized, "the token is not accepted here").for_token(),
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

/// The ticket in the query of a stream request; `None` on other paths, whose clients can send headers.
fn stream_ticket(method: &Method, uri: &Uri) -> Option<String> {
    let streams = uri.path() == "/api/v1/ask-stream"
        || uri.path().starts_with("/api/v1/jobs/") && uri.path().ends_with("/events");
    let value = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))?;
    (streams && method == Method::GET).then(|| value.to_owned())
}

/// The identified caller; `None` on open paths and outside of `identify_caller`.
pub(super) fn identified_caller(extensions: &Extensions) -> Option<&Principal> {
    extensions.get::<CallerIdentity>().map(|identity| &identity.principal)
}

fn require_role(parts: &Parts, role: Role) -> Result<CallerIdentity, ApiProblem> {
    let identity = parts.extensions.get::<CallerIdentity>();
    let identity = identity.ok_or_else(|| ApiProblem::new(Code::Unauthorized, "nobody was identified"))?;
    match identity.principal.role() >= role {
        true => Ok(identity.clone()),
        false => Err(ApiProblem::new(
            Code::Forbidden,
            format!("this needs the role {role:?}").to_lowercase(),
        )),
    }
}

impl<S: Sync> FromRequestParts<S> for RequireAdminIdentity {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiProblem> {
        require_role(parts, Role::Admin).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for CallerIdentity {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiProblem> {
        require_role(parts, Role::Reader)
    }
}

macro_rules! extractor {
    ($($type:ident: $role:ident,)+) => {
        $(impl<S: Sync> FromRequestParts<S> for $type {
            type Rejection = ApiProblem;
            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiProblem> {
                require_role(parts, Role::$role).map(|identity| Self(identity.principal))
            }
        })+
    };
}

extractor! {
    RequireReader: Reader,
    RequireWriter: Writer,
    RequireAdmin: Admin,
}

#[cfg(test)]
mod tests;
