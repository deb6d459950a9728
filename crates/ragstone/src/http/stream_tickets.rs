//! `POST /api/v1/stream-tickets`: issues a ticket for a browser's `EventSource`, which cannot send headers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use super::RouterState;
use super::auth::{CallerIdentity, TICKET_LIFETIME};
use super::limits::shares;
use super::problem::{ApiProblem, Code};

pub(super) const PROBLEMS: &[Code] = &[Code::TooManyTickets];

/// A single-use ticket for one stream request.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamTicket {
    /// Value for the query parameter `ticket` of one stream request.
    ticket: String,
    /// Seconds until the ticket expires.
    expires_in: u64,
}

/// Issues a single-use ticket for `GET /api/v1/ask-stream` or `GET /api/v1/jobs/{id}/events`; it is valid for 60
/// seconds.
#[utoipa::path(post, path = "/api/v1/stream-tickets", tag = "ask",
    responses((status = 201, description = "A ticket that stands for the key in one URL.", body = StreamTicket)))]
pub(super) async fn create_stream_ticket(
    State(app): State<Arc<RouterState>>,
    identity: CallerIdentity,
    request: Parts,
) -> Result<(StatusCode, Json<StreamTicket>), ApiProblem> {
    let ticket = format!("{}{}", (app.new_id)().simple(), (app.new_id)().simple());
    let holders = shares::slot_holders(&app, &request.extensions, &request.headers);
    match app.tickets.issue_ticket(&ticket, identity, holders) {
        true => Ok((
            StatusCode::CREATED,
            Json(StreamTicket {
                ticket,
                expires_in: TICKET_LIFETIME.as_secs(),
            }),
        )),
        false => Err(ApiProblem::new(
            Code::TooManyTickets,
            "too many tickets of this caller or address are waiting to be used",
        )
        .with_retry_after(Some(TICKET_LIFETIME))),
    }
}
