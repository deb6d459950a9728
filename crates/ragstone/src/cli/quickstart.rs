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
use super::serve::{told_to_stop, until_told};
use super::{Context, Usage};
use crate::wiring::{self, Opened, VectorState};

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
        tokio::select! {
            done = self.show(context) => done,
            told = told_to_stop() => { told?; say("stopped"); Ok(()) }
        }
    }

    async fn show(self, context: Context) -> anyhow::Result<()> {
        let Context { settings, output } = context;
        let app = match wiring::open(&settings, &fetching()).await? {
            Opened::Here(app) => app,
            Opened::Elsewhere { holder } => {
                let folder = settings.data.directory.display();
                return Err(Usage(format!(
                    "a quickstart runs already: process {holder} has {folder}"
                ))
                .into());
            }
        };
        say_vectors(&app.vectors());
        let files = unpack(&settings.data.directory)?;
        say(&format!("ingesting {} sample documents", files.len()));
        let here = Door::Here(app);
        let quiet = Output { json: false };
        let summary = files_through(&here, files, &With::default(), true, quiet).await?;
        summary.say();
        let Door::Here(app) = here else {
            bail!("a door does not change");
        };
        let listener = free_port(settings.server.listen).await?;
        let address = listener.local_addr()?;
        say(&format!("serving at http://{address}\n\n> {}\n", self.question));
        let key = settings.access.admin_key.is_set();
        let (question, exit) = (self.question.clone(), self.exit);
        let server = async {
            tokio::select! {
                served = until_told(*app, listener, &settings) => served.map(|()| false),
                asked = ask(address, &question, output, exit, key) => asked.map(|()| true),
            }
        };
        server.await?;
        if summary.has_failures() {
            bail!("a sample document could not be ingested");
        }
        Ok(())
    }
}

/// Asks over HTTP, as any client would, then tells what to try; stays unless `exit`.
async fn ask(
    address: SocketAddr,
    question: &str,
    output: Output,
    exit: bool,
    key: bool,
) -> anyhow::Result<()> {
    if !key {
        answer(&Door::Address(address), json!({ "question": question }), output).await?;
    }
    say(&next(address));
    match exit {
        true => Ok(()),
        false => std::future::pending().await,
    }
}

fn next(address: SocketAddr) -> String {
    format!(
        "\nTry next (data in {DATA}):\n\
         \x20 your own files   ragstone --data {DATA} ingest ~/Documents\n\
         \x20 a question       ragstone --data {DATA} ask \"In which rooms must the logger not be used?\"\n\
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
