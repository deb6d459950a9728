//! `source`: adds, lists, shows, syncs, pauses, resumes and removes sources.

mod add;

use std::collections::HashSet;
use std::time::Duration;

use axum::http::Method;
use clap::Subcommand;
use serde_json::{Value, json};

use add::AddSourceCommand;

use super::client::ApiClient;
use super::document::{build_query, for_each_item};
use super::output::{CommandOutput, print_message};
use super::progress::{fetch_before_work, wait_for_job};
use super::{CommandContext, PartialFailureError, UsageError};
use crate::wiring::ModelFetch;

const SOURCES: &str = "/api/v1/sources";
/// Interval between two reads of a running sync.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to do with sources
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// Make a source; nothing is taken in until it is synced
    #[command(subcommand)]
    Add(Box<AddSourceCommand>),
    /// List sources, how their last syncs went, and how many deletions are held back
    List,
    /// Show a source, with what its last sync could not take in
    Show {
        /// Its name
        name: String,
    },
    /// Take in what is new or changed, delete what is gone, and wait until it is found by a search
    ///
    /// A sync that would delete unusually much (more than the setting sync.max_deleted_share and more than ten documents, or
    /// all of them) deletes nothing, is held, and exits with 1: a disk may not be mounted, or a site may be under maintenance.
    Sync {
        /// Its name
        name: String,
        /// Delete everything that is missing from the source, however much it is
        #[arg(long)]
        allow_deletions: bool,
    },
    /// Let a source rest: no sync by schedule
    Pause {
        /// Its name
        name: String,
    },
    /// End a source's rest
    Resume {
        /// Its name
        name: String,
    },
    /// Remove a source with its documents
    Remove {
        /// Its name
        name: String,
    },
}

impl SourceCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let fetch = match &self {
            Self::Sync { .. } => fetch_before_work(),
            _ => ModelFetch::Never,
        };
        let door = super::client::run_until_shutdown(ApiClient::connect(&context.settings, fetch)).await?;
        let done = super::client::run_until_shutdown(self.run_with_client(&door, context.output)).await;
        door.close_after_work(done).await
    }

    async fn run_with_client(self, door: &ApiClient, output: CommandOutput) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => {
                let made = door
                    .request_json(Method::POST, SOURCES, Some(&add.request_body()?))
                    .await?;
                show_source(&made, output)
            }
            Self::List => {
                for_each_item(door, SOURCES, &build_query(&[]), "sources", |source| {
                    show_source(source, output)
                })
                .await
            }
            Self::Show { name } => {
                let source = find_source(door, &name).await?;
                show_source(&source, output)?;
                show_failures(&source["last_sync"], output)
            }
            Self::Sync { name, allow_deletions } => sync_source(door, &name, allow_deletions, output).await,
            Self::Pause { name } => set_paused(door, &name, true, output).await,
            Self::Resume { name } => set_paused(door, &name, false, output).await,
            Self::Remove { name } => {
                let source = find_source(door, &name).await?;
                let removed = door.request_json(Method::DELETE, &source_path(&source), None).await?;
                show_source(&removed, output)
            }
        }
    }
}

/// Finds the source with this name.
async fn find_source(door: &ApiClient, name: &str) -> anyhow::Result<Value> {
    let mut found = None;
    for_each_item(door, SOURCES, "", "sources", |source| {
        if source["name"] == name {
            found = Some(source.clone());
        }
        Ok(())
    })
    .await?;
    found.ok_or_else(|| UsageError(format!("there is no source {name}")).into())
}

async fn set_paused(door: &ApiClient, name: &str, paused: bool, output: CommandOutput) -> anyhow::Result<()> {
    let source = find_source(door, name).await?;
    let body = json!({ "paused": paused });
    show_source(
        &door
            .request_json(Method::PATCH, &source_path(&source), Some(&body))
            .await?,
        output,
    )
}

