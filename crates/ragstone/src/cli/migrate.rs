//! `model migrate` and `model rollback`: change the embedding model while the library answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use axum::http::Method;
use clap::{ArgGroup, Args};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::client::{ApiClient, run_until_shutdown};
use super::eval::read_set;
use super::output::{CommandOutput, print_message};
use super::progress::{fetch_before_work, progress_bar};
use super::{CommandContext, PartialFailureError, UsageError};
use crate::config::Settings;
use crate::wiring::ModelFetch;

/// Interval between two reads of the status.
const LOOK: Duration = Duration::from_millis(250);
/// Path of the operator's migration routes.
const PATH: &str = "/operator/v1/migration";

/// Change the embedding model while the library answers
///
/// A second index is filled from the stored texts, in the background, while the first one answers; documents that come, go
/// or change their readers meanwhile do so in both. When it is full, and passes the gate if there is one, all questions go
/// to the new model at once. Both are kept until --finish, and `ragstone model rollback` goes back. Interrupted, it goes on
/// with the next `ragstone serve` or the same command. Exit code 1 if the gate refused.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("verb").required(true).args(["to", "status", "abort", "finish"])))]
pub struct MigrateCommand {
    /// The new model: openai:MODEL, local, or local:FOLDER
    #[arg(long, value_name = "MODEL")]
    to: Option<String>,
    /// Switch only if new/old of this metric over the questions of --set is at least this, such as ndcg@10>=0.98
    #[arg(long, value_name = "METRIC>=RATIO", requires = "to", requires = "set")]
    gate: Option<String>,
    /// The questions of --gate: JSON lines, or a BEIR folder; asked as the operator
    #[arg(long, value_name = "SET", requires = "gate")]
    set: Option<PathBuf>,
    /// Which judgments of a BEIR folder
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    /// Another service than the settings' for the new model; a key goes there only if the settings name it with one
    #[arg(
        long,
        value_name = "URL",
        requires = "to",
        default_value = "",
        hide_default_value = true
    )]
    base_url: String,
    /// Length of a vector of the new model [default: what it gives]
    #[arg(
        long,
        value_name = "N",
        requires = "to",
        default_value_t = 0,
        hide_default_value = true
    )]
    dimensions: usize,
    /// Put before questions for the new model
    #[arg(
        long,
        value_name = "TEXT",
        requires = "to",
        default_value = "",
        hide_default_value = true
    )]
    query_prefix: String,
    /// Put before passages for the new model
    #[arg(
        long,
        value_name = "TEXT",
        requires = "to",
        default_value = "",
        hide_default_value = true
    )]
    passage_prefix: String,
    /// Do not wait for the end
    #[arg(long, requires = "to")]
    no_wait: bool,
    /// Tell how a change stands
    #[arg(long)]
    status: bool,
    /// Give the new model up, and remove what was made for it
    #[arg(long)]
    abort: bool,
    /// Keep the new model alone, and remove what the old one had; the settings have to name the new one
    #[arg(long)]
    finish: bool,
}

impl MigrateCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let CommandContext { settings, output } = context;
        let Some(to) = &self.to else {
            let (method, path) = match (self.abort, self.finish) {
                (true, _) => (Method::POST, format!("{PATH}/abort")),
                (_, true) => (Method::POST, format!("{PATH}/finish")),
                _ => (Method::GET, PATH.to_owned()),
            };
            let status = send_command(&settings, ModelFetch::Never, method, &path).await?;
            return show_status(&status, output);
        };
        let request = json!({ "to": self.parse_target(to, &settings)?, "gate": self.read_gate()? });
        let door = run_until_shutdown(ApiClient::connect(&settings, fetch_before_work())).await?;
        let done = run_until_shutdown(self.run_with_client(&door, &request)).await;
        let status = door.close_after_work(done).await?;
        show_status(&status, output)?;
        match status["state"].as_str() {
            Some("refused") => Err(PartialFailureError.into()),
            _ => Ok(()),
        }
    }

    async fn run_with_client(&self, door: &ApiClient, request: &Value) -> anyhow::Result<Value> {
        let mut status = door.request_json(Method::POST, PATH, Some(request)).await?;
        let bar = progress_bar(0, "{bar:30} {pos}/{len} chunks, {per_sec}, {eta} left");
        let mut trouble = Value::Null;
        while status["state"] == "filling" && !self.no_wait {
            update_progress(&bar, &status, &mut trouble);
            tokio::time::sleep(LOOK).await;
            status = door.get_json(PATH).await?;
        }
        bar.finish_and_clear();
        Ok(status)
    }

    /// The target model as the request describes it.
    fn parse_target(&self, to: &str, settings: &Settings) -> anyhow::Result<Value> {
        let (kind, name) = to.split_once(':').unwrap_or((to, ""));
        let (remote, model, path) = match (kind, name) {
            ("openai", name) if !name.is_empty() => (true, name, PathBuf::new()),
            ("local", "") => (false, "", PathBuf::new()),
            ("local", name) if name == settings.model.manifest.name => (false, name, PathBuf::new()),
            ("local", folder) if Path::new(folder).is_dir() => {
                let named = || format!("cannot name {folder}");
                (false, "", std::path::absolute(folder).with_context(named)?)
            }
            _ => {
                let detail = format!("--to {to:?} is none of openai:MODEL, local and local:FOLDER with a model in it");
                return Err(UsageError(detail).into());
            }
        };
        Ok(json!({
            "remote": remote,
            "model": model,
            "path": path,
            "base_url": self.base_url.trim_end_matches('/'),
            "dimensions": self.dimensions,
            "query_prefix": self.query_prefix,
            "passage_prefix": self.passage_prefix,
        }))
    }

    /// The quality gate with its questions, if one was given.
    fn read_gate(&self) -> anyhow::Result<Option<Value>> {
        let (Some(gate), Some(set)) = (&self.gate, &self.set) else {
            return Ok(None);
        };
        let (metric, ratio) = parse_gate(gate)?;
        let questions = read_set(set, &self.split)?;
        Ok(Some(
            json!({ "metric": metric, "ratio": ratio, "questions": questions }),
        ))
    }
}

