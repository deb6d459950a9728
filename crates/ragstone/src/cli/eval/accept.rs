//! `eval accept`: a person accepts or rejects drafts of a set.

use std::path::PathBuf;

use clap::Args;
use ragstone_core::evaluate::parse_jsonl;
use serde_json::Value;

use super::lines;
use crate::cli::UsageError;
use crate::cli::output::{CommandOutput, print_message};

/// Accepts drafts of a set, or lists them
///
/// Without an option the drafts are listed and nothing is changed.
#[derive(Debug, Args)]
pub struct EvalAcceptCommand {
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

impl EvalAcceptCommand {
    pub fn run(self, output: CommandOutput) -> anyhow::Result<()> {
        let mut lines = lines::read_lines(&self.set)?;
        let is_draft = |line: &Value| line["draft"] == true;
        if self.ids.is_empty() && self.rejected.is_empty() && !self.all {
            return lines
                .iter()
                .filter(|line| is_draft(line))
                .try_for_each(|line| show_draft(line, output));
        }
        for named in self.ids.iter().chain(&self.rejected) {
            if !lines.iter().any(|line| is_draft(line) && draft_id(line) == *named) {
                return Err(UsageError(format!("there is no draft {named:?} in the set")).into());
            }
        }
        let before = lines.len();
        lines.retain(|line| !(is_draft(line) && self.rejected.contains(&draft_id(line))));
        let mut accepted = 0;
        for line in &mut lines {
            if is_draft(line) && (self.all || self.ids.contains(&draft_id(line))) {
                line.as_object_mut().map(|fields| fields.remove("draft"));
                accepted += 1;
            }
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if !lines.is_empty() {
            parse_jsonl(&text).map_err(|error| UsageError(format!("{} is no set: {error}", self.set.display())))?;
        }
        lines::replace_lines(&self.set, &lines)?;
        print_message(&format!("{accepted} accepted, {} removed", before - lines.len()));
        Ok(())
    }
}

fn draft_id(line: &Value) -> String {
    match &line["id"] {
        Value::String(id) => id.clone(),
        other => other.to_string(),
    }
}

fn show_draft(line: &Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        return output.write_json_line(line);
    }
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    output.write_line(&format!("{}  {}", draft_id(line), text("question")))?;
    output.write_line(&format!("    {}", text("reference")))
}
