//! `source`: add, list, show, sync, pause, resume, remove.

mod add;

use std::collections::HashSet;
use std::time::Duration;

use axum::http::Method;
use clap::Subcommand;
use serde_json::{Value, json};

use add::Add;

use super::client::Door;
use super::document::{each, query};
use super::output::{Output, say};
use super::progress::{fetching, wait_for_job};
use super::{Context, Partly, Usage};
use crate::wiring::ModelFetch;

const SOURCES: &str = "/api/v1/sources";
/// How often a running sync is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to do with sources
#[derive(Debug, Subcommand)]
pub enum Source {
    /// Make a source; nothing is taken in until it is synced
    #[command(subcommand)]
    Add(Box<Add>),
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

impl Source {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let fetch = match &self {
            Self::Sync { .. } => fetching(),
            _ => ModelFetch::Never,
        };
        let door = super::client::interruptible(Door::open(&context.settings, fetch)).await?;
        let done = super::client::interruptible(self.through(&door, context.output)).await;
        door.close_after(done).await
    }

    async fn through(self, door: &Door, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => {
                let made = door.json(Method::POST, SOURCES, Some(&add.body()?)).await?;
                show(&made, output)
            }
            Self::List => each(door, SOURCES, &query(&[]), "sources", |source| show(source, output)).await,
            Self::Show { name } => {
                let source = named(door, &name).await?;
                show(&source, output)?;
                show_failures(&source["last_sync"], output)
            }
            Self::Sync { name, allow_deletions } => sync(door, &name, allow_deletions, output).await,
            Self::Pause { name } => rest(door, &name, true, output).await,
            Self::Resume { name } => rest(door, &name, false, output).await,
            Self::Remove { name } => {
                let source = named(door, &name).await?;
                let removed = door.json(Method::DELETE, &path(&source), None).await?;
                show(&removed, output)
            }
        }
    }
}

/// The source of this name.
async fn named(door: &Door, name: &str) -> anyhow::Result<Value> {
    let mut found = None;
    each(door, SOURCES, "", "sources", |source| {
        if source["name"] == name {
            found = Some(source.clone());
        }
        Ok(())
    })
    .await?;
    found.ok_or_else(|| Usage(format!("there is no source {name}")).into())
}

async fn rest(door: &Door, name: &str, paused: bool, output: Output) -> anyhow::Result<()> {
    let source = named(door, name).await?;
    let body = json!({ "paused": paused });
    show(&door.json(Method::PATCH, &path(&source), Some(&body)).await?, output)
}

/// Syncs, waits for the jobs of what was taken in, and tells what became of it.
async fn sync(door: &Door, name: &str, allow_deletions: bool, output: Output) -> anyhow::Result<()> {
    let source = named(door, name).await?;
    let wanted = json!({ "allow_deletions": allow_deletions });
    let mut now = door
        .json(Method::POST, &format!("{}/sync", path(&source)), Some(&wanted))
        .await?;
    while now["running"] == true {
        tokio::time::sleep(LOOK_EVERY).await;
        now = door.get(&path(&source)).await?;
    }
    let done = &now["last_sync"];
    if let Some(job) = done["job"].as_str() {
        wait_for_job(door, job, |_| {}).await?;
    }
    let failed = failures(door, name, done).await?;
    let told = json!({
        "new": done["new"], "changed": done["changed"], "unchanged": done["unchanged"],
        "deleted": done["deleted"], "held": done["held"], "state": done["state"], "failed": failed,
    });
    let broken = !done["error"].is_null();
    match output.json {
        true => output.object(&told)?,
        false => {
            for failure in &failed {
                say(&format!(
                    "failed: {}: {}",
                    text(failure, "uri"),
                    text(&failure["error"], "detail")
                ));
            }
            let held = held(done).map_or_else(String::new, |held| format!(", {held}"));
            say(&format!("{}, {} failed{held}", counts(done), failed.len()));
        }
    }
    if broken {
        anyhow::bail!(
            "{}; hint: {}",
            text(&done["error"], "detail"),
            text(&done["error"], "hint")
        );
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Partly.into()),
    }
}

/// What the sync could not take in, and what its jobs could not make into documents.
async fn failures(door: &Door, name: &str, done: &Value) -> anyhow::Result<Vec<Value>> {
    let mut failed = done["failures"].as_array().cloned().unwrap_or_default();
    // The report names the first hundred, jobs that failed among them; the documents name all of those.
    let named: HashSet<String> = failed.iter().map(|failure| text(failure, "uri").to_owned()).collect();
    let filter = query(&[("source", Some(name.to_owned()))]);
    each(door, "/api/v1/documents", &filter, "documents", |document| {
        if !document["last_error"].is_null() && !named.contains(text(document, "uri")) {
            failed.push(json!({ "uri": document["uri"], "error": document["last_error"] }));
        }
        Ok(())
    })
    .await?;
    Ok(failed)
}

fn path(source: &Value) -> String {
    format!("{SOURCES}/{}", text(source, "id"))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn counts(sync: &Value) -> String {
    let count = |field: &str| format!("{} {field}", sync[field]);
    ["new", "changed", "unchanged", "deleted"].map(count).join(", ")
}

/// How many deletions a sync held back, if it did.
fn held(sync: &Value) -> Option<String> {
    let held = sync["held"].as_u64().filter(|held| *held > 0)?;
    Some(format!("{held} deletions held"))
}

/// What the last sync could not take in, a line each.
fn show_failures(sync: &Value, output: Output) -> anyhow::Result<()> {
    if output.json {
        return Ok(());
    }
    if held(sync).is_some() {
        output.line(&format!("  {}", text(&sync["error"], "hint")))?;
    }
    for failure in sync["failures"].as_array().into_iter().flatten() {
        let (uri, detail) = (text(failure, "uri"), text(&failure["error"], "detail"));
        output.line(&format!("  failed: {uri}: {detail}"))?;
    }
    Ok(())
}

fn show(source: &Value, output: Output) -> anyhow::Result<()> {
    if output.json {
        return output.object(source);
    }
    let state = match (source["running"].as_bool(), source["paused"].as_bool()) {
        (Some(true), _) => "running",
        (_, Some(true)) => "paused",
        _ => "waiting",
    };
    let last = match &source["last_sync"] {
        Value::Null => "never synced".to_owned(),
        sync if held(sync).is_some() => {
            let held = held(sync).unwrap_or_default();
            format!(
                "held: {held}, {} failed: {}",
                sync["failed"],
                text(&sync["error"], "detail")
            )
        }
        sync if !sync["error"].is_null() => format!("broke off: {}", text(&sync["error"], "detail")),
        sync => format!("{}, {} failed", counts(sync), sync["failed"]),
    };
    output.line(&format!(
        "{}  {:<10}  {:<7}  {}  {last}",
        text(source, "id"),
        text(source, "kind"),
        state,
        text(source, "name"),
    ))
}
