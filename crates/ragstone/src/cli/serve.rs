//! `serve`: the API over TCP, with workers beside it, until it is told to stop.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::output::say;
use super::{Context, Usage};
use crate::config::Settings;
use crate::wiring::{self, App, ModelFetch, Opened, VectorState};

/// Serves the API, and carries out ingestion in the background
#[derive(Debug, Args)]
pub struct Serve {
    /// Address and port [default: 127.0.0.1:8080; RAGSTONE_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

impl Serve {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let settings = context.settings;
        let app = match wiring::open(&settings, &ModelFetch::Background).await? {
            Opened::Here(app) => app,
            Opened::Elsewhere { holder } => {
                return Err(Usage(format!(
                    "{} is in use by process {holder}; one process serves a data directory",
                    settings.data.directory.display()
                ))
                .into());
            }
        };
        let listener = TcpListener::bind(settings.server.listen).await;
        let listener = listener.with_context(|| format!("cannot listen at {}", settings.server.listen))?;
        announce(&settings, listener.local_addr()?, &app.vectors());
        until_told(*app, listener, &settings).await
    }
}

/// What runs and where text goes, for whoever started it.
fn announce(settings: &Settings, address: SocketAddr, vectors: &VectorState) {
    tracing::info!(
        data = %settings.data.directory.display(),
        embedder = %vectors.words(),
        chat = if settings.chats_remotely() { settings.chat.model.as_str() } else { "extractive" },
        "serving at http://{address}"
    );
    let places = wiring::text_goes_to(settings);
    if places.is_empty() {
        tracing::info!("no text leaves this machine");
    }
    for place in places {
        tracing::info!("text goes out: {place}");
    }
}

/// Serves until a signal says stop, then lets what runs end within the bound.
pub async fn until_told(app: App, listener: TcpListener, settings: &Settings) -> anyhow::Result<()> {
    let (stop, mut stopped) = watch::channel(false);
    let router = app.router().into_make_service_with_connect_info::<SocketAddr>();
    let graceful = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let mut server = tokio::spawn(
        axum::serve(listener, router)
            .with_graceful_shutdown(graceful)
            .into_future(),
    );
    tokio::select! {
        ended = &mut server => {
            app.close().await;
            bail!("the server ended by itself: {ended:?}");
        }
        told = told_to_stop() => told?,
    }
    say("stopping");
    stop.send_replace(true);
    let bound = Duration::from_secs(settings.server.shutdown_seconds);
    if tokio::time::timeout(bound, &mut server).await.is_err() {
        server.abort();
    }
    app.close().await;
    Ok(())
}

/// Ctrl-C, or what a service manager sends.
pub async fn told_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        told = tokio::signal::ctrl_c() => Ok(told?),
        _ = terminate.recv() => Ok(()),
    }
}