/// Syncs, waits for the jobs of ingested documents, and shows the result.
async fn sync_source(door: &ApiClient, name: &str, allow_deletions: bool, output: CommandOutput) -> anyhow::Result<()> {
    let source = find_source(door, name).await?;
    let wanted = json!({ "allow_deletions": allow_deletions });
    let mut now = door
        .request_json(Method::POST, &format!("{}/sync", source_path(&source)), Some(&wanted))
        .await?;
    while now["running"] == true {
        tokio::time::sleep(LOOK_EVERY).await;
        now = door.get_json(&source_path(&source)).await?;
    }
    let done = &now["last_sync"];
    if let Some(job) = done["job"].as_str() {
        wait_for_job(door, job, |_| {}).await?;
    }
    let failed = collect_failures(door, name, done).await?;
    let told = json!({
        "new": done["new"], "changed": done["changed"], "unchanged": done["unchanged"],
        "deleted": done["deleted"], "held": done["held"], "state": done["state"], "failed": failed,
    });
    let broken = !done["error"].is_null();
    match output.json {
        true => output.write_json_line(&told)?,
        false => {
            for failure in &failed {
                print_message(&format!(
                    "failed: {}: {}",
                    text_field(failure, "uri"),
                    text_field(&failure["error"], "detail")
                ));
            }
            let held = describe_held_deletions(done).map_or_else(String::new, |held| format!(", {held}"));
            print_message(&format!("{}, {} failed{held}", describe_counts(done), failed.len()));
        }
    }
    if broken {
        anyhow::bail!(
            "{}; hint: {}",
            text_field(&done["error"], "detail"),
            text_field(&done["error"], "hint")
        );
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(PartialFailureError.into()),
    }
}

/// Items that the sync could not ingest, and documents whose jobs failed.
async fn collect_failures(door: &ApiClient, name: &str, done: &Value) -> anyhow::Result<Vec<Value>> {
    let mut failed = done["failures"].as_array().cloned().unwrap_or_default();
    // The report lists only the first hundred failures, failed jobs among them; the list of documents has all failed
    // jobs.
    let named: HashSet<String> = failed
        .iter()
        .map(|failure| text_field(failure, "uri").to_owned())
        .collect();
    let filter = build_query(&[("source", Some(name.to_owned()))]);
    for_each_item(door, "/api/v1/documents", &filter, "documents", |document| {
        if !document["last_error"].is_null() && !named.contains(text_field(document, "uri")) {
            failed.push(json!({ "uri": document["uri"], "error": document["last_error"] }));
        }
        Ok(())
    })
    .await?;
    Ok(failed)
}

fn source_path(source: &Value) -> String {
    format!("{SOURCES}/{}", text_field(source, "id"))
}

fn text_field<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn describe_counts(sync: &Value) -> String {
    let count = |field: &str| format!("{} {field}", sync[field]);
    ["new", "changed", "unchanged", "deleted"].map(count).join(", ")
}

/// Describes how many deletions a sync held back; `None` if none.
fn describe_held_deletions(sync: &Value) -> Option<String> {
    let held = sync["held"].as_u64().filter(|held| *held > 0)?;
    Some(format!("{held} deletions held"))
}

/// Shows what the last sync could not ingest, one line each.
fn show_failures(sync: &Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return Ok(());
    }
    if describe_held_deletions(sync).is_some() {
        output.write_line(&format!("  {}", text_field(&sync["error"], "hint")))?;
    }
    for failure in sync["failures"].as_array().into_iter().flatten() {
        let (uri, detail) = (text_field(failure, "uri"), text_field(&failure["error"], "detail"));
        output.write_line(&format!("  failed: {uri}: {detail}"))?;
    }
    Ok(())
}

fn show_source(source: &Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return output.write_json_line(source);
    }
    let state = match (source["running"].as_bool(), source["paused"].as_bool()) {
        (Some(true), _) => "running",
        (_, Some(true)) => "paused",
        _ => "waiting",
    };
    let last = match &source["last_sync"] {
        Value::Null => "never synced".to_owned(),
        sync if describe_held_deletions(sync).is_some() => {
            let held = describe_held_deletions(sync).unwrap_or_default();
            format!(
                "held: {held}, {} failed: {}",
                sync["failed"],
                text_field(&sync["error"], "detail")
            )
        }
        sync if !sync["error"].is_null() => format!("broke off: {}", text_field(&sync["error"], "detail")),
        sync => format!("{}, {} failed", describe_counts(sync), sync["failed"]),
    };
    output.write_line(&format!(
        "{}  {:<10}  {:<7}  {}  {last}",
        text_field(source, "id"),
        text_field(source, "kind"),
        state,
        text_field(source, "name"),
    ))
}
