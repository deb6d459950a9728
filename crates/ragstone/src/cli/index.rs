//! `index`: shows what the index holds, and rebuilds it.

use std::fmt;

use axum::http::Method;
use clap::Subcommand;
use serde::Serialize;

use super::client::{ApiClient, run_until_shutdown};
use super::output::{CommandOutput, print_message};
use super::progress::{fetch_before_work, progress_bar, wait_for_operator_job};
use super::{CommandContext, PartialFailureError};
use crate::wiring::ModelFetch;

/// What to do with the index
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Tell what the index holds
    Status,
    /// Make every document's points again from its stored text, with the embedder of the settings; nothing is fetched
    /// or parsed
    Rebuild {
        /// Do not wait for the end
        #[arg(long)]
        no_wait: bool,
    },
}

impl IndexCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let fetch = match self {
            Self::Status => ModelFetch::Present,
            Self::Rebuild { .. } => fetch_before_work(),
        };
        let door = run_until_shutdown(ApiClient::connect(&context.settings, fetch)).await?;
        let done = run_until_shutdown(self.run_with_client(&door, context.output)).await;
        door.close_after_work(done).await
    }

    async fn run_with_client(self, door: &ApiClient, output: CommandOutput) -> anyhow::Result<()> {
        match self {
            Self::Status => {
                let status = door.get_json("/operator/v1/index").await?;
                output.write_json_document(&status)
            }
            Self::Rebuild { no_wait } => show_rebuild(rebuild_index(door, !no_wait).await?, output),
        }
    }
}

/// Result of a rebuild.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct RebuildOutcome {
    /// Documents whose rebuild was queued.
    documents: usize,
    /// Documents whose rebuild failed.
    pub(super) failed: usize,
}

impl fmt::Display for RebuildOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, {} failed", self.documents, self.failed)
    }
}

/// Queues a rebuild of every document's points; with `wait`, waits until all jobs have ended.
pub(super) async fn rebuild_index(door: &ApiClient, wait: bool) -> anyhow::Result<RebuildOutcome> {
    let begun = door
        .request_json(Method::POST, "/operator/v1/index/rebuild", None)
        .await?;
    let jobs: Vec<&str> = begun["jobs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str())
        .collect();
    let mut failed = 0;
    if wait {
        let bar = progress_bar(
            jobs.len() as u64,
            "{bar:30} {pos}/{len} documents, {per_sec}, {eta} left",
        );
        for id in &jobs {
            let job = wait_for_operator_job(door, id).await?.unwrap_or_default();
            if job["state"] == "failed" {
                failed += 1;
                print_message(&format!(
                    "failed: document {}: {}",
                    job["document_id"], job["error"]["detail"]
                ));
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    Ok(RebuildOutcome {
        documents: jobs.len(),
        failed,
    })
}

fn show_rebuild(rebuilt: RebuildOutcome, output: CommandOutput) -> anyhow::Result<()> {
    match output.json {
        true => output.write_json_line(&serde_json::json!(rebuilt))?,
        false => print_message(&rebuilt.to_string()),
    }
    match rebuilt.failed {
        0 => Ok(()),
        _ => Err(PartialFailureError.into()),
    }
}
