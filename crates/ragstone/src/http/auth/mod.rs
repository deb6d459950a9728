//! The one door to a principal: who calls, and what its role allows.
//!
//! Invariant: `identify` runs before any body is read and is the only maker of a caller; a handler names the role it
//! needs by the extractor it takes ([`RequireReader`], [`RequireWriter`], [`RequireAdmin`]).

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

/// Marks a request that came through a door only the operator can open: the process itself, or its 0600 socket.
/// Set as a request extension by the process, never by a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorChannel;

/// Paths that answer without a caller.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// A caller who may read, search and ask.
pub struct RequireReader(pub Principal);
/// A caller who may also write.
pub struct RequireWriter(pub Principal);
/// A caller who may do everything in its tenant.
pub struct RequireAdmin(pub Principal);

/// The same with what it came in by.
pub(super) struct RequireAdminIdentity(pub CallerIdentity);

/// Who came in, and by what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallerIdentity {
    /// The caller.
    pub principal: Principal,
    /// What it came in by.
    pub credential: Credential,
    /// Whether the keys of all tenants are its to manage: the operator's, and the first key's.
    pub manages_all_tenants: bool,
}

/// What a proof says of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCaller {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name within the tenant.
    pub subject: String,
    /// Whom it may act as.
    pub readers: ReaderSet,
    /// What it may do.
    pub role: Role,
    /// When its proof ends by itself, where only the proof says so.
    pub expires_at: Option<OffsetDateTime>,
}

/// The one place that makes a principal of a caller from outside; `tests/tidy.rs` pins it.
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
    /// Whether callers have to prove who they are: as soon as there is anything to prove it with.
    pub async fn is_auth_required(&self) -> CatalogueResult<bool> {
        Ok(self.is_auth_required_by_settings() || self.keys.has_keys().await?)
    }

    fn is_auth_required_by_settings(&self) -> bool {
        self.settings.admin_key.is_some() || self.settings.issuers.is_some()
    }

    /// Who may read an upload that names nobody. As shipped everyone of the tenant, and nobody once there is a key.
    pub(super) fn default_readers(&self) -> ReaderSet {
        let guarded = self.is_auth_required_by_settings() || self.keys.are_keys_known();
        match &self.settings.default_readers {
            Some(readers) => readers.clone(),
            None if guarded => ReaderSet::new(),
            None => ReaderSet::from([ReaderToken::everyone()]),
        }
    }
}

/// Whether a path answers without a caller.
pub(super) fn is_open_path(path: &str) -> bool {
    OPEN_PATHS.contains(&path)
}

/// Identifies the caller, or answers for the handler.
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

/// Whether a request wants to prove something.
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

/// Whom the text behind `Bearer` proves; here kinds of proof are told apart.
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

/// The owner of a ticket, where headers cannot be sent. A ticket dies with the key or the token that it was got with.
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
    /// The reason is for the log: it would help whoever makes tokens up.
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

/// The ticket of a request for a stream; other requests can send headers.
fn stream_ticket(method: &Method, uri: &Uri) -> Option<String> {
    let streams = uri.path() == "/api/v1/ask-stream"
        || uri.path().starts_with("/api/v1/jobs/") && uri.path().ends_with("/events");
    let value = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))?;
    (streams && method == Method::GET).then(|| value.to_owned())
}

/// Who came in; none outside of `identify`, and where nobody has to.
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
