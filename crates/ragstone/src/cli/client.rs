//! One protocol, three doors: this process's own router, the socket of the process that has the data directory, or a
//! server's address.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use futures::Stream;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tower::ServiceExt;

use super::Interrupted;
use super::output::say;
use super::serve::told_to_stop;
use super::sse::{self, Event};
use crate::config::Settings;
use crate::http::ACT_AS;
use crate::wiring::{self, App, ModelFetch, Opened};

/// Largest answer that is held in memory.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// How often a process that has the directory but does not listen yet is asked again, and how long between.
const OPEN_TRIES: u32 = 50;
const OPEN_WAIT: Duration = Duration::from_millis(100);

/// The way to a library.
pub enum Door {
    /// This process has the data directory.
    Here(Box<App>),
    /// Another one has it and listens here.
    Socket(PathBuf),
    /// A server.
    Address(SocketAddr),
}

/// An answer that is a refusal: problem+json, in words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}{}", if hint.is_empty() { String::new() } else { format!("; hint: {hint}") })]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable word.
    pub code: String,
    /// What and which.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

impl Door {
    /// Opens the data directory, or the socket of the process that has it.
    pub async fn open(settings: &Settings, fetch: ModelFetch) -> anyhow::Result<Self> {
        let socket = wiring::socket(settings);
        for _ in 0..OPEN_TRIES {
            match wiring::open(settings, &fetch).await? {
                Opened::Here(app) => {
                    // A log that shows it says it already.
                    if let Some(upgraded) = app.upgraded()
                        && !tracing::enabled!(tracing::Level::INFO)
                    {
                        say(upgraded);
                    }
                    return Ok(Self::Here(app));
                }
                Opened::Elsewhere { .. } if listens(&socket).await => return Ok(Self::Socket(socket)),
                Opened::Elsewhere { .. } => tokio::time::sleep(OPEN_WAIT).await,
            }
        }
        bail!(
            "another process has {} and does not answer at {}; hint: stop it",
            settings.data.directory.display(),
            socket.display()
        )
    }

    /// Ends what this process runs for the door: jobs at work are finished or handed back.
    pub async fn close(self) {
        if let Self::Here(app) = self {
            app.close().await;
        }
    }

    /// The same after work that may have been interrupted, or is while this waits: then jobs are handed back at once, and
    /// wait as if nobody had begun them.
    pub async fn close_after<T>(self, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let interrupted = done.as_ref().is_err_and(|error| error.is::<Interrupted>());
        match self {
            Self::Here(app) if interrupted => app.close_within(std::future::ready(())).await,
            Self::Here(app) => {
                let bound = app.shutdown_bound();
                let patience = async {
                    // Told or late, it is time.
                    let _ = tokio::time::timeout(bound, told_to_stop()).await;
                };
                app.close_within(patience).await;
            }
            Self::Socket(_) | Self::Address(_) => {}
        }
        done
    }

    /// Sends a request and gives the answer, whatever its status.
    pub async fn send(&self, request: Request<Body>) -> anyhow::Result<Response<Body>> {
        match self {
            Self::Here(app) => oneshot(app.operator_router(), request).await,
            Self::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .with_context(|| format!("cannot reach {}", path.display()))?;
                over(stream, request).await
            }
            Self::Address(address) => {
                let stream = TcpStream::connect(address)
                    .await
                    .with_context(|| format!("cannot reach {address}"))?;
                over(stream, request).await
            }
        }
    }

    /// GET, as JSON.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::GET, path, None).await
    }

    /// A request with a JSON body, if any, answered by JSON; anything but 2xx is a [`Refusal`].
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let response = self.accepted(request(method, path, body)?).await?;
        read_json(response).await
    }

    /// A POST for another caller, which only the operator's door takes; for the operator itself if nobody is named.
    pub async fn post_as(&self, caller: Option<&Value>, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = acting(caller, request(Method::POST, path, Some(body))?)?;
        read_json(self.accepted(request).await?).await
    }

    /// A POST answered by events.
    pub async fn events(
        &self,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Event>> + use<>> {
        self.events_as(None, path, body).await
    }

    /// The same for another caller.
    pub async fn events_as(
        &self,
        caller: Option<&Value>,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<Event>> + use<>> {
        let mut request = acting(caller, request(Method::POST, path, Some(body))?)?;
        let accept = header::HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(header::ACCEPT, accept);
        Ok(sse::events(self.accepted(request).await?.into_body()))
    }

    /// Sends a request; anything but 2xx is a [`Refusal`].
    pub async fn accepted(&self, request: Request<Body>) -> anyhow::Result<Response<Body>> {
        let response = self.send(request).await?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(refusal(response).await.into()),
        }
    }
}

/// The answer's body as JSON.
pub async fn read_json(response: Response<Body>) -> anyhow::Result<Value> {
    let bytes = axum::body::to_bytes(response.into_body(), MAX_ANSWER_BYTES).await?;
    match bytes.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&bytes).context("the answer is not JSON"),
    }
}

fn request(method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Request<Body>> {
    let builder = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost");
    Ok(match body {
        Some(body) => builder
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(serde_json::to_vec(body)?))?,
        None => builder.body(Body::empty())?,
    })
}

fn acting(caller: Option<&Value>, mut request: Request<Body>) -> anyhow::Result<Request<Body>> {
    if let Some(caller) = caller {
        let named = header::HeaderValue::from_bytes(caller.to_string().as_bytes());
        let named = named.context("the caller's name cannot be sent")?;
        request.headers_mut().insert(ACT_AS, named);
    }
    Ok(request)
}

async fn refusal(response: Response<Body>) -> Refusal {
    let status = response.status();
    let problem = read_json(response).await.unwrap_or_default();
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let detail = match text("detail") {
        detail if detail.is_empty() => format!("the server answered {status}"),
        detail => detail,
    };
    Refusal {
        status,
        code: text("code"),
        detail,
        hint: text("hint"),
    }
}

async fn oneshot(router: Router, request: Request<Body>) -> anyhow::Result<Response<Body>> {
    match router.oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// One request over a connection of its own, which ends with the answer's body.
async fn over<S>(stream: S, request: Request<Body>) -> anyhow::Result<Response<Body>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection broke");
        }
    });
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| Body::new(body.map_err(axum::Error::new))))
}

/// Work that ends when its process is told to stop.
pub async fn interruptible<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        told = told_to_stop() => {
            told?;
            Err(Interrupted.into())
        }
    }
}

async fn listens(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}
