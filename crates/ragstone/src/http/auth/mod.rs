//! The one door to a principal: who calls, and what its role allows.
//!
//! Invariant: `identify` runs before any body is read and is the only maker of a caller; a handler names the role it
//! needs by the extractor it takes ([`Reader`], [`Writer`], [`Admin`]).

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
use ragstone_core::seam::keys::{Key, KeySecret};
use time::OffsetDateTime;

use super::problem::{Code, Problem};
use super::{Api, App};
use jwt::{Issuers, TokenRefused};

pub use acting::ACT_AS;
pub use key::{AdminKey, MIN_KEY_BYTES, ShortKey};
pub use keyring::Keyring;
pub(super) use keyring::{NewKey, TRUSTED_FOR};
pub(super) use proof::Proof;
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

/// The same with what it came in by.
pub(super) struct AdminIdentity(pub Identity);

/// Who came in, and by what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Identity {
    /// The caller.
    pub principal: Principal,
    /// What it came in by.
    pub proof: Proof,
    /// Whether the keys of all tenants are its to manage: the operator's, and the first key's.
    pub of_all_tenants: bool,
}

/// What a proof says of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name within the tenant.
    pub subject: String,
    /// Whom it may act as.
    pub readers: ReaderSet,
    /// What it may do.
    pub role: Role,
    /// When its proof ends by itself, where only the proof says so.
    pub until: Option<OffsetDateTime>,
}

/// The one place that makes a principal of a caller from outside; `tests/tidy.rs` pins it.
fn principal(caller: Verified) -> Principal {
    Principal::verified(caller.tenant, caller.subject, caller.readers, caller.role)
}

impl Identity {
    fn operator(app: &App) -> Self {
        Self {
            principal: (app.operator)(),
            proof: Proof::default(),
            of_all_tenants: true,
        }
    }

    fn first_key() -> Self {
        let caller = Verified {
            tenant: TenantId::default(),
            subject: "admin".into(),
            readers: ReaderSet::new(),
            role: Role::Admin,
            until: None,
        };
        Self {
            principal: principal(caller),
            proof: Proof::default(),
            of_all_tenants: true,
        }
    }

    fn of_token(caller: Verified) -> Self {
        let until = caller.until;
        Self {
            principal: principal(caller),
            proof: Proof { key: None, until },
            of_all_tenants: false,
        }
    }

    fn of_key(key: &Key) -> Self {
        let caller = Verified {
            tenant: key.tenant.clone(),
            subject: key.subject.clone(),
            readers: key.readers.clone(),
            role: key.role,
            until: None,
        };
        Self {
            principal: principal(caller),
            proof: Proof {
                key: Some(key.id),
                until: None,
            },
            of_all_tenants: false,
        }
    }
}

impl Api {
    /// Whether callers have to prove who they are: as soon as there is anything to prove it with.
    pub async fn is_guarded(&self) -> CatalogueResult<bool> {
        Ok(self.is_guarded_by_settings() || self.keys.exist().await?)
    }

    fn is_guarded_by_settings(&self) -> bool {
        self.settings.admin_key.is_some() || self.settings.issuers.is_some()
    }

    /// Who may read an upload that names nobody. As shipped everyone of the tenant, and nobody once there is a key.
    pub(super) fn default_readers(&self) -> ReaderSet {
        let guarded = self.is_guarded_by_settings() || self.keys.known_to_exist();
        match &self.settings.default_readers {
            Some(readers) => readers.clone(),
            None if guarded => ReaderSet::new(),
            None => ReaderSet::from([ReaderToken::everyone()]),
        }
    }
}

