//! `ingest`: ingests files, folders, globs, URLs and JSON lines, and prints a summary that names failures.

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

use fate::{IngestStatus, IngestSummary, IngestedDocument};
use origin::DocumentOrigin;

use super::client::{ApiClient, ApiClientError, run_until_shutdown};
use super::output::{CommandOutput, print_message};
use super::progress::{describe_pace, fetch_before_work, progress_bar, wait_for_job};
use super::{CommandContext, PartialFailureError, UsageError};

/// Concurrent documents: enough that no worker waits, few enough that the queue stays short.
const IN_FLIGHT: usize = 32;

/// Takes in files, folders, globs and addresses of the web, or documents as JSON lines
///
/// Reads PDF, Office (DOCX, PPTX, XLSX, DOC, PPT, XLS), OpenDocument (ODT, ODP, ODS), RTF, EPUB, mails (EML, MSG), CSV,
/// HTML, Markdown and plain text.
#[derive(Debug, Args)]
pub struct IngestCommand {
    /// Files, folders (without hidden and .gitignored files), globs, and what stands at http:// or https:// (public
    /// addresses only, unless [fetch] allows others)
    #[arg(required_unless_present = "jsonl", value_name = "PATH_OR_URL")]
    paths: Vec<String>,
    /// A file of JSON documents, one a line ({"uri","title","text",…}), or - for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    jsonl: Option<PathBuf>,
    #[command(flatten)]
    with: UploadArguments,
    /// Do not wait until the documents are found by a search
    #[arg(long)]
    no_wait: bool,
}

/// What every document of one call gets.
#[derive(Debug, Clone, Default, Args)]
pub struct UploadArguments {
    /// The department whose members may read them
    #[arg(long, value_name = "ID")]
    department: Option<String>,
    /// Who may read them: everyone, dept:<id>, group:<id>, user:<id>; any of them is enough
    #[arg(long, value_name = "READER", value_delimiter = ',', num_args = 1..)]
    readers: Vec<String>,
    /// Key-value pairs, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = parse_object)]
    metadata: Option<Map<String, Value>>,
    /// The collection they belong to
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// The batch that all of them are children of.
    #[arg(skip)]
    batch: Option<uuid::Uuid>,
}

impl UploadArguments {
    /// The same arguments with a new batch id.
    fn as_batch(&self) -> Self {
        Self {
            batch: Some(uuid::Uuid::now_v7()),
            ..self.clone()
        }
    }
}

fn parse_object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

impl IngestCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let sources = match &self.jsonl {
            Some(_) => Vec::new(),
            None => origin::parse_origins(&self.paths, &context.settings)?,
        };
        let door = run_until_shutdown(ApiClient::connect(&context.settings, fetch_before_work())).await?;
        let done = run_until_shutdown(self.run_with_client(&door, sources, context.output)).await;
        door.close_after_work(done).await
    }

    async fn run_with_client(
        &self,
        door: &ApiClient,
        origins: Vec<DocumentOrigin>,
        output: CommandOutput,
    ) -> anyhow::Result<()> {
        let wait = !self.no_wait;
        let summary = match &self.jsonl {
            Some(path) => {
                let documents = lines::read_lines(path).await?;
                let with = self.with.as_batch();
                let work = documents.map(|line| lines::send_line(door, line, &with, wait));
                summarize_documents(work.buffer_unordered(IN_FLIGHT), progress_bar(0, LINES_BAR), output).await?
            }
            None => ingest_all(door, origins, &self.with, wait, output).await?,
        };
        summary.show_summary();
        match summary.failed.is_empty() {
            true => Ok(()),
            false => Err(PartialFailureError.into()),
        }
    }
}

const FILES_BAR: &str = "{bar:30} {pos}/{len} files, {per_sec}, {eta} left {msg}";
const FILE_BAR: &str = "{bar:30} {pos}/{len} chunks, {msg}";
const LINES_BAR: &str = "{spinner} {pos} documents, {per_sec} {msg}";

/// Ingests files and returns the result of each.
pub async fn ingest_files(
    door: &ApiClient,
    files: Vec<PathBuf>,
    with: &UploadArguments,
    wait: bool,
    output: CommandOutput,
) -> anyhow::Result<IngestSummary> {
    let origins = files.into_iter().map(DocumentOrigin::File).collect();
    ingest_all(door, origins, with, wait, output).await
}

