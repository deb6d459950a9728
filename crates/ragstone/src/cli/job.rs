//! `job`: list, get, cancel.

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
    /// List jobs, newest first
    List {
        /// Only in this state: queued, running, succeeded, failed, cancelled
        #[arg(long)]
        state: Option<String>,
        /// Only of this kind: ingest, purge
        #[arg(long)]
        kind: Option<String>,
    },
    /// Show a job
    Get {
        /// Its id
        id: uuid::Uuid,
    },
    /// Stop a job
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
        match self {
            Self::List { state, kind } => {
                let query = query(&[("state", state), ("kind", kind)]);
                each(door, "/api/v1/jobs", &query, "jobs", |job| list_line(job, output)).await
            }
            Self::Get { id } => output.document(&door.get(&format!("/api/v1/jobs/{id}")).await?),
            Self::Cancel { id } => {
                let path = format!("/api/v1/jobs/{id}");
                output.document(&door.json(Method::DELETE, &path, None).await?)
            }
        }
    }
}

fn list_line(job: &Value, output: Output) -> anyhow::Result<()> {
    if output.json {
        return output.object(job);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    output.line(&format!(
        "{}  {:<9}  {:<7}  {:<8}  {}/{}  {}",
        text(&job["id"]),
        text(&job["state"]),
        text(&job["kind"]),
        text(&job["stage"]),
        job["done"],
        job["total"],
        text(&job["error"]["detail"])
    ))
}
