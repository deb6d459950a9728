//! `ingest`: files, folders, globs, addresses and JSON lines into the library, and a summary that names what failed.

mod collect;
mod fate;
mod lines;
mod origin;
mod upload;

use std::path::PathBuf;

use clap::Args;
use futures::{Stream, StreamExt, pin_mut};
use indicatif::ProgressBar;
use serde_json::{Map, Value};

use fate::{Fate, Ingested, Summary};
use origin::Origin;

use super::client::{Door, Refusal, interruptible};
use super::output::{Output, say};
use super::progress::{bar, fetching, pace, wait_for_job};
use super::{Context, Partly, Usage};

/// Documents on their way at once: enough that no worker waits, few enough that no queue grows long.
const IN_FLIGHT: usize = 32;

/// Takes in files, folders, globs and addresses of the web, or documents as JSON lines
///
/// Reads PDF, Office (DOCX, PPTX, XLSX, DOC, PPT, XLS), OpenDocument (ODT, ODP, ODS), RTF, EPUB, mails (EML, MSG), CSV,
/// HTML, Markdown and plain text.
#[derive(Debug, Args)]
pub struct Ingest {
    /// Files, folders (without hidden and .gitignored files), globs, and what stands at http:// or https:// (public
    /// addresses only, unless [fetch] allows others)
    #[arg(required_unless_present = "jsonl", value_name = "PATH_OR_URL")]
    paths: Vec<String>,
    /// A file of JSON documents, one a line ({"uri","title","text",…}), or - for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    jsonl: Option<PathBuf>,
    #[command(flatten)]
    with: With,
    /// Do not wait until the documents are found by a search
    #[arg(long)]
    no_wait: bool,
}

/// What every document of one call gets.
#[derive(Debug, Clone, Default, Args)]
pub struct With {
    /// The department whose members may read them
    #[arg(long, value_name = "ID")]
    department: Option<String>,
    /// Who may read them: everyone, dept:<id>, group:<id>, user:<id>; any of them is enough
    #[arg(long, value_name = "READER", value_delimiter = ',', num_args = 1..)]
    readers: Vec<String>,
    /// Key-value pairs, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    metadata: Option<Map<String, Value>>,
    /// The collection they belong to
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// The batch that all of them are children of.
    #[arg(skip)]
    batch: Option<uuid::Uuid>,
}

