//! `document`: lists, shows and deletes documents.

use axum::http::Method;
use clap::Subcommand;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::CommandContext;
use super::client::{ApiClient, run_until_shutdown};
use super::output::{CommandOutput, print_message};
use super::progress::wait_for_job;
use crate::wiring::ModelFetch;

/// Documents per page of a list request.
const PAGE: usize = 200;

/// What to do with documents
#[derive(Debug, Subcommand)]
pub enum DocumentCommand {
    /// List documents
    List {
        /// Only with this status: pending, published, failed
        #[arg(long)]
        status: Option<String>,
        /// Only of this source
        #[arg(long)]
        source: Option<String>,
        /// Only of this collection
        #[arg(long)]
        collection: Option<String>,
        /// Only with this URI
        #[arg(long)]
        uri: Option<String>,
    },
    /// Show a document
    Get {
        /// Its id
        id: uuid::Uuid,
    },
    /// Delete a document: from the answer on nothing of it is found
    Delete {
        /// Its id
        id: uuid::Uuid,
        /// Do not wait until everything of it is removed
        #[arg(long)]
        no_wait: bool,
    },
}

impl DocumentCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let fetch = match self {
            Self::Delete { .. } => ModelFetch::Present,
            _ => ModelFetch::Never,
        };
        let door = run_until_shutdown(ApiClient::connect(&context.settings, fetch)).await?;
        let done = run_until_shutdown(self.run_with_client(&door, context.output)).await;
        door.close_after_work(done).await
    }

    async fn run_with_client(self, door: &ApiClient, output: CommandOutput) -> anyhow::Result<()> {
        match self {
            Self::List {
                status,
                source,
                collection,
                uri,
            } => {
                let filter = [
                    ("status", status),
                    ("source", source),
                    ("collection", collection),
                    ("uri", uri),
                ];
                let query = build_query(&filter);
                for_each_item(door, "/api/v1/documents", &query, "documents", |document| {
                    show_document(document, output)
                })
                .await
            }
            Self::Get { id } => {
                let document = door.get_json(&format!("/api/v1/documents/{id}")).await?;
                output.write_json_document(&document)
            }
            Self::Delete { id, no_wait } => {
                let path = format!("/api/v1/documents/{id}");
                let mut answer = door.request_json(Method::DELETE, &path, None).await?;
                if !no_wait && let Some(job) = answer["job"]["id"].as_str() {
                    // The job's row is removed together with a purged document.
                    if let Some(job) = wait_for_job(door, job, |_| {}).await? {
                        answer["job"] = job;
                    }
                }
                match output.json {
                    true => output.write_json_line(&answer),
                    false => {
                        print_message(&format!("deleted {id}"));
                        Ok(())
                    }
                }
            }
        }
    }
}

fn show_document(document: &Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return output.write_json_line(document);
    }
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    output.write_line(&format!(
        "{}  {:<9}  {:>5} chunks  {}",
        text("id"),
        text("status"),
        document["chunks"],
        text("uri")
    ))
}

/// Query string of the pairs that have a value, beginning with `&`, or empty.
pub fn build_query(pairs: &[(&str, Option<String>)]) -> String {
    let given = pairs.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    given
        .map(|(key, value)| format!("&{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect()
}

/// Calls `see` for every item of a list, page by page.
pub async fn for_each_item(
    door: &ApiClient,
    path: &str,
    query: &str,
    items: &str,
    mut with: impl FnMut(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut cursor = String::new();
    loop {
        let page = door.get_json(&format!("{path}?limit={PAGE}{query}{cursor}")).await?;
        for item in page[items].as_array().into_iter().flatten() {
            with(item)?;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", utf8_percent_encode(next, NON_ALPHANUMERIC)),
            None => return Ok(()),
        }
    }
}
