//! `quickstart`: sample documents, a server, a question, an answer with its pages, and what to try next.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use super::ask::answer;
use super::client::Door;
use super::ingest::{With, files_through};
use super::output::{Output, say};
use super::progress::fetching;
use super::serve::{serve_until, told_to_stop};
use super::{Context, Interrupted, Partly, Usage};
use crate::config::Settings;
use crate::wiring::{self, App, Opened, VectorState};

/// The data directory of the quickstart, where no other is named.
pub const DATA: &str = ".ragstone/quickstart";
/// Sample documents: names and bytes.
const SAMPLES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/samples.rs"));
/// What is asked of them.
const QUESTION: &str = "How long does the logger keep readings when the network is down?";
/// Ports tried behind the first one before the system chooses.
const PORTS: u16 = 20;

/// Shows it working: ingests the sample documents, serves, and asks a question of them
///
/// The sample documents are in the program. It has a data directory of its own, can be repeated, and serves until
/// Ctrl-C.
#[derive(Debug, Args)]
pub struct Quickstart {
    /// Stop after the answer
    #[arg(long)]
    exit: bool,
    /// Another question
    #[arg(long, default_value = QUESTION)]
    question: String,
}

impl Quickstart {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let Context { settings, output } = context;
        let (app, complete) = tokio::select! {
            made = library(&settings) => made?,
            told = told_to_stop() => { told?; return Err(Interrupted.into()); }
        };
        let listener = free_port(settings.server.listen).await?;
        let address = listener.local_addr()?;
        say(&format!("serving at http://{address}\n\n> {}\n", self.question));
        let guarded = app.is_guarded().await?;
        let shown = async {
            // Where there is a key this program is a caller like any other, and asks for none.
            if !guarded {
                let question = json!({ "question": self.question });
                answer(&Door::Address(address), question, output).await?;
            }
            say(&next(address, &settings.data.directory));
            match self.exit {
                true => Ok(()),
                false => std::future::pending().await,
            }
        };
        let until = async {
            tokio::select! {
                shown = shown => shown,
                told = told_to_stop() => told,
            }
        };
        serve_until(*app, listener, &settings, until).await?;
        match complete {
            true => Ok(()),
            false => Err(Partly.into()),
        }
    }
}

/// The open library with the sample documents in it, and whether all of them are.
async fn library(settings: &Settings) -> anyhow::Result<(Box<App>, bool)> {
    let app = match wiring::open(settings, &fetching()).await? {
        Opened::Here(app) => app,
        Opened::Elsewhere { holder } => {
            let folder = settings.data.directory.display();
            return Err(Usage(format!("a quickstart runs already: process {holder} has {folder}")).into());
        }
    };
    say_vectors(&app.vectors());
    let files = unpack(&settings.data.directory)?;
    say(&format!("ingesting {} sample documents", files.len()));
    let here = Door::Here(app);
    let summary = files_through(&here, files, &With::default(), true, Output { json: false }).await?;
    summary.say();
    match here {
        Door::Here(app) => Ok((app, !summary.has_failures())),
        _ => bail!("a door does not change"),
    }
}

fn next(address: SocketAddr, data: &Path) -> String {
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

fn say_vectors(state: &VectorState) {
    match state {
        VectorState::Ready(model) => say(&format!("embedding model: {model}")),
        VectorState::Off | VectorState::Missing(_) => {
            say(&format!(
                "searching by words alone ({}); `ragstone doctor` tells what to do",
                state.words()
            ));
        }
        other => say(&format!("embedding model: {}", other.words())),
    }
}

/// Writes the sample documents beside the data, so that their URIs can be opened.
fn unpack(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
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

/// The wanted port, or the next free one.
async fn free_port(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
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
                say(&format!(
                    "port {port} is taken, using {}",
                    listener.local_addr()?.port()
                ));
            }
            return Ok(listener);
        }
    }
    bail!("no port is free")
}