/// Whether a path answers without a caller.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// Identifies the caller, or answers for the handler.
pub(super) async fn identify(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match caller(&app, &parts).await {
        Ok(identity) => {
            parts.extensions.insert(identity);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => match presents(&parts) {
            true => app.limits.after_wrong(&parts, problem).into_response(),
            false => problem.into_response(),
        },
    }
}

/// Whether a request wants to prove something.
fn presents(parts: &Parts) -> bool {
    parts.headers.contains_key(AUTHORIZATION) || ticket(&parts.method, &parts.uri).is_some()
}

async fn caller(app: &App, parts: &Parts) -> Result<Identity, Problem> {
    let guarded = app.is_guarded().await?;
    if parts.extensions.get::<OperatorDoor>().is_some() {
        let acted_for = acting::named(&parts.headers)?;
        return Ok(acted_for.map_or_else(|| Identity::operator(app), Identity::of_token));
    }
    let identity = from_outside(app, parts, guarded).await?;
    match parts.headers.contains_key(ACT_AS) {
        true => Err(Problem::new(
            Code::Forbidden,
            "only the operator acts for other callers",
        )),
        false => Ok(identity),
    }
}

async fn from_outside(app: &App, parts: &Parts, guarded: bool) -> Result<Identity, Problem> {
    if !guarded {
        local::check(parts, &app.settings.allowed_origins)?;
        return Ok(Identity::operator(app));
    }
    match bearer(&parts.headers) {
        Some(presented) => proven(app, presented).await,
        None => redeemed(app, parts).await,
    }
}

/// Whom the text behind `Bearer` proves; here kinds of proof are told apart.
async fn proven(app: &App, presented: &str) -> Result<Identity, Problem> {
    let first_key = app.settings.admin_key.as_ref();
    if first_key.is_some_and(|key| key.is(presented)) {
        return Ok(Identity::first_key());
    }
    if KeySecret::is_meant(presented) {
        let key = app.keys.verify(presented).await?;
        return Ok(Identity::of_key(&key));
    }
    match &app.settings.issuers {
        Some(issuers) if Issuers::has_form(presented) => Ok(Identity::of_token(issuers.verify(presented).await?)),
        _ => Err(keyring::unknown()),
    }
}

/// The owner of a ticket, where headers cannot be sent. A ticket dies with the key or the token that it was got with.
async fn redeemed(app: &App, parts: &Parts) -> Result<Identity, Problem> {
    let refused = || Problem::new(Code::Unauthorized, "no key was sent, or the ticket is spent");
    let ticket = ticket(&parts.method, &parts.uri).and_then(|ticket| app.tickets.redeem(&ticket));
    let identity = ticket.ok_or_else(refused)?;
    match identity.proof.still_opens(&app.keys).await {
        Err(ended) if ended.code == Code::Unauthorized => Err(refused()),
        opens => opens.map(|()| identity),
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
    let value = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("ticket="))?;
    (streams && method == Method::GET).then(|| value.to_owned())
}

/// Who came in; none outside of `identify`, and where nobody has to.
pub(super) fn identified(extensions: &Extensions) -> Option<&Principal> {
    extensions.get::<Identity>().map(|identity| &identity.principal)
}

fn at_least(parts: &Parts, role: Role) -> Result<Identity, Problem> {
    let identity = parts.extensions.get::<Identity>();
    let identity = identity.ok_or_else(|| Problem::new(Code::Unauthorized, "nobody was identified"))?;
    match identity.principal.role() >= role {
        true => Ok(identity.clone()),
        false => Err(Problem::new(
            Code::Forbidden,
            format!("this needs the role {role:?}").to_lowercase(),
        )),
    }
}

impl<S: Sync> FromRequestParts<S> for AdminIdentity {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        at_least(parts, Role::Admin).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        at_least(parts, Role::Reader)
    }
}

macro_rules! extractor {
    ($($type:ident)+) => {
        $(impl<S: Sync> FromRequestParts<S> for $type {
            type Rejection = Problem;
            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                at_least(parts, Role::$type).map(|identity| Self(identity.principal))
            }
        })+
    };
}

extractor!(Reader Writer Admin);

#[cfg(test)]
mod tests;
