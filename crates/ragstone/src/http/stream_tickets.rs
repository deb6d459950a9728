//! `POST /api/v1/stream-tickets`: a ticket for an `EventSource`, which can send no header.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::auth::{Identity, TICKET_LIFETIME};
use super::limits::shares;
use super::problem::{Code, Problem};

pub(super) const PROBLEMS: &[Code] = &[Code::TooManyTickets];

/// A ticket.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamTicket {
    /// Goes into `?ticket=` of one request for a stream.
    ticket: String,
    /// Seconds until it is void.
    expires_in: u64,
}

/// A one-use ticket for `GET /api/v1/ask-stream` or `GET /api/v1/jobs/{id}/events`, good for 60 seconds.
#[utoipa::path(post, path = "/api/v1/stream-tickets", tag = "ask",
    responses((status = 201, body = StreamTicket)))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    identity: Identity,
    request: Parts,
) -> Result<(StatusCode, Json<StreamTicket>), Problem> {
    let ticket = format!("{}{}", (app.new_id)().simple(), (app.new_id)().simple());
    let holders = shares::holders(&app, &request.extensions, &request.headers);
    match app.tickets.issue(&ticket, identity, holders) {
        true => Ok((
            StatusCode::CREATED,
            Json(StreamTicket {
                ticket,
                expires_in: TICKET_LIFETIME.as_secs(),
            }),
        )),
        false => Err(Problem::new(
            Code::TooManyTickets,
            "too many tickets of this caller or address are waiting to be used",
        )
        .after(Some(TICKET_LIFETIME))),
    }
}
