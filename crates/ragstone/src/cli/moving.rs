//! `export` and `import`: transfer the whole library in one file.

use std::path::{Path, PathBuf};
use std::pin::pin;

use anyhow::{Context as _, bail};
use clap::Args;
use futures::TryStreamExt;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::client::{ApiClient, run_until_shutdown};
use super::output::{CommandOutput, print_message};
use super::progress::{fetch_before_question, progress_bar};
use super::{CommandContext, PartialFailureError};
use crate::wiring::ModelFetch;

/// Write the whole library to one file: documents, texts, vectors, readers and sources
///
/// Keys, secrets, conversations and evaluation runs stay. A run that was interrupted goes on where it was when the same
/// command is given again. The file holds every document in the clear: keep it like the library itself.
#[derive(Debug, Args)]
pub struct ExportCommand {
    /// The archive to write; it must not be there yet
    file: PathBuf,
}

/// Take in what `export` wrote, without parsing or embedding anything again
///
/// What the library has already stays as it is: the same archive again changes nothing, and what was interrupted goes
/// on. Sources come paused. Exit code 1 if a document was not taken in, or an answer differs.
#[derive(Debug, Args)]
pub struct ImportCommand {
    /// The archive to read
    file: PathBuf,
    /// Ask the archive's questions and compare what is found with what was found where it was made
    #[arg(long)]
    verify: bool,
}

impl ExportCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let request = json!({ "path": absolute_path(&self.file)? });
        let told = run_transfer(&context, fetch_before_question(), "/operator/v1/export", &request).await?;
        let (documents, chunks) = (&told["documents"], &told["chunks"]);
        context.output.show_result(&told, || {
            format!(
                "{documents} documents, {chunks} chunks, {} bytes, sha256 {}",
                told["bytes"],
                told["sha256"].as_str().unwrap_or_default()
            )
        })?;
        fail_if(told["left_out"] != 0)
    }
}

impl ImportCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let request = json!({ "path": absolute_path(&self.file)?, "verify": self.verify });
        let fetch = match self.verify {
            true => fetch_before_question(),
            false => ModelFetch::Never,
        };
        let told = run_transfer(&context, fetch, "/operator/v1/import", &request).await?;
        context.output.show_result(&told, || {
            let verified = match &told["verified"] {
                Value::Null => String::new(),
                verified => format!(
                    ", {} of {} questions answered alike",
                    verified["same"], verified["questions"]
                ),
            };
            format!(
                "{} documents: {} taken in, {} there already, {} kept as they are here, {} failed{verified}",
                told["documents"], told["imported"], told["unchanged"], told["kept"], told["failed"]
            )
        })?;
        let differs = told["verified"]["same"] != told["verified"]["questions"];
        fail_if(told["kept"] != 0 || told["failed"] != 0 || differs)
    }
}

impl CommandOutput {
    fn show_result(self, told: &Value, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.json {
            true => self.write_json_line(told),
            false => self.write_line(&words()),
        }
    }
}

fn fail_if(some: bool) -> anyhow::Result<()> {
    match some {
        true => Err(PartialFailureError.into()),
        false => Ok(()),
    }
}

/// Makes a path absolute: the process that owns the data directory may run in another folder.
fn absolute_path(file: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(file).with_context(|| format!("cannot name {}", file.display()))
}

async fn run_transfer(
    context: &CommandContext,
    fetch: ModelFetch,
    path: &str,
    request: &Value,
) -> anyhow::Result<Value> {
    let door = run_until_shutdown(ApiClient::connect(&context.settings, fetch)).await?;
    let done = run_until_shutdown(follow_transfer(&door, path, request)).await;
    door.close_after_work(done).await
}

async fn follow_transfer(door: &ApiClient, path: &str, request: &Value) -> anyhow::Result<Value> {
    let mut events = pin!(door.post_for_events(path, request).await?);
    let bar = progress_bar(0, "{bar:30} {pos}/{len} {msg}, {per_sec}, {eta} left");
    while let Some(event) = events.try_next().await? {
        match event.name.as_str() {
            "progress" => show_progress(&bar, &event.data),
            "left_out" => bar.suspend(|| {
                let text = |key: &str| event.data[key].as_str().unwrap_or_default().to_owned();
                print_message(&format!("left out: {}: {}", text("document"), text("why")));
            }),
            "done" => {
                bar.finish_and_clear();
                return Ok(event.data);
            }
            _ => {
                bar.finish_and_clear();
                bail!("{}", event.data["detail"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    bail!("the process that has the library ended; hint: the same command goes on from here")
}

fn show_progress(bar: &ProgressBar, far: &Value) {
    bar.set_length(far["total"].as_u64().unwrap_or_default());
    bar.set_position(far["done"].as_u64().unwrap_or_default());
    bar.set_message(far["stage"].as_str().unwrap_or_default().to_owned());
}