async fn ingest_all(
    door: &ApiClient,
    mut origins: Vec<DocumentOrigin>,
    with: &UploadArguments,
    wait: bool,
    output: CommandOutput,
) -> anyhow::Result<IngestSummary> {
    if origins.len() == 1
        && let Some(only) = origins.pop()
    {
        return ingest_one_file(door, only, with, wait, output).await;
    }
    let (bar, with) = (progress_bar(origins.len() as u64, FILES_BAR), with.as_batch());
    let work = futures::stream::iter(origins).map(|origin| upload::upload_document(door, origin, &with, wait, &|_| {}));
    let summary = summarize_documents(work.buffer_unordered(IN_FLIGHT), bar, output).await?;
    if let Some(batch) = with.batch.filter(|_| summary.pending > 0) {
        print_message(&format!("batch {batch}; follow it with `ragstone job show {batch}`"));
    }
    Ok(summary)
}

/// Ingests one file; its progress bar counts chunks.
async fn ingest_one_file(
    door: &ApiClient,
    origin: DocumentOrigin,
    with: &UploadArguments,
    wait: bool,
    output: CommandOutput,
) -> anyhow::Result<IngestSummary> {
    let bar = progress_bar(0, FILE_BAR);
    let see = |job: &Value| {
        bar.set_length(job["total"].as_u64().unwrap_or_default());
        bar.set_position(job["done"].as_u64().unwrap_or_default());
        bar.set_message(format!(
            "{}{}",
            describe_pace(job),
            job["stage"].as_str().unwrap_or_default()
        ));
    };
    let work = futures::stream::once(upload::upload_document(door, origin, with, wait, &see));
    let summary = summarize_documents(work, ProgressBar::hidden(), output).await;
    bar.finish_and_clear();
    summary
}

async fn summarize_documents(
    documents: impl Stream<Item = anyhow::Result<IngestedDocument>>,
    bar: ProgressBar,
    output: CommandOutput,
) -> anyhow::Result<IngestSummary> {
    pin_mut!(documents);
    let mut summary = IngestSummary::default();
    while let Some(document) = documents.next().await {
        let document = document?;
        bar.inc(1);
        bar.set_message(document.uri.clone());
        if output.json {
            output.write_json_line(&document)?;
        }
        summary.count_document(document);
    }
    bar.finish_and_clear();
    Ok(summary)
}

/// Called with each state of a job.
type JobObserver<'a> = &'a (dyn Fn(&Value) + Sync);

/// Follows an accepted document until its job has ended.
async fn follow_document(
    door: &ApiClient,
    uri: String,
    accepted: Value,
    wait: bool,
    see: JobObserver<'_>,
) -> anyhow::Result<IngestedDocument> {
    let document = &accepted["document"];
    let id = document["id"].as_str().map(String::from);
    let done = |status, chunks, error| IngestedDocument {
        uri: uri.clone(),
        document_id: id.clone(),
        status,
        chunks,
        error,
    };
    // For an unchanged document the newest job is returned; if that still runs, it is waited for.
    let live = matches!(accepted["job"]["state"].as_str(), Some("queued" | "running"));
    let Some(job) = accepted["job"]["id"].as_str().filter(|_| live) else {
        let failed = document["status"] == "failed";
        let chunks = document["chunks"].as_u64().unwrap_or_default();
        let fate = if failed {
            IngestStatus::Failed
        } else {
            IngestStatus::Unchanged
        };
        return Ok(done(
            fate,
            if failed { 0 } else { chunks },
            failed.then(|| document["last_error"].clone()),
        ));
    };
    if !wait {
        return Ok(done(IngestStatus::Pending, 0, None));
    }
    let job = wait_for_job(door, job, see).await?.unwrap_or_default();
    if job["state"] != "succeeded" {
        let mut error = job["error"].clone();
        if error.is_null() {
            error = serde_json::json!({ "code": "cancelled", "detail": "the job was cancelled" });
        }
        return Ok(done(IngestStatus::Failed, 0, Some(error)));
    }
    let path = format!("/api/v1/documents/{}", id.as_deref().unwrap_or_default());
    let chunks = door.get_json(&path).await?["chunks"].as_u64().unwrap_or_default();
    Ok(done(IngestStatus::Published, chunks, None))
}

/// A refusal concerns one document and is recorded; any other error concerns all and is returned.
fn record_refusal(uri: String, error: anyhow::Error) -> anyhow::Result<IngestedDocument> {
    match error.downcast_ref::<ApiClientError>() {
        Some(refusal) if refusal.status.is_client_error() => Ok(IngestedDocument {
            error: Some(serde_json::json!({
                "code": refusal.code, "detail": refusal.detail, "hint": refusal.hint
            })),
            ..IngestedDocument::from_failure(uri, "", String::new())
        }),
        _ => Err(error),
    }
}

/// A usage error: the arguments match no document.
fn no_match_error(what: &str) -> anyhow::Error {
    UsageError(format!("{what} matches no file")).into()
}
