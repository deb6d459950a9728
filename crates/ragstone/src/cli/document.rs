//! `document`: list, get, delete.

use axum::http::Method;
use clap::Subcommand;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Context;
use super::client::{Door, interruptible};
use super::output::{Output, say};
use super::progress::wait_for_job;
use crate::wiring::ModelFetch;

/// Documents asked for at once.
const PAGE: usize = 200;

/// What to do with documents
#[derive(Debug, Subcommand)]
pub enum Document {
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

impl Document {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let fetch = match self {
            Self::Delete { .. } => ModelFetch::Present,
            _ => ModelFetch::Never,
        };
        let door = interruptible(Door::open(&context.settings, fetch)).await?;
        let done = interruptible(self.through(&door, context.output)).await;
        door.close_after(done).await
    }

    async fn through(self, door: &Door, output: Output) -> anyhow::Result<()> {
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
                let query = query(&filter);
                each(door, "/api/v1/documents", &query, "documents", |document| {
                    list_line(document, output)
                })
                .await
            }
            Self::Get { id } => {
                let document = door.get(&format!("/api/v1/documents/{id}")).await?;
                output.document(&document)
            }
            Self::Delete { id, no_wait } => {
                let path = format!("/api/v1/documents/{id}");
                let mut answer = door.json(Method::DELETE, &path, None).await?;
                if !no_wait && let Some(job) = answer["job"]["id"].as_str() {
                    // A purged document takes its job's row with it.
                    if let Some(job) = wait_for_job(door, job, |_| {}).await? {
                        answer["job"] = job;
                    }
                }
                match output.json {
                    true => output.object(&answer),
                    false => {
                        say(&format!("deleted {id}"));
                        Ok(())
                    }
                }
            }
        }
    }
}

fn list_line(document: &Value, output: Output) -> anyhow::Result<()> {
    if output.json {
        return output.object(document);
    }
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    output.line(&format!(
        "{}  {:<9}  {:>5} chunks  {}",
        text("id"),
        text("status"),
        document["chunks"],
        text("uri")
    ))
}

/// The given pairs as a query string that starts with `&`, or nothing.
pub fn query(pairs: &[(&str, Option<String>)]) -> String {
    let given = pairs.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    given
        .map(|(key, value)| format!("&{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect()
}

/// Every item of a list, page by page.
pub async fn each(
    door: &Door,
    path: &str,
    query: &str,
    items: &str,
    mut with: impl FnMut(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut cursor = String::new();
    loop {
        let page = door.get(&format!("{path}?limit={PAGE}{query}{cursor}")).await?;
        for item in page[items].as_array().into_iter().flatten() {
            with(item)?;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", utf8_percent_encode(next, NON_ALPHANUMERIC)),
            None => return Ok(()),
        }
    }
}
