//! `eval accept`: a person says which drafts of a set are good.

use std::path::PathBuf;

use clap::Args;
use ragstone_core::evaluate::parse_jsonl;
use serde_json::Value;

use super::lines;
use crate::cli::Usage;
use crate::cli::output::{Output, say};

/// Accepts drafts of a set, or lists them
///
/// Without an option the drafts are listed and nothing is changed.
#[derive(Debug, Args)]
pub struct Accept {
    /// The set, a file of JSON lines
    set: PathBuf,
    /// Accept the draft of this id; may be repeated
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Accept all drafts that are not rejected
    #[arg(long)]
    all: bool,
    /// Remove the draft of this id; may be repeated
    #[arg(long = "reject", value_name = "ID")]
    rejected: Vec<String>,
}

impl Accept {
    pub fn run(self, output: Output) -> anyhow::Result<()> {
        let mut lines = lines::read(&self.set)?;
        let is_draft = |line: &Value| line["draft"] == true;
        if self.ids.is_empty() && self.rejected.is_empty() && !self.all {
            return lines
                .iter()
                .filter(|line| is_draft(line))
                .try_for_each(|line| show(line, output));
        }
        for named in self.ids.iter().chain(&self.rejected) {
            if !lines.iter().any(|line| is_draft(line) && id(line) == *named) {
                return Err(Usage(format!("there is no draft {named:?} in the set")).into());
            }
        }
        let before = lines.len();
        lines.retain(|line| !(is_draft(line) && self.rejected.contains(&id(line))));
        let mut accepted = 0;
        for line in &mut lines {
            if is_draft(line) && (self.all || self.ids.contains(&id(line))) {
                line.as_object_mut().map(|fields| fields.remove("draft"));
                accepted += 1;
            }
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if !lines.is_empty() {
            parse_jsonl(&text).map_err(|error| Usage(format!("{} is no set: {error}", self.set.display())))?;
        }
        lines::replace(&self.set, &lines)?;
        say(&format!("{accepted} accepted, {} removed", before - lines.len()));
        Ok(())
    }
}

fn id(line: &Value) -> String {
    match &line["id"] {
        Value::String(id) => id.clone(),
        other => other.to_string(),
    }
}

fn show(line: &Value, output: Output) -> anyhow::Result<()> {
    if output.json {
        return output.object(line);
    }
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    output.line(&format!("{}  {}", id(line), text("question")))?;
    output.line(&format!("    {}", text("reference")))
}
