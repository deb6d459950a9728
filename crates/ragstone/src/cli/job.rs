//! `job`: list, show, retry, cancel.

use axum::http::Method;
use clap::Subcommand;
use serde_json::Value;

use super::Context;
use super::client::Door;
use super::document::{each, query};
use super::output::Output;
use crate::wiring::ModelFetch;

/// What to do with background work
#[derive(Debug, Subcommand)]
pub enum Job {
    /// List jobs, newest first; `--state failed` lists what will not be tried again by itself
    List {
        /// Only in this state: queued, running, succeeded, failed, cancelled
        #[arg(long)]
        state: Option<String>,
        /// Only of this kind: ingest, purge, batch
        #[arg(long)]
        kind: Option<String>,
        /// Only the children of this batch
        #[arg(long, value_name = "ID")]
        parent: Option<uuid::Uuid>,
    },
    /// Show a job
    #[command(alias = "get")]
    Show {
        /// Its id
        id: uuid::Uuid,
    },
    /// Try a job that failed or was cancelled again; of a batch, every such child
    Retry {
        /// Its id
        id: uuid::Uuid,
    },
    /// Stop a job; of a batch, every child that has not ended
    Cancel {
        /// Its id
        id: uuid::Uuid,
    },
}

impl Job {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let door = Door::open(&context.settings, ModelFetch::Never).await?;
        let done = self.through(&door, context.output).await;
        door.close().await;
        done
    }

    async fn through(self, door: &Door, output: Output) -> anyhow::Result<()> {
        let path = |id: uuid::Uuid| format!("/api/v1/jobs/{id}");
        match self {
            Self::List { state, kind, parent } => {
                let parent = parent.map(|id| id.to_string());
                let query = query(&[("state", state), ("kind", kind), ("parent", parent)]);
                each(door, "/api/v1/jobs", &query, "jobs", |job| list_line(job, output)).await
            }
            Self::Show { id } => output.document(&door.get(&path(id)).await?),
            Self::Retry { id } => {
                let path = format!("{}/retry", path(id));
                output.document(&door.json(Method::POST, &path, None).await?)
            }
            Self::Cancel { id } => output.document(&door.json(Method::DELETE, &path(id), None).await?),
        }
    }
}

fn list_line(job: &Value, output: Output) -> anyhow::Result<()> {
    if output.json {
        return output.object(job);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    output.line(&format!(
        "{}  {:<9}  {:<7}  {:<8}  {}/{}  {}{}",
        text(&job["id"]),
        text(&job["state"]),
        text(&job["kind"]),
        text(&job["stage"]),
        job["done"],
        job["total"],
        super::progress::pace(job),
        text(&job["error"]["detail"])
    ))
}
