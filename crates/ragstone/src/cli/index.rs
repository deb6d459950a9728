//! `index`: what it holds, and making it again.

use std::fmt;

use axum::http::Method;
use clap::Subcommand;
use serde::Serialize;

use super::client::{Door, interruptible};
use super::output::{Output, say};
use super::progress::{bar, fetching, wait_for_upkeep};
use super::{Context, Partly};
use crate::wiring::ModelFetch;

/// What to do with the index
#[derive(Debug, Subcommand)]
pub enum Index {
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

impl Index {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let fetch = match self {
            Self::Status => ModelFetch::Present,
            Self::Rebuild { .. } => fetching(),
        };
        let door = interruptible(Door::open(&context.settings, fetch)).await?;
        let done = interruptible(self.through(&door, context.output)).await;
        door.close_after(done).await
    }

    async fn through(self, door: &Door, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Status => {
                let status = door.get("/operator/v1/index").await?;
                output.document(&status)
            }
            Self::Rebuild { no_wait } => show(rebuild(door, !no_wait).await?, output),
        }
    }
}

/// What came of making the points again.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Rebuilt {
    /// Documents whose points are made.
    documents: usize,
    /// Those of them that failed.
    pub(super) failed: usize,
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} documents, {} failed", self.documents, self.failed)
    }
}

/// Makes every document's points again, and waits for the end if it is told to.
pub(super) async fn rebuild(door: &Door, wait: bool) -> anyhow::Result<Rebuilt> {
    let begun = door.json(Method::POST, "/operator/v1/index/rebuild", None).await?;
    let jobs: Vec<&str> = begun["jobs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str())
        .collect();
    let mut failed = 0;
    if wait {
        let bar = bar(
            jobs.len() as u64,
            "{bar:30} {pos}/{len} documents, {per_sec}, {eta} left",
        );
        for id in &jobs {
            let job = wait_for_upkeep(door, id).await?.unwrap_or_default();
            if job["state"] == "failed" {
                failed += 1;
                say(&format!(
                    "failed: document {}: {}",
                    job["document_id"], job["error"]["detail"]
                ));
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
    }
    Ok(Rebuilt {
        documents: jobs.len(),
        failed,
    })
}

fn show(rebuilt: Rebuilt, output: Output) -> anyhow::Result<()> {
    match output.json {
        true => output.object(&serde_json::json!(rebuilt))?,
        false => say(&rebuilt.to_string()),
    }
    match rebuilt.failed {
        0 => Ok(()),
        _ => Err(Partly.into()),
    }
}
