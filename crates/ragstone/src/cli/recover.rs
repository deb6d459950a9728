//! `recover`: recovers the database from the blobs, then rebuilds the index.

use clap::Args;
use serde_json::json;

use super::client::{ApiClient, run_until_shutdown};
use super::index::rebuild_index;
use super::output::{CommandOutput, print_message};
use super::progress::fetch_before_work;
use super::{CommandContext, PartialFailureError};
use crate::wiring::{self, RecoveryOutcome};

/// Make the database again from the originals and the manifests beside them, and then the index
///
/// For a database that is lost, damaged, older than the documents, or another library's. Documents are as closed as they
/// were; what has no manifest only the operator can read, under a URI that begins with `recovered://`. A database file
/// that does not fit is moved aside, never deleted; in shared stores, data.database_url names an empty database. Keys,
/// sources, feedback and evaluation runs are not in the blobs. May be repeated; a database that fits is left as it is.
#[derive(Debug, Args)]
pub struct RecoverCommand {
    /// Leave the index to `ragstone index rebuild`: until then nothing is found
    #[arg(long)]
    no_index: bool,
}

impl RecoverCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let (settings, output) = (&context.settings, context.output);
        let recovery = run_until_shutdown(wiring::recover_database(settings)).await?;
        show_recovery(&recovery, output);
        let mut report = json!({ "recovered": recovery.recovered, "aside": recovery.aside });
        let mut failed = 0;
        if recovery.lacks_points && !self.no_index {
            let door = run_until_shutdown(ApiClient::connect(settings, fetch_before_work())).await?;
            // Over shared stores the workers rebuild the index, whenever they start.
            let waits = settings.shared_stores().is_none();
            let done = run_until_shutdown(rebuild_index(&door, waits)).await;
            let rebuilt = door.close_after_work(done).await?;
            if !output.json {
                print_message(&rebuilt.to_string());
            }
            failed = rebuilt.failed;
            report["index"] = json!(rebuilt);
        }
        if output.json {
            output.write_json_line(&report)?;
        }
        match failed {
            0 => Ok(()),
            _ => Err(PartialFailureError.into()),
        }
    }
}

fn show_recovery(recovery: &RecoveryOutcome, output: CommandOutput) {
    for file in &recovery.aside {
        print_message(&format!("the database that was there is at {}", file.display()));
    }
    let Some(recovered) = &recovery.recovered else {
        print_message("the database fits the blobs: nothing is made again");
        return;
    };
    let recovered = json!(recovered);
    let count = |key: &str| recovered[key].as_u64().unwrap_or_default();
    if !output.json {
        print_message(&format!(
            "{} documents are back, {} of them readable by the operator alone; {} without a manifest are taken in for \
             the operator alone, {} were there, {} stay deleted, {} manifests are damaged",
            count("documents"),
            count("closed"),
            count("without_manifest"),
            count("present"),
            count("deleted"),
            count("damaged"),
        ));
    }
    print_message("keys, sources and feedback are not in the blobs: make keys again before others may call");
}
