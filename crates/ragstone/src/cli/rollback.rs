//! `rollback`: undoes the last upgrade of a data directory, so that the previous release can be started again.

use clap::Args;
use serde_json::json;

use super::output::{CommandOutput, print_message};
use super::{CommandContext, UsageError};
use crate::wiring::{self, ChangedSince, RollbackPlan};

/// Undo the last upgrade of the data directory, so that the release before can be started again
///
/// Stop the server first. The database from before the upgrade takes the place of the newer one, which is moved aside and
/// kept. What was stored since is told, and is lost only with --yes. If the upgrade only added to the database, the
/// older program opens it as it is, and nothing is done. Exit code 2 if something would be lost.
#[derive(Debug, Args)]
pub struct RollbackCommand {
    /// Go back even if something that was stored since the upgrade is lost
    #[arg(long)]
    yes: bool,
}

impl RollbackCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let settings = context.settings.clone();
        let found = tokio::task::spawn_blocking(move || wiring::UpgradeRollback::find_copies(&settings)).await??;
        let output = context.output;
        let (copy, from, to, changed) = match found.way_back() {
            RollbackPlan::NoCopy => {
                let why = "no copy of the database from before an upgrade is there";
                return show_result(output, "nothing", why, json!({}));
            }
            RollbackPlan::SameSchema { schema, additions } => {
                let why = format!(
                    "nothing has to be undone: the last upgrade only added to the database (schema {schema}; added: {}), \
                     and the release before opens it as it is",
                    additions.join(", ")
                );
                return show_result(
                    output,
                    "additive",
                    &why,
                    json!({ "schema": schema, "additions": additions }),
                );
            }
            RollbackPlan::Copy {
                copy,
                from,
                to,
                changed,
            } => (copy.clone(), *from, *to, *changed),
        };
        print_message(&format!("{} has schema {from}, the database has {to}", copy.display()));
        print_message(&describe_changes(changed));
        if !self.yes && !found.loses_nothing() {
            let detail =
                "this would be lost, or come back; hint: `ragstone export` keeps it for an import, --yes goes on";
            return Err(UsageError(detail.into()).into());
        }
        let aside = tokio::task::spawn_blocking(move || found.restore_copies()).await??;
        let kept: Vec<String> = aside.iter().map(|path| path.display().to_string()).collect();
        let words = format!(
            "the database from before is back; the newer one is kept as {}; start the release before now, for this one \
             upgrades again",
            kept.join(", ")
        );
        let more = json!({ "restored": copy, "aside": kept, "from": to, "to": from, "changed": changed });
        show_result(output, "restored", &words, more)
    }
}

/// Shows the result of the rollback.
fn show_result(output: CommandOutput, result: &str, words: &str, mut more: serde_json::Value) -> anyhow::Result<()> {
    more["result"] = json!(result);
    match output.json {
        true => output.write_json_line(&more),
        false => output.write_line(words),
    }
}

fn describe_changes(changed: Option<ChangedSince>) -> String {
    let Some(changed) = changed else {
        return "what was stored since cannot be told".into();
    };
    let parts = [
        (changed.added, "documents were added, which would be lost"),
        (changed.changed, "documents were changed, which would be as they were"),
        (
            changed.deleted,
            "documents were deleted, which would come back, though their originals may be gone",
        ),
        (changed.keys_added, "API keys were made, which would be lost"),
        (changed.keys_revoked, "API keys were revoked, which would open again"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    match parts.is_empty() {
        true => "no document and no key was stored, changed or deleted since".into(),
        false => format!("since it was made: {}", parts.join("; ")),
    }
}
