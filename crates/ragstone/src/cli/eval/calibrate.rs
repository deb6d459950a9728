//! `eval calibrate`: the threshold below which nothing is answered, found on this corpus.

use std::path::PathBuf;

use axum::http::Method;
use clap::Args;
use ragstone_core::evaluate::Question;
use serde_json::{Value, json};

use super::set;
use crate::cli::Context;
use crate::cli::client::Door;
use crate::cli::output::Output;
use crate::cli::progress::asking;

/// Points of the curve that a person is shown.
const SHOWN_POINTS: usize = 20;

/// Finds the threshold below which nothing is answered, and prints what others would do
///
/// Built-in questions of other topics say what chance reaches. A set says which questions this corpus answers and, with
/// `answerable: false`, which it does not: then the threshold is the one that is right about most of both. It holds, for
/// every process, until the library has doubled.
#[derive(Debug, Args)]
pub struct Calibrate {
    /// A set of questions, as for `eval run`
    set: Option<PathBuf>,
    /// Which judgments of a BEIR folder
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
}

impl Calibrate {
    pub async fn run(self, context: Context) -> anyhow::Result<()> {
        let questions = match &self.set {
            Some(path) => set::read(path, &self.split)?,
            None => Vec::new(),
        };
        let of = |answerable: bool| -> Vec<&str> {
            let kind = questions
                .iter()
                .filter(|question| question.is_answerable() == Some(answerable));
            kind.map(|question: &Question| question.question.as_str()).collect()
        };
        let body = json!({ "answerable": of(true), "unanswerable": of(false) });
        let door = Door::open(&context.settings, asking()).await?;
        let path = "/operator/v1/evaluations/calibrate";
        let found = door.json(Method::POST, path, Some(&body)).await;
        door.close().await;
        match context.output.json {
            true => context.output.object(&found?),
            false => show(&found?, context.output),
        }
    }
}

fn show(found: &Value, output: Output) -> anyhow::Result<()> {
    let number = |value: &Value| value.as_f64().map_or_else(|| "-".into(), |value| format!("{value:.3}"));
    output.line("threshold  answered  refused")?;
    let curve = found["curve"].as_array().map(Vec::as_slice).unwrap_or_default();
    for point in curve.iter().step_by(curve.len().div_ceil(SHOWN_POINTS).max(1)) {
        let [threshold, answered, refused] = ["threshold", "answered", "refused"].map(|key| number(&point[key]));
        output.line(&format!("{threshold:>9}  {answered:>8}  {refused:>7}"))?;
    }
    output.line(&format!(
        "threshold {} from {} questions with an answer and {} without, on {} chunks",
        number(&found["threshold"]),
        found["answerable"],
        found["unanswerable"],
        found["chunks"]
    ))
}
