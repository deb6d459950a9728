//! The operator's routes, answered by events while the work goes on: `progress`, `left_out`, and at the end `done` or
//! `failed`. Who leaves ends the work, which goes on from there when it is asked for again.

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

use super::{Listener, Moving, Told};

/// Messages that a slow listener may be behind.
const TOLD: usize = 1_024;

/// What only the operator can do with the whole library.
pub fn router(moving: Moving) -> Router {
    Router::new()
        .route("/operator/v1/export", post(export))
        .route("/operator/v1/import", post(import))
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

async fn export(State(moving): State<Arc<Moving>>, Json(request): Json<ExportRequest>) -> Response {
    told(move |listener| Box::pin(async move { moving.export(request.path, &listener).await }))
}

async fn import(State(moving): State<Arc<Moving>>, Json(request): Json<ImportRequest>) -> Response {
    told(move |listener| Box::pin(async move { moving.import(request.path, request.verify, &listener).await }))
}

fn told(work: impl FnOnce(Listener) -> BoxFuture<'static, anyhow::Result<Value>> + Send + 'static) -> Response {
    let events = stream! {
        let (sender, mut receiver) = mpsc::channel(TOLD);
        let mut work = pin!(work(Listener(sender)));
        let ended = loop {
            tokio::select! {
                biased;
                Some(told) = receiver.recv() => yield frame(&told),
                ended = &mut work => break ended,
            }
        };
        while let Ok(told) = receiver.try_recv() {
            yield frame(&told);
        }
        yield match ended {
            Ok(done) => event("done", &done),
            Err(error) => event("failed", &json!({ "detail": format!("{error:#}") })),
        };
    };
    let events = futures::StreamExt::map(events, Ok::<_, std::convert::Infallible>);
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

fn frame(told: &Told) -> String {
    match told {
        Told::Progress(far) => event("progress", far),
        Told::LeftOut { document, why } => event("left_out", &json!({ "document": document, "why": why })),
    }
}

fn event(name: &str, data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("text and numbers");
    format!("event: {name}\ndata: {json}\n\n")
}
