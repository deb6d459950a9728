//! Reads a set of questions: a file of JSON lines, or a BEIR folder.

use std::path::Path;

use anyhow::Context as _;
use ragstone_core::evaluate::{EvaluationQuestion, parse_beir, parse_jsonl};

use crate::cli::UsageError;

/// Reads the set at `path`; of a BEIR folder, the questions that `split` judges.
pub fn read_question_set(path: &Path, split: &str) -> anyhow::Result<Vec<EvaluationQuestion>> {
    let text = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let parsed = match path.is_dir() {
        true => {
            let judgments = text(&path.join("qrels").join(format!("{split}.tsv")))?;
            parse_beir(&text(&path.join("queries.jsonl"))?, &judgments)
        }
        false => parse_jsonl(&text(path)?),
    };
    parsed.map_err(|error| UsageError(format!("{} is no set: {error}", path.display())).into())
}
