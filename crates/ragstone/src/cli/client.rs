//! The API client of the commands. It reaches the API through this process's own router, the socket of the process that
//! owns the data directory, or a server's address; the protocol is the same for all.

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

use super::InterruptedError;
use super::output::print_message;
use super::serve::shutdown_signal;
use super::sse::{self, ReceivedEvent};
use crate::config::Settings;
use crate::http::ACT_AS;
use crate::wiring::{self, ModelFetch, OpenOutcome, RunningApp};

/// Largest response that is held in memory, in bytes.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Number of tries, and the wait between them, for a process that owns the directory but does not listen yet.
const OPEN_TRIES: u32 = 50;
const OPEN_WAIT: Duration = Duration::from_millis(100);

/// Connection to a library.
pub enum ApiClient {
    /// This process owns the data directory.
    InProcess(Box<RunningApp>),
    /// Another process owns it and listens on this socket.
    Socket(PathBuf),
    /// A server at this address.
    Remote(SocketAddr),
}

/// An error response (problem+json).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}{}", if hint.is_empty() { String::new() } else { format!("; hint: {hint}") })]
pub struct ApiClientError {
    /// HTTP status of the response.
    pub status: StatusCode,
    /// Stable code of the problem.
    pub code: String,
    /// What failed, for people.
    pub detail: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl ApiClient {
    /// Opens the data directory, or connects to the process that owns it.
    pub async fn connect(settings: &Settings, fetch: ModelFetch) -> anyhow::Result<Self> {
        let socket = wiring::socket_path(settings);
        for _ in 0..OPEN_TRIES {
            match wiring::open_app(settings, &fetch).await? {
                OpenOutcome::Opened(app) => {
                    // At log levels that show it, the log says it already.
                    if let Some(upgraded) = app.upgrade_notice()
                        && !tracing::enabled!(tracing::Level::INFO)
                    {
                        print_message(upgraded);
                    }
                    return Ok(Self::InProcess(app));
                }
                OpenOutcome::InUse { .. } if is_listening(&socket).await => return Ok(Self::Socket(socket)),
                OpenOutcome::InUse { .. } => tokio::time::sleep(OPEN_WAIT).await,
            }
        }
        bail!(
            "another process has {} and does not answer at {}; hint: stop it",
            settings.data.directory.display(),
            socket.display()
        )
    }

    /// Closes the client; jobs that run in this process are finished or handed back.
    pub async fn close(self) {
        if let Self::InProcess(app) = self {
            app.close().await;
        }
    }

    /// The same after work that may have been interrupted, or is interrupted while this waits: then jobs are handed
    /// back at once, and wait in the queue as if they had not been started.
    pub async fn close_after_work<T>(self, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let interrupted = done.as_ref().is_err_and(|error| error.is::<InterruptedError>());
        match self {
            Self::InProcess(app) if interrupted => app.close_within(std::future::ready(())).await,
            Self::InProcess(app) => {
                let bound = app.shutdown_bound();
                let patience = async {
                    // Jobs are handed back on a signal or when the bound has passed.
                    let _ = tokio::time::timeout(bound, shutdown_signal()).await;
                };
                app.close_within(patience).await;
            }
            Self::Socket(_) | Self::Remote(_) => {}
        }
        done
    }

    /// Sends a request and returns the response, whatever its status.
    pub async fn send_request(&self, request: Request<Body>) -> anyhow::Result<Response<Body>> {
        match self {
            Self::InProcess(app) => call_router(app.operator_router(), request).await,
            Self::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .with_context(|| format!("cannot reach {}", path.display()))?;
                send_over(stream, request).await
            }
            Self::Remote(address) => {
                let stream = TcpStream::connect(address)
                    .await
                    .with_context(|| format!("cannot reach {address}"))?;
                send_over(stream, request).await
            }
        }
    }

    /// Sends a GET request and returns the JSON response.
    pub async fn get_json(&self, path: &str) -> anyhow::Result<Value> {
        self.request_json(Method::GET, path, None).await
    }

    /// Sends a request, with a JSON body if given, and returns the JSON response. Fails with an [`ApiClientError`] for
    /// any status but 2xx.
    pub async fn request_json(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let response = self.send_checked(build_request(method, path, body)?).await?;
        read_json(response).await
    }

    /// POST on behalf of another caller, which only the operator channel allows; on behalf of the operator if `None`.
    pub async fn post_json_as(&self, caller: Option<&Value>, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = with_caller(caller, build_request(Method::POST, path, Some(body))?)?;
        read_json(self.send_checked(request).await?).await
    }

    /// Sends a POST request whose response is a stream of events.
    pub async fn post_for_events(
        &self,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<ReceivedEvent>> + use<>> {
        self.post_for_events_as(None, path, body).await
    }

    /// The same on behalf of another caller.
    pub async fn post_for_events_as(
        &self,
        caller: Option<&Value>,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<ReceivedEvent>> + use<>> {
        let mut request = with_caller(caller, build_request(Method::POST, path, Some(body))?)?;
        let accept = header::HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(header::ACCEPT, accept);
        Ok(sse::read_events(self.send_checked(request).await?.into_body()))
    }

    /// Sends a request; any status but 2xx is an [`ApiClientError`].
    pub async fn send_checked(&self, request: Request<Body>) -> anyhow::Result<Response<Body>> {
        let response = self.send_request(request).await?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(read_error(response).await.into()),
        }
    }
}

/// Reads the response's body as JSON.
pub async fn read_json(response: Response<Body>) -> anyhow::Result<Value> {
    let bytes = axum::body::to_bytes(response.into_body(), MAX_ANSWER_BYTES).await?;
    match bytes.is_empty() {
        true => Ok(Value::Null),
        false => serde_json::from_slice(&bytes).context("the answer is not JSON"),
    }
}

fn build_request(method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Request<Body>> {
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

fn with_caller(caller: Option<&Value>, mut request: Request<Body>) -> anyhow::Result<Request<Body>> {
    if let Some(caller) = caller {
        let named = header::HeaderValue::from_bytes(caller.to_string().as_bytes());
        let named = named.context("the caller's name cannot be sent")?;
        request.headers_mut().insert(ACT_AS, named);
    }
    Ok(request)
}

async fn read_error(response: Response<Body>) -> ApiClientError {
    let status = response.status();
    let problem = read_json(response).await.unwrap_or_default();
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let detail = match text("detail") {
        detail if detail.is_empty() => format!("the server answered {status}"),
        detail => detail,
    };
    ApiClientError {
        status,
        code: text("code"),
        detail,
        hint: text("hint"),
    }
}

async fn call_router(router: Router, request: Request<Body>) -> anyhow::Result<Response<Body>> {
    match router.oneshot(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// Sends one request over a connection of its own, which is closed after the response's body.
async fn send_over<S>(stream: S, request: Request<Body>) -> anyhow::Result<Response<Body>>
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

/// Runs work until it ends or the process gets a shutdown signal.
pub async fn run_until_shutdown<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        told = shutdown_signal() => {
            told?;
            Err(InterruptedError.into())
        }
    }
}

async fn is_listening(socket: &Path) -> bool {
    UnixStream::connect(socket).await.is_ok()
}
