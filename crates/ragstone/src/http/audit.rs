//! Writes one audit line for each request to a path that needs a caller, whether the caller was identified or refused.
//!
//! Invariant: the line is handed to the log before the response is sent, and a request whose client disconnected has a
//! line too. Of the path only ids and numbers are logged and of the query nothing, because anything else may hold a
//! secret.

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

/// Characters of a subject that are logged; the rest is cut off.
const MAX_SUBJECT: usize = 256;
/// Characters of a question that are logged; the rest is cut off.
const MAX_QUESTION: usize = 1_000;
/// Maximum number of targets in one line.
const MAX_TARGETS: usize = 2_000;

/// Facts that the handler of a request adds to its audit line; an extractor. Without an audit log they are discarded.
#[derive(Clone, Default)]
pub struct AuditRecord(Arc<Mutex<AuditNotes>>);

#[derive(Default)]
struct AuditNotes {
    caller: Option<Principal>,
    targets: Vec<String>,
    question: Option<String>,
}

impl AuditRecord {
    /// Adds the id of something that the request created, changed or returned. Repeated ids and those beyond the limit
    /// are ignored.
    pub fn add_target(&self, id: impl ToString) {
        let (mut notes, id) = (self.lock_notes(), id.to_string());
        if notes.targets.len() < MAX_TARGETS && !notes.targets.contains(&id) {
            notes.targets.push(id);
        }
    }

    /// Sets the question or search text of the request.
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

/// Middleware that writes the line. It runs outside of `identify_caller`, which may refuse the request.
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

/// Middleware that records the identified caller. It runs inside of `identify_caller`.
pub(super) async fn record_caller(request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(trail), Some(caller)) = (extensions.get::<AuditRecord>(), auth::identified_caller(extensions)) {
        trail.lock_notes().caller = Some(caller.clone());
    }
    next.run(request).await
}

/// Records the operator as the caller, for routes that only the operator channel reaches.
pub(super) async fn record_operator(State(api): State<Arc<ApiServices>>, request: Request, next: Next) -> Response {
    if let Some(trail) = request.extensions().get::<AuditRecord>() {
        trail.lock_notes().caller = Some((api.operator)());
    }
    next.run(request).await
}

/// The audit line of a request in progress; written at the latest when the request is dropped.
struct PendingAuditLine {
    api: Arc<ApiServices>,
    trail: AuditRecord,
    trace_id: Option<TraceId>,
    action: String,
    address: Option<String>,
    /// The finished line, while `record_request` writes it.
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

/// A request whose client disconnected before the response may still have changed something, so it is logged here.
impl Drop for PendingAuditLine {
    fn drop(&mut self) {
        if let (false, Some(log)) = (self.written, &self.api.audit) {
            let line = self.ended.take().unwrap_or_else(|| self.build_line(None, None));
            log.write_detached(&line);
        }
    }
}

/// Whether a path segment is a UUID or a number, and so safe to log.
fn is_id(value: &str) -> bool {
    value.parse::<Uuid>().is_ok() || value.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests;