impl With {
    /// The same, as one batch.
    fn as_batch(&self) -> Self {
        Self {
            batch: Some(uuid::Uuid::now_v7()),
            ..self.clone()
        }
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

impl Ingest {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let sources = match &self.jsonl {
            Some(_) => Vec::new(),
            None => origin::of(&self.paths, &context.settings)?,
        };
        let door = interruptible(Door::open(&context.settings, fetching())).await?;
        let done = interruptible(self.through(&door, sources, context.output)).await;
        door.close_after(done).await
    }

    async fn through(&self, door: &Door, origins: Vec<Origin>, output: Output) -> anyhow::Result<()> {
        let wait = !self.no_wait;
        let summary = match &self.jsonl {
            Some(path) => {
                let documents = lines::read(path).await?;
                let with = self.with.as_batch();
                let work = documents.map(|line| lines::send(door, line, &with, wait));
                report(work.buffer_unordered(IN_FLIGHT), bar(0, LINES_BAR), output).await?
            }
            None => all_through(door, origins, &self.with, wait, output).await?,
        };
        summary.say();
        match summary.failed.is_empty() {
            true => Ok(()),
            false => Err(Partly.into()),
        }
    }
}

const FILES_BAR: &str = "{bar:30} {pos}/{len} files, {per_sec}, {eta} left {msg}";
const FILE_BAR: &str = "{bar:30} {pos}/{len} chunks, {msg}";
const LINES_BAR: &str = "{spinner} {pos} documents, {per_sec} {msg}";

/// Ingests files and says what became of each.
pub async fn files_through(
    door: &Door,
    files: Vec<PathBuf>,
    with: &With,
    wait: bool,
    output: Output,
) -> anyhow::Result<Summary> {
    let origins = files.into_iter().map(Origin::File).collect();
    all_through(door, origins, with, wait, output).await
}

async fn all_through(
    door: &Door,
    mut origins: Vec<Origin>,
    with: &With,
    wait: bool,
    output: Output,
) -> anyhow::Result<Summary> {
    if origins.len() == 1
        && let Some(only) = origins.pop()
    {
        return one_file(door, only, with, wait, output).await;
    }
    let (bar, with) = (bar(origins.len() as u64, FILES_BAR), with.as_batch());
    let work = futures::stream::iter(origins).map(|origin| upload::send(door, origin, &with, wait, &|_| {}));
    let summary = report(work.buffer_unordered(IN_FLIGHT), bar, output).await?;
    if let Some(batch) = with.batch.filter(|_| summary.pending > 0) {
        say(&format!("batch {batch}; follow it with `ragstone job show {batch}`"));
    }
    Ok(summary)
}

/// One file, whose bar counts its chunks.
async fn one_file(door: &Door, origin: Origin, with: &With, wait: bool, output: Output) -> anyhow::Result<Summary> {
    let bar = bar(0, FILE_BAR);
    let see = |job: &Value| {
        bar.set_length(job["total"].as_u64().unwrap_or_default());
        bar.set_position(job["done"].as_u64().unwrap_or_default());
        bar.set_message(format!("{}{}", pace(job), job["stage"].as_str().unwrap_or_default()));
    };
    let work = futures::stream::once(upload::send(door, origin, with, wait, &see));
    let summary = report(work, ProgressBar::hidden(), output).await;
    bar.finish_and_clear();
    summary
}

async fn report(
    documents: impl Stream<Item = anyhow::Result<Ingested>>,
    bar: ProgressBar,
    output: Output,
) -> anyhow::Result<Summary> {
    pin_mut!(documents);
    let mut summary = Summary::default();
    while let Some(document) = documents.next().await {
        let document = document?;
        bar.inc(1);
        bar.set_message(document.uri.clone());
        if output.json {
            output.object(&document)?;
        }
        summary.add(document);
    }
    bar.finish_and_clear();
    Ok(summary)
}

/// Sees a job on its way.
type See<'a> = &'a (dyn Fn(&Value) + Sync);

/// Follows an accepted document to its end.
async fn follow(door: &Door, uri: String, accepted: Value, wait: bool, see: See<'_>) -> anyhow::Result<Ingested> {
    let document = &accepted["document"];
    let id = document["id"].as_str().map(String::from);
    let done = |status, chunks, error| Ingested {
        uri: uri.clone(),
        document_id: id.clone(),
        status,
        chunks,
        error,
    };
    // Where nothing is to be done, the newest job is named: one that still runs is worth waiting for.
    let live = matches!(accepted["job"]["state"].as_str(), Some("queued" | "running"));
    let Some(job) = accepted["job"]["id"].as_str().filter(|_| live) else {
        let failed = document["status"] == "failed";
        let chunks = document["chunks"].as_u64().unwrap_or_default();
        let fate = if failed { Fate::Failed } else { Fate::Unchanged };
        return Ok(done(
            fate,
            if failed { 0 } else { chunks },
            failed.then(|| document["last_error"].clone()),
        ));
    };
    if !wait {
        return Ok(done(Fate::Pending, 0, None));
    }
    let job = wait_for_job(door, job, see).await?.unwrap_or_default();
    if job["state"] != "succeeded" {
        let mut error = job["error"].clone();
        if error.is_null() {
            error = serde_json::json!({ "code": "cancelled", "detail": "the job was cancelled" });
        }
        return Ok(done(Fate::Failed, 0, Some(error)));
    }
    let path = format!("/api/v1/documents/{}", id.as_deref().unwrap_or_default());
    let chunks = door.get(&path).await?["chunks"].as_u64().unwrap_or_default();
    Ok(done(Fate::Published, chunks, None))
}

/// A refusal concerns one document; whatever else went wrong concerns all.
fn refused(uri: String, error: anyhow::Error) -> anyhow::Result<Ingested> {
    match error.downcast_ref::<Refusal>() {
        Some(refusal) if refusal.status.is_client_error() => Ok(Ingested {
            error: Some(serde_json::json!({
                "code": refusal.code, "detail": refusal.detail, "hint": refusal.hint
            })),
            ..Ingested::failed(uri, "", String::new())
        }),
        _ => Err(error),
    }
}

/// Nothing to do is wrong use.
fn nothing(what: &str) -> anyhow::Error {
    Usage(format!("{what} matches no file")).into()
}
