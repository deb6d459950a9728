//! `serve`: the API over TCP, with workers in the same process, until a shutdown signal.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{CommandContext, UsageError};
use crate::config::{ServerRole, Settings};
use crate::http::server::{ConnectionLimits, ConnectionReuse, run_server};
use crate::wiring::{self, EmbedderState, ModelFetch, OpenOutcome, RunningApp};

/// Part of the shutdown bound that is reserved for answering unfinished requests that the server shuts down.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Serves the API, and carries out ingestion in the background
///
/// With shared stores (DATABASE_URL, QDRANT_URL, RAGSTONE_BLOBS_URL) any number of processes serve and work together.
#[derive(Debug, Args)]
pub struct ServeCommand {
    /// Address and port [default: 127.0.0.1:8080; RAGSTONE_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// What this process does: all, api (no background work) or worker (nothing else) [default: all; RAGSTONE_ROLE]
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

/// Carries out ingestion in the background, as `serve --role worker` does
///
/// Of the API it serves /healthz, /readyz and /metrics. Several workers need shared stores (DATABASE_URL, QDRANT_URL,
/// RAGSTONE_BLOBS_URL): a data directory belongs to one process.
#[derive(Debug, Args)]
pub struct WorkerCommand {
    /// Address and port [default: 127.0.0.1:8080; RAGSTONE_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

impl ServeCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        open_and_serve(&context.settings).await
    }
}

impl WorkerCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        open_and_serve(&context.settings).await
    }
}

async fn open_and_serve(settings: &Settings) -> anyhow::Result<()> {
    let app = match wiring::open_app(settings, &ModelFetch::Background).await? {
        OpenOutcome::Opened(app) => app,
        OpenOutcome::InUse { holder } => return Err(directory_in_use_error(settings, &holder).into()),
    };
    if let Err(refused) = app.check_listen_address(settings.server.listen).await {
        app.close().await;
        return Err(refused);
    }
    let listener = TcpListener::bind(settings.server.listen).await;
    let listener = listener.with_context(|| format!("cannot listen at {}", settings.server.listen))?;
    log_startup(settings, listener.local_addr()?, &app.embedder_state());
    serve_until(*app, listener, settings, shutdown_signal()).await
}

fn directory_in_use_error(settings: &Settings, holder: &str) -> UsageError {
    let directory = settings.data.directory.display();
    let why = match settings.server.role {
        ServerRole::Worker => {
            "it does its background work itself; more workers need shared stores: DATABASE_URL, QDRANT_URL and \
             RAGSTONE_BLOBS_URL"
        }
        ServerRole::Api | ServerRole::All => "one process serves a data directory",
    };
    UsageError(format!("{directory} is in use by process {holder}; {why}"))
}

/// Logs what runs and where text is sent.
fn log_startup(settings: &Settings, address: SocketAddr, vectors: &EmbedderState) {
    let stores = match settings.shared_stores() {
        Some(_) => "shared".to_owned(),
        None => settings.data.directory.display().to_string(),
    };
    tracing::info!(
        data = stores,
        role = ?settings.server.role,
        embedder = %vectors.describe(),
        chat = if settings.chats_remotely() { settings.chat.model.as_str() } else { "extractive" },
        "serving at http://{address}"
    );
    for issuer in wiring::describe_issuers(settings) {
        tracing::info!("tokens are taken from {issuer}");
    }
    let places = wiring::list_text_destinations(settings);
    if places.is_empty() {
        tracing::info!("no text leaves this machine");
    }
    for place in places {
        tracing::info!("text goes out: {place}");
    }
}

/// Serves until `until` completes, then lets running requests and jobs finish within the bound.
pub async fn serve_until(
    app: RunningApp,
    listener: TcpListener,
    settings: &Settings,
    until: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let (limits, shutdown) = (connection_limits(settings)?, app.shutdown_handle());
    let mut server = tokio::spawn(run_server(listener, app.api_router(), limits, stopped));
    let ended = tokio::select! {
        ended = &mut server => Err(anyhow::anyhow!("the server ended by itself: {ended:?}")),
        ended = until => ended,
    };
    shutdown.begin_shutdown();
    stop.send_replace(true);
    let bound = Duration::from_secs(settings.server.shutdown_seconds);
    let last = LAST_ANSWERS.min(bound / 2);
    if !server.is_finished() && tokio::time::timeout(bound - last, &mut server).await.is_err() {
        shutdown.end_requests();
        if tokio::time::timeout(last, &mut server).await.is_err() {
            server.abort();
        }
    }
    app.close().await;
    ended
}

fn connection_limits(settings: &Settings) -> anyhow::Result<ConnectionLimits> {
    let server = &settings.server;
    Ok(ConnectionLimits {
        connections: server.max_connections,
        address_connections: server.address_connections,
        trusted_proxies: Arc::new(wiring::trusted_proxies(settings)?),
        head: Duration::from_secs(server.head_seconds),
        write_stall: Duration::from_secs(server.write_seconds),
        head_bytes: server.head_bytes,
        headers: server.max_headers,
        requests: ConnectionReuse::Many,
    })
}

/// Waits for Ctrl-C, or the signal that a service manager sends.
pub async fn shutdown_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        told = tokio::signal::ctrl_c() => Ok(told?),
        _ = terminate.recv() => Ok(()),
    }
}
