//! `job`: lists, shows, retries and cancels jobs.

use axum::http::Method;
use clap::Subcommand;
use serde_json::Value;

use super::CommandContext;
use super::client::ApiClient;
use super::document::{build_query, for_each_item};
use super::output::CommandOutput;
use crate::wiring::ModelFetch;

/// What to do with background work
#[derive(Debug, Subcommand)]
pub enum JobCommand {
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

impl JobCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let door = ApiClient::connect(&context.settings, ModelFetch::Never).await?;
        let done = self.run_with_client(&door, context.output).await;
        door.close().await;
        done
    }

    async fn run_with_client(self, door: &ApiClient, output: CommandOutput) -> anyhow::Result<()> {
        let path = |id: uuid::Uuid| format!("/api/v1/jobs/{id}");
        match self {
            Self::List { state, kind, parent } => {
                let parent = parent.map(|id| id.to_string());
                let query = build_query(&[("state", state), ("kind", kind), ("parent", parent)]);
                for_each_item(door, "/api/v1/jobs", &query, "jobs", |job| show_job(job, output)).await
            }
            Self::Show { id } => output.write_json_document(&door.get_json(&path(id)).await?),
            Self::Retry { id } => {
                let path = format!("{}/retry", path(id));
                output.write_json_document(&door.request_json(Method::POST, &path, None).await?)
            }
            Self::Cancel { id } => {
                output.write_json_document(&door.request_json(Method::DELETE, &path(id), None).await?)
            }
        }
    }
}

fn show_job(job: &Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return output.write_json_line(job);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    output.write_line(&format!(
        "{}  {:<9}  {:<7}  {:<8}  {}/{}  {}{}",
        text(&job["id"]),
        text(&job["state"]),
        text(&job["kind"]),
        text(&job["stage"]),
        job["done"],
        job["total"],
        super::progress::describe_pace(job),
        text(&job["error"]["detail"])
    ))
}
