//! `eval calibrate`: finds the threshold for this corpus below which no answer is given.

use std::path::PathBuf;

use axum::http::Method;
use clap::Args;
use ragstone_core::evaluate::EvaluationQuestion;
use serde_json::{Value, json};

use super::set;
use crate::cli::CommandContext;
use crate::cli::client::ApiClient;
use crate::cli::output::CommandOutput;
use crate::cli::progress::fetch_before_question;

/// Points of the curve that are shown as text.
const SHOWN_POINTS: usize = 20;

/// Finds the threshold below which nothing is answered, and prints what others would do
///
/// Built-in questions of other topics say what chance reaches. A set says which questions this corpus answers and, with
/// `answerable: false`, which it does not: then the threshold is the one that is right about most of both. It holds, for
/// every process, until the library has doubled.
#[derive(Debug, Args)]
pub struct EvalCalibrateCommand {
    /// A set of questions, as for `eval run`
    set: Option<PathBuf>,
    /// Which judgments of a BEIR folder
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
}

impl EvalCalibrateCommand {
    pub async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let questions = match &self.set {
            Some(path) => set::read_question_set(path, &self.split)?,
            None => Vec::new(),
        };
        let of = |answerable: bool| -> Vec<&str> {
            let kind = questions
                .iter()
                .filter(|question| question.is_answerable() == Some(answerable));
            kind.map(|question: &EvaluationQuestion| question.question.as_str())
                .collect()
        };
        let body = json!({ "answerable": of(true), "unanswerable": of(false) });
        let door = ApiClient::connect(&context.settings, fetch_before_question()).await?;
        let path = "/operator/v1/evaluations/calibrate";
        let found = door.request_json(Method::POST, path, Some(&body)).await;
        door.close().await;
        match context.output.json {
            true => context.output.write_json_line(&found?),
            false => show_calibration(&found?, context.output),
        }
    }
}

fn show_calibration(found: &Value, output: CommandOutput) -> anyhow::Result<()> {
    let number = |value: &Value| value.as_f64().map_or_else(|| "-".into(), |value| format!("{value:.3}"));
    output.write_line("threshold  answered  refused")?;
    let curve = found["curve"].as_array().map(Vec::as_slice).unwrap_or_default();
    for point in curve.iter().step_by(curve.len().div_ceil(SHOWN_POINTS).max(1)) {
        let [threshold, answered, refused] = ["threshold", "answered", "refused"].map(|key| number(&point[key]));
        output.write_line(&format!("{threshold:>9}  {answered:>8}  {refused:>7}"))?;
    }
    output.write_line(&format!(
        "threshold {} from {} questions with an answer and {} without, on {} chunks",
        number(&found["threshold"]),
        found["answerable"],
        found["unanswerable"],
        found["chunks"]
    ))
}
