//! `ingest`: files, folders, globs and JSON lines into the library, and a summary that names what failed.

mod collect;
mod lines;
mod upload;

use std::path::PathBuf;

use clap::Args;
use futures::{Stream, StreamExt, pin_mut};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Map, Value};

use super::client::{Door, Refusal, interruptible};
use super::output::{Output, say};
use super::progress::{bar, fetching, pace, wait_for_job};
use super::{Context, Partly, Usage};

/// Documents on their way at once: enough that no worker waits, few enough that no queue grows long.
const IN_FLIGHT: usize = 32;

/// Takes in files, folders and globs, or documents as JSON lines
///
/// Reads PDF, Office (DOCX, PPTX, XLSX, DOC, PPT, XLS), OpenDocument (ODT, ODP, ODS), RTF, EPUB, mails (EML, MSG), CSV,
/// HTML, Markdown and plain text.
#[derive(Debug, Args)]
pub struct Ingest {
    /// Files, folders (without hidden and .gitignored files) and globs
    #[arg(required_unless_present = "jsonl", value_name = "PATH")]
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

/// What became of a document.
#[derive(Debug, Clone, Serialize)]
pub struct Ingested {
    /// Its URI.
    pub uri: String,
    /// Its id; none if it was refused.
    pub document_id: Option<String>,
    /// What became of it.
    pub status: Fate,
    /// How many chunks it has.
    pub chunks: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It answers questions.
    Published,
    /// It did already.
    Unchanged,
    /// It does not.
    Failed,
    /// Nobody waited.
    Pending,
}

impl Ingested {
    fn failed(uri: String, code: &str, detail: String) -> Self {
        let error = serde_json::json!({ "code": code, "detail": detail });
        Self {
            uri,
            document_id: None,
            status: Fate::Failed,
            chunks: 0,
            error: Some(error),
        }
    }

    /// What a person reads of the failure.
    fn reason(&self) -> String {
        let text = |key: &str| {
            self.error
                .as_ref()
                .and_then(|error| error[key].as_str())
                .unwrap_or_default()
        };
        match text("hint") {
            "" => text("detail").to_owned(),
            hint => format!("{}; hint: {hint}", text("detail")),
        }
    }
}

impl Ingest {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let sources = match &self.jsonl {
            Some(_) => Vec::new(),
            None => collect::files(&self.paths)?,
        };
        let door = interruptible(Door::open(&context.settings, fetching())).await?;
        let done = interruptible(self.through(&door, sources, context.output)).await;
        door.close_after(done).await
    }

    async fn through(&self, door: &Door, files: Vec<PathBuf>, output: Output) -> anyhow::Result<()> {
        let wait = !self.no_wait;
        let summary = match &self.jsonl {
            Some(path) => {
                let documents = lines::read(path).await?;
                let with = self.with.as_batch();
                let work = documents.map(|line| lines::send(door, line, &with, wait));
                report(work.buffer_unordered(IN_FLIGHT), bar(0, LINES_BAR), output).await?
            }
            None => files_through(door, files, &self.with, wait, output).await?,
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
    if let [file] = &files[..] {
        return one_file(door, file.clone(), with, wait, output).await;
    }
    let (bar, with) = (bar(files.len() as u64, FILES_BAR), with.as_batch());
    let work = futures::stream::iter(files).map(|file| upload::send(door, file, &with, wait, &|_| {}));
    let summary = report(work.buffer_unordered(IN_FLIGHT), bar, output).await?;
    if let Some(batch) = with.batch.filter(|_| summary.pending > 0) {
        say(&format!(
            "batch {batch}; follow it with `ragstone job show {batch}`"
        ));
    }
    Ok(summary)
}

/// One file, whose bar counts its chunks.
async fn one_file(
    door: &Door,
    file: PathBuf,
    with: &With,
    wait: bool,
    output: Output,
) -> anyhow::Result<Summary> {
    let bar = bar(0, FILE_BAR);
    let see = |job: &Value| {
        bar.set_length(job["total"].as_u64().unwrap_or_default());
        bar.set_position(job["done"].as_u64().unwrap_or_default());
        bar.set_message(format!(
            "{}{}",
            pace(job),
            job["stage"].as_str().unwrap_or_default()
        ));
    };
    let work = futures::stream::once(upload::send(door, file, with, wait, &see));
    let summary = report(work, ProgressBar::hidden(), output).await;
    bar.finish_and_clear();
    summary
}

/// What became of all of them.
#[derive(Debug, Default)]
pub struct Summary {
    published: usize,
    unchanged: usize,
    pending: usize,
    chunks: u64,
    failed: Vec<Ingested>,
}

impl Summary {
    fn add(&mut self, document: Ingested) {
        match document.status {
            Fate::Published => {
                self.published += 1;
                self.chunks += document.chunks;
            }
            Fate::Unchanged => self.unchanged += 1,
            Fate::Pending => self.pending += 1,
            Fate::Failed => self.failed.push(document),
        }
    }

    /// Whether any failed.
    pub fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Tells a person: how many of each, and every failure with its reason.
    pub fn say(&self) {
        for document in &self.failed {
            say(&format!("failed: {}: {}", document.uri, document.reason()));
        }
        let mut parts = vec![format!("{} published ({} chunks)", self.published, self.chunks)];
        for (count, word) in [
            (self.unchanged, "unchanged"),
            (self.pending, "on their way"),
            (self.failed.len(), "failed"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        say(&parts.join(", "));
    }
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
async fn follow(
    door: &Door,
    uri: String,
    accepted: Value,
    wait: bool,
    see: See<'_>,
) -> anyhow::Result<Ingested> {
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
