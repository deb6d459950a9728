//! `quickstart`: ingests sample documents, starts a server, asks a question, and shows what to try next.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use super::ask::ask_and_show;
use super::client::ApiClient;
use super::ingest::{UploadArguments, ingest_files};
use super::output::{CommandOutput, print_message};
use super::progress::fetch_before_work;
use super::serve::{serve_until, shutdown_signal};
use super::{CommandContext, InterruptedError, PartialFailureError, UsageError};
use crate::config::Settings;
use crate::wiring::{self, EmbedderState, OpenOutcome, RunningApp};

/// Data directory of the quickstart if none is given.
pub const QUICKSTART_DIRECTORY: &str = ".ragstone/quickstart";
/// Sample documents: names and bytes.
const SAMPLES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/samples.rs"));
/// The question that is asked of the samples.
const QUESTION: &str = "How long does the logger keep readings when the network is down?";
/// Ports tried after the wanted one before the system chooses.
const PORTS: u16 = 20;

/// Shows it working: ingests the sample documents, serves, and asks a question of them
///
/// The sample documents are in the program. It has a data directory of its own, can be repeated, and serves until
/// Ctrl-C.
#[derive(Debug, Args)]
pub struct QuickstartCommand {
    /// Stop after the answer
    #[arg(long)]
    exit: bool,
    /// Another question
    #[arg(long, default_value = QUESTION)]
    question: String,
}

impl QuickstartCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let CommandContext { settings, output } = context;
        let (app, complete) = tokio::select! {
            made = open_sample_library(&settings) => made?,
            told = shutdown_signal() => { told?; return Err(InterruptedError.into()); }
        };
        let listener = bind_free_port(settings.server.listen).await?;
        let address = listener.local_addr()?;
        print_message(&format!("serving at http://{address}\n\n> {}\n", self.question));
        let guarded = app.is_guarded().await?;
        let shown = async {
            // If keys exist, this program would need one like any other caller, so it does not ask.
            if !guarded {
                let question = json!({ "question": self.question });
                ask_and_show(&ApiClient::Remote(address), question, output).await?;
            }
            print_message(&describe_next_steps(address, &settings.data.directory));
            match self.exit {
                true => Ok(()),
                false => std::future::pending().await,
            }
        };
        let until = async {
            tokio::select! {
                shown = shown => shown,
                told = shutdown_signal() => told,
            }
        };
        serve_until(*app, listener, &settings, until).await?;
        match complete {
            true => Ok(()),
            false => Err(PartialFailureError.into()),
        }
    }
}

/// Opens the library and ingests the sample documents; also returns whether all succeeded.
async fn open_sample_library(settings: &Settings) -> anyhow::Result<(Box<RunningApp>, bool)> {
    let app = match wiring::open_app(settings, &fetch_before_work()).await? {
        OpenOutcome::Opened(app) => app,
        OpenOutcome::InUse { holder } => {
            let folder = settings.data.directory.display();
            return Err(UsageError(format!("a quickstart runs already: process {holder} has {folder}")).into());
        }
    };
    show_embedder_state(&app.embedder_state());
    let files = unpack_samples(&settings.data.directory)?;
    print_message(&format!("ingesting {} sample documents", files.len()));
    let here = ApiClient::InProcess(app);
    let summary = ingest_files(
        &here,
        files,
        &UploadArguments::default(),
        true,
        CommandOutput { json: false },
    )
    .await?;
    summary.show_summary();
    match here {
        ApiClient::InProcess(app) => Ok((app, !summary.has_failures())),
        _ => bail!("a door does not change"),
    }
}

fn describe_next_steps(address: SocketAddr, data: &Path) -> String {
    let data = data.display();
    format!(
        "\nTry next (data in {data}):\n\
         \x20 your own files   ragstone --data {data} ingest ~/Documents\n\
         \x20 a question       ragstone --data {data} ask \"In which rooms must the logger not be used?\"\n\
         \x20 over HTTP        curl -s http://{address}/api/v1/ask -H 'content-type: application/json' \\\n\
         \x20                    -d '{{\"question\":\"How many loggers can one hub take?\"}}'\n\
         \x20 the API          http://{address}/docs\n\
         \x20 what is set up   ragstone doctor"
    )
}

fn show_embedder_state(state: &EmbedderState) {
    match state {
        EmbedderState::Ready(model) => print_message(&format!("embedding model: {model}")),
        EmbedderState::Off | EmbedderState::Missing(_) => {
            print_message(&format!(
                "searching by words alone ({}); `ragstone doctor` tells what to do",
                state.describe()
            ));
        }
        other => print_message(&format!("embedding model: {}", other.describe())),
    }
}

/// Writes the sample documents beside the data, so that their URIs can be opened.
fn unpack_samples(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = data.join("samples");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut files = Vec::new();
    for (name, bytes) in SAMPLES {
        let file = folder.join(name);
        std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

/// Binds the wanted port, or the next free one.
async fn bind_free_port(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    let port = wanted.port();
    let next = (port..=port.saturating_add(PORTS)).chain([0]);
    let host = if wanted.ip().is_loopback() {
        wanted.ip()
    } else {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    };
    for candidate in next {
        if let Ok(listener) = TcpListener::bind((host, candidate)).await {
            if candidate != port {
                print_message(&format!(
                    "port {port} is taken, using {}",
                    listener.local_addr()?.port()
                ));
            }
            return Ok(listener);
        }
    }
    bail!("no port is free")
}
