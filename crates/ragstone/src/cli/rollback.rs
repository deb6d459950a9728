//! `rollback`: undoes the last upgrade of a data directory, so that the release before can be started again.

use clap::Args;
use serde_json::json;

use super::output::{Output, say};
use super::{Context, Usage};
use crate::wiring::{self, ChangedSince, WayBack};

/// Undo the last upgrade of the data directory, so that the release before can be started again
///
/// Stop the server first. The database from before the upgrade takes the place of the newer one, which is moved aside and
/// kept. What was stored since is told, and is lost only with --yes. If the upgrade only added to the database, the
/// older program opens it as it is, and nothing is done. Exit code 2 if something would be lost.
#[derive(Debug, Args)]
pub struct Rollback {
    /// Go back even if something that was stored since the upgrade is lost
    #[arg(long)]
    yes: bool,
}

impl Rollback {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let settings = context.settings.clone();
        let found = tokio::task::spawn_blocking(move || wiring::Rollback::find(&settings)).await??;
        let output = context.output;
        let (copy, from, to, changed) = match found.way() {
            WayBack::NoCopy => {
                let why = "no copy of the database from before an upgrade is there";
                return told(output, "nothing", why, json!({}));
            }
            WayBack::SameSchema { schema, additions } => {
                let why = format!(
                    "nothing has to be undone: the last upgrade only added to the database (schema {schema}; added: {}), \
                     and the release before opens it as it is",
                    additions.join(", ")
                );
                return told(
                    output,
                    "additive",
                    &why,
                    json!({ "schema": schema, "additions": additions }),
                );
            }
            WayBack::Copy {
                copy,
                from,
                to,
                changed,
            } => (copy.clone(), *from, *to, *changed),
        };
        say(&format!("{} has schema {from}, the database has {to}", copy.display()));
        say(&in_words(changed));
        if !self.yes && !found.loses_nothing() {
            let detail =
                "this would be lost, or come back; hint: `ragstone export` keeps it for an import, --yes goes on";
            return Err(Usage(detail.into()).into());
        }
        let aside = tokio::task::spawn_blocking(move || found.carry_out()).await??;
        let kept: Vec<String> = aside.iter().map(|path| path.display().to_string()).collect();
        let words = format!(
            "the database from before is back; the newer one is kept as {}; start the release before now, for this one \
             upgrades again",
            kept.join(", ")
        );
        let more = json!({ "restored": copy, "aside": kept, "from": to, "to": from, "changed": changed });
        told(output, "restored", &words, more)
    }
}

/// Says what came of it.
fn told(output: Output, result: &str, words: &str, mut more: serde_json::Value) -> anyhow::Result<()> {
    more["result"] = json!(result);
    match output.json {
        true => output.object(&more),
        false => output.line(words),
    }
}

fn in_words(changed: Option<ChangedSince>) -> String {
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
