//! A line of the audit log for each request that was identified, or could not be.
//!
//! Invariant: no answer leaves before its line was handed over, and a request whose caller left has a line too. Of a
//! path only ids and numbers are told, of a query nothing: whatever else stands there may be a secret.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use ragstone_core::access::Principal;
use ragstone_core::document::format_timestamp;
use ragstone_core::id::TraceId;
use uuid::Uuid;

use super::ApiServices;
use super::auth::{self, OperatorChannel};
use super::problem::Code;
use crate::telemetry::audit::{AuditDecision, AuditLine};

/// Longest subject that is told whole, in characters.
const MAX_SUBJECT: usize = 256;
/// Longest question that is told whole, in characters.
const MAX_QUESTION: usize = 1_000;
/// Most targets of one line.
const MAX_TARGETS: usize = 2_000;

/// What the handlers of a request add to its line. Without an audit log it takes notes for nobody.
#[derive(Clone, Default)]
pub struct AuditRecord(Arc<Mutex<AuditNotes>>);

#[derive(Default)]
struct AuditNotes {
    caller: Option<Principal>,
    targets: Vec<String>,
    question: Option<String>,
}

impl AuditRecord {
    /// The request made, changed or showed this.
    pub fn add_target(&self, id: impl ToString) {
        let (mut notes, id) = (self.lock_notes(), id.to_string());
        if notes.targets.len() < MAX_TARGETS && !notes.targets.contains(&id) {
            notes.targets.push(id);
        }
    }

    /// The request asked this.
    pub fn set_question(&self, text: &str) {
        self.lock_notes().question = Some(text.chars().take(MAX_QUESTION).collect());
    }

    fn lock_notes(&self) -> MutexGuard<'_, AuditNotes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sync> FromRequestParts<S> for AuditRecord {
    type Rejection = std::convert::Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// Writes the line; stands outside of `identify`, which may refuse the request.
pub(super) async fn record_request(State(api): State<Arc<ApiServices>>, request: Request, next: Next) -> Response {
    if api.audit.is_none() || auth::is_open_path(request.uri().path()) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let mut pending = PendingAuditLine::from_parts(&api, &mut parts).await;
    parts.extensions.insert(pending.trail.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    let line = pending.finish_line(&response);
    if let Some(log) = &api.audit {
        log.write_line(&line).await;
    }
    pending.written = true;
    response
}

/// Notes who was identified; stands inside of `identify`.
pub(super) async fn record_caller(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(trail), Some(caller)) = (extensions.get::<AuditRecord>(), auth::identified_caller(extensions)) {
        trail.lock_notes().caller = Some(caller.clone());
    }
    next.run(request).await
}

/// The same for routes that nobody but the operator reaches.
pub(super) async fn record_operator(State(api): State<Arc<ApiServices>>, request: Request, next: Next) -> Response {
    if let Some(trail) = request.extensions().get::<AuditRecord>() {
        trail.lock_notes().caller = Some((api.operator)());
    }
    next.run(request).await
}

/// A line that is to be written, at the latest when the request is dropped.
struct PendingAuditLine {
    api: Arc<ApiServices>,
    trail: AuditRecord,
    trace_id: Option<TraceId>,
    action: String,
    address: Option<String>,
    /// What is on its way to the log.
    ended: Option<AuditLine>,
    written: bool,
}

impl PendingAuditLine {
    async fn from_parts(api: &Arc<ApiServices>, parts: &mut Parts) -> Self {
        let trail = AuditRecord::default();
        if let Ok(values) = RawPathParams::from_request_parts(parts, &()).await {
            let ids = values.iter().map(|(_, value)| value);
            ids.filter(|value| is_id(value)).for_each(|id| trail.add_target(id));
        }
        let extensions = &parts.extensions;
        let route = extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        let address = match extensions.get::<OperatorChannel>() {
            Some(_) => Some("operator".to_owned()),
            None => peer.map(|ConnectInfo(peer)| peer.ip().to_canonical().to_string()),
        };
        Self {
            api: api.clone(),
            trail,
            trace_id: extensions.get().copied(),
            action: match route {
                Some(route) => format!("{} {route}", super::middleware::method_label(&parts.method)),
                None => "none".into(),
            },
            address,
            ended: None,
            written: false,
        }
    }

    fn finish_line(&mut self, response: &Response) -> AuditLine {
        let code = response.extensions().get::<Code>().map(|code| code.as_str());
        let line = self.build_line(Some(response.status()), code);
        self.ended = Some(line.clone());
        line
    }

    fn build_line(&self, status: Option<StatusCode>, code: Option<&'static str>) -> AuditLine {
        let notes = std::mem::take(&mut *self.trail.lock_notes());
        let refused = match status {
            Some(status) => status.is_client_error(),
            None => notes.caller.is_none(),
        };
        let with_questions = self.api.audit.as_ref().is_some_and(|log| log.includes_questions());
        let caller = notes.caller.as_ref();
        AuditLine {
            time: format_timestamp((self.api.clock)()),
            trace_id: self.trace_id.map(|id| id.to_string()).unwrap_or_default(),
            tenant: caller.map(|caller| caller.tenant().as_str().to_owned()),
            subject: caller.map(|caller| caller.subject().chars().take(MAX_SUBJECT).collect()),
            role: caller.map(Principal::role),
            action: self.action.clone(),
            targets: notes.targets,
            decision: if refused {
                AuditDecision::Refused
            } else {
                AuditDecision::Allowed
            },
            status: status.map(|status| status.as_u16()),
            code,
            address: self.address.clone(),
            question: notes.question.filter(|_| with_questions),
        }
    }
}

/// Whoever hangs up before the answer may still have had something carried out.
impl Drop for PendingAuditLine {
    fn drop(&mut self) {
        if let (false, Some(log)) = (self.written, &self.api.audit) {
            let line = self.ended.take().unwrap_or_else(|| self.build_line(None, None));
            log.write_detached(&line);
        }
    }
}

/// Whether a part of a path is a UUID or a number.
fn is_id(value: &str) -> bool {
    value.parse::<Uuid>().is_ok() || value.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests;