/// Parses `ndcg@10>=0.98` to the metric's name in reports and the ratio.
fn parse_gate(gate: &str) -> anyhow::Result<(String, f64)> {
    let parts = gate.split_once(">=").and_then(|(metric, ratio)| {
        let ratio = ratio.trim().parse::<f64>().ok()?;
        (ratio.is_finite() && ratio >= 0.0).then(|| (metric.trim().replace('@', "_"), ratio))
    });
    parts
        .filter(|(metric, _)| !metric.is_empty())
        .ok_or_else(|| UsageError(format!("--gate {gate:?} is not METRIC>=RATIO, such as ndcg@10>=0.98")).into())
}

pub(super) async fn roll_back(context: CommandContext) -> anyhow::Result<()> {
    let path = format!("{PATH}/rollback");
    let status = send_command(&context.settings, fetch_before_work(), Method::POST, &path).await?;
    show_status(&status, context.output)
}

async fn send_command(settings: &Settings, fetch: ModelFetch, method: Method, path: &str) -> anyhow::Result<Value> {
    let door = run_until_shutdown(ApiClient::connect(settings, fetch)).await?;
    let done = run_until_shutdown(door.request_json(method, path, None)).await;
    door.close_after_work(done).await
}

fn update_progress(bar: &ProgressBar, status: &Value, trouble: &mut Value) {
    bar.set_length(status["total"].as_u64().unwrap_or_default());
    bar.set_position(status["done"].as_u64().unwrap_or_default());
    if *trouble != status["trouble"] {
        trouble.clone_from(&status["trouble"]);
        if let Some(trouble) = trouble.as_str() {
            bar.suspend(|| print_message(&format!("it waits: {trouble}")));
        }
    }
}

fn show_status(status: &Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return output.write_json_line(status);
    }
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    if text("state") == "none" {
        return output.write_line("no model is being changed");
    }
    output.write_line(&format!(
        "{}: {} -> {}, {} of {} chunks; {} answers",
        text("state"),
        text("from"),
        text("to"),
        status["done"],
        status["total"],
        text("answers")
    ))?;
    if let Some(metric) = status["compared"]["metric"].as_str() {
        let number = |key: &str| status["compared"][key].as_f64().unwrap_or_default();
        output.write_line(&format!(
            "{metric} over {} questions: {:.4} -> {:.4}, at least {} of it asked for",
            status["compared"]["questions"],
            number("old"),
            number("new"),
            number("ratio")
        ))?;
    }
    if let Some(trouble) = status["trouble"].as_str() {
        print_message(&format!("it waits: {trouble}"));
    }
    if let Some(settings) = status["settings"].as_str() {
        print_message(&format!("say so in the settings before --finish: {settings}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_a_metric_and_a_ratio() {
        let check = |gate: &str, expected: Option<(&str, f64)>| {
            let parsed = parse_gate(gate).ok();
            assert_eq!(
                parsed,
                expected.map(|(metric, ratio)| (metric.to_owned(), ratio)),
                "{gate}"
            );
        };
        check("ndcg@10>=0.98", Some(("ndcg_10", 0.98)));
        check(" mrr_10 >= 1 ", Some(("mrr_10", 1.0)));
        check("ndcg@10>0.98", None);
        check(">=0.98", None);
        check("ndcg@10>=much", None);
        check("ndcg@10>=-1", None);
        check("ndcg@10>=NaN", None);
    }
}
