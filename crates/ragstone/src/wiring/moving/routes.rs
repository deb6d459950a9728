//! The operator's routes for export and import. They answer with events: `progress`, `left_out`, and at the end `done`
//! or `failed`. If the client disconnects, the work ends; the same request continues it.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use async_stream::stream;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{LibraryTransfer, TransferEvent, TransferListener};

/// Capacity of the event channel, in events.
const EVENT_BUFFER: usize = 1_024;

/// The routes for transferring a whole library.
pub fn transfer_router(moving: LibraryTransfer) -> Router {
    Router::new()
        .route("/operator/v1/export", post(stream_export))
        .route("/operator/v1/import", post(stream_import))
        .with_state(Arc::new(moving))
}

#[derive(Deserialize)]
struct ExportRequest {
    path: PathBuf,
}

#[derive(Deserialize)]
struct ImportRequest {
    path: PathBuf,
    verify: bool,
}

async fn stream_export(State(moving): State<Arc<LibraryTransfer>>, Json(request): Json<ExportRequest>) -> Response {
    stream_transfer(move |listener| Box::pin(async move { moving.export_library(request.path, &listener).await }))
}

async fn stream_import(State(moving): State<Arc<LibraryTransfer>>, Json(request): Json<ImportRequest>) -> Response {
    stream_transfer(move |listener| {
        Box::pin(async move { moving.import_library(request.path, request.verify, &listener).await })
    })
}

fn stream_transfer(
    work: impl FnOnce(TransferListener) -> BoxFuture<'static, anyhow::Result<Value>> + Send + 'static,
) -> Response {
    let events = stream! {
        let (sender, mut receiver) = mpsc::channel(EVENT_BUFFER);
        let mut work = pin!(work(TransferListener(sender)));
        let ended = loop {
            tokio::select! {
                biased;
                Some(told) = receiver.recv() => yield encode_transfer_event(&told),
                ended = &mut work => break ended,
            }
        };
        while let Ok(told) = receiver.try_recv() {
            yield encode_transfer_event(&told);
        }
        yield match ended {
            Ok(done) => encode_event("done", &done),
            Err(error) => encode_event("failed", &json!({ "detail": format!("{error:#}") })),
        };
    };
    let events = futures::StreamExt::map(events, Ok::<_, std::convert::Infallible>);
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

fn encode_transfer_event(told: &TransferEvent) -> String {
    match told {
        TransferEvent::Progress(far) => encode_event("progress", far),
        TransferEvent::LeftOut { document, why } => {
            encode_event("left_out", &json!({ "document": document, "why": why }))
        }
    }
}

fn encode_event(name: &str, data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("text and numbers");
    format!("event: {name}\ndata: {json}\n\n")
}
