//! The header `Idempotency-Key`: an upload that is sent again gets the stored response and has no further effect.
//!
//! Invariant: two requests of one caller with the same key never run at the same time. A response is stored only if the
//! request was carried out; a refused request can be corrected and sent again with the same key.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ragstone_core::access::Principal;
use ragstone_core::id::ContentHash;
use ragstone_core::seam::idempotency::{RequestKey, StoredResponse};
use serde::Serialize;

use super::form::UploadFields;
use crate::http::RouterState;
use crate::http::problem::{ApiProblem, Code};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest value of the header, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// Keys of requests in progress. Kept in memory only: one process owns a data directory, and a crash leaves none
/// behind.
#[derive(Default)]
pub struct InFlightKeys(Arc<Mutex<HashSet<RequestKey>>>);

/// A request with or without an idempotency key; without one all methods do nothing special.
pub(super) struct IdempotentRequest<'a> {
    app: &'a RouterState,
    named: Option<InFlightGuard>,
}

/// A key in progress; dropping it frees the key.
struct InFlightGuard {
    key: RequestKey,
    all: Arc<Mutex<HashSet<RequestKey>>>,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.key);
    }
}

fn lock(keys: &Mutex<HashSet<RequestKey>>) -> MutexGuard<'_, HashSet<RequestKey>> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that identifies the content of an upload. Its fingerprint detects a key that is used for another request.
#[derive(Serialize)]
pub(super) struct FingerprintInput<'a> {
    pub fields: &'a UploadFields,
    /// Name, declared media type and content hash of each file; no hash for a refused file.
    pub files: Vec<(&'a str, Option<&'a str>, Option<ContentHash>)>,
}

impl FingerprintInput<'_> {
    pub fn compute_fingerprint(&self) -> [u8; 32] {
        let json = serde_json::to_vec(self).expect("fields of text serialise");
        *blake3::hash(&json).as_bytes()
    }
}

impl<'a> IdempotentRequest<'a> {
    /// Reads the header. Refuses an invalid key, and a key whose request is still in progress.
    pub fn begin_request(app: &'a RouterState, principal: &Principal, headers: &HeaderMap) -> Result<Self, ApiProblem> {
        let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
            return Ok(Self { app, named: None });
        };
        let key = value.to_str().unwrap_or_default().trim();
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            let detail = format!("header Idempotency-Key: must be 1 to {MAX_KEY_BYTES} characters of ASCII");
            return Err(ApiProblem::new(Code::BadField, detail));
        }
        let key = RequestKey {
            tenant: principal.tenant().clone(),
            subject: principal.subject().to_owned(),
            key: key.to_owned(),
        };
        let all = app.in_flight_keys.0.clone();
        if !lock(&all).insert(key.clone()) {
            let detail = "a request with this Idempotency-Key is worked on";
            let wait = Some(crate::http::middleware::BUSY_RETRY_AFTER);
            return Err(ApiProblem::new(Code::IdempotencyInFlight, detail).with_retry_after(wait));
        }
        let named = Some(InFlightGuard { key, all });
        Ok(Self { app, named })
    }

    /// The stored response of the same request; `None` if there is none. Fails if the key was used for another request.
    pub async fn stored_response(&self, asked: &[u8; 32]) -> Result<Option<Response>, ApiProblem> {
        let Some(named) = &self.named else {
            return Ok(None);
        };
        let now = (self.app.clock)();
        match self.app.idempotency.find_response(&named.key, now).await? {
            None => Ok(None),
            Some(before) if before.fingerprint == *asked => {
                let status = StatusCode::from_u16(before.status).unwrap_or(StatusCode::OK);
                Ok(Some(json_response(status, before.body)))
            }
            Some(_) => {
                let detail = "another request was sent with this Idempotency-Key";
                Err(ApiProblem::new(Code::IdempotencyKeyReused, detail))
            }
        }
    }

    /// Sends the response and stores it. A failure to store is only logged, because sending the same bytes again
    /// changes nothing.
    pub async fn respond_and_store(self, asked: &[u8; 32], status: StatusCode, body: &impl Serialize) -> Response {
        let body = serde_json::to_string(body).expect("text and numbers serialise");
        if let Some(named) = &self.named {
            let answered = StoredResponse {
                fingerprint: *asked,
                status: status.as_u16(),
                body: body.clone(),
            };
            let kept = self
                .app
                .idempotency
                .save_response(&named.key, answered, (self.app.clock)());
            if let Err(error) = kept.await {
                tracing::error!(%error, "an answer under an idempotency key could not be kept");
            }
        }
        json_response(status, body)
    }
}

fn json_response(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests;
