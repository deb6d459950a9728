//! `fsck`: checks whether catalogue, index, blobs and embedding cache agree, and repairs them.

use std::time::Duration;

use axum::http::Method;
use clap::Args;
use serde_json::{Value, json};

use super::client::{ApiClient, run_until_shutdown};
use super::output::{CommandOutput, print_message};
use super::progress::{fetch_before_work, wait_for_job};
use super::{CommandContext, PartialFailureError};
use crate::wiring::ModelFetch;

/// Compare catalogue, index and blobs, both ways, and the embedding cache with the catalogue
///
/// Exit code 1 if anything is left that does not agree. What a live job will purge is told as pending.
#[derive(Debug, Args)]
pub struct FsckCommand {
    /// Remove what no row explains (blobs go to quarantine for data.quarantine_days), make again what is missing, count
    /// again what is counted wrong
    #[arg(long)]
    repair: bool,
    /// Take blobs that no row explains from this age on, such as 90s, 15m, 12h, 7d
    #[arg(long, value_name = "AGE", default_value = "1d", value_parser = parse_age, requires = "repair")]
    older_than: Duration,
    /// Take blobs that no row explains even if they are more than a twentieth of all
    #[arg(long, requires = "repair")]
    allow_many: bool,
}

fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a number with s, m, h or d");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

impl FsckCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let fetch = match self.repair {
            true => fetch_before_work(),
            false => ModelFetch::Never,
        };
        let door = run_until_shutdown(ApiClient::connect(&context.settings, fetch)).await?;
        let done = run_until_shutdown(self.run_with_client(&door, context.output)).await;
        door.close_after_work(done).await
    }

    async fn run_with_client(self, door: &ApiClient, output: CommandOutput) -> anyhow::Result<()> {
        let mut report = self.request_fsck(door, self.repair).await?;
        let jobs = repair_jobs(&report);
        for id in &jobs {
            wait_for_job(door, id, |_| {}).await?;
        }
        if !jobs.is_empty() {
            let repaired = report["repaired"].take();
            report = self.request_fsck(door, false).await?;
            report["repaired"] = repaired;
        }
        show_report(report, output)
    }

    async fn request_fsck(&self, door: &ApiClient, repair: bool) -> anyhow::Result<Value> {
        let request = json!({
            "repair": repair,
            "older_than_seconds": self.older_than.as_secs(),
            "allow_many": self.allow_many,
        });
        door.request_json(Method::POST, "/operator/v1/fsck", Some(&request))
            .await
    }
}

fn repair_jobs(report: &Value) -> Vec<String> {
    let jobs = report["jobs"].as_array().into_iter().flatten();
    jobs.filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

fn show_report(mut report: Value, output: CommandOutput) -> anyhow::Result<()> {
    if let Some(fields) = report.as_object_mut() {
        fields.remove("jobs");
    }
    let left: u64 = ["index", "blobs", "catalogue", "cache"]
        .iter()
        .filter_map(|store| report["orphans"][store].as_u64())
        .sum();
    match output.json {
        true => output.write_json_line(&report)?,
        false => show_findings(&report, left, output)?,
    }
    match left {
        0 => Ok(()),
        _ => Err(PartialFailureError.into()),
    }
}

fn show_findings(report: &Value, left: u64, output: CommandOutput) -> anyhow::Result<()> {
    let counts = |of: &str| {
        let of = &report[of];
        format!(
            "{} points, {} blobs, {} rows, {} in the embedding cache",
            of["index"],
            of["blobs"],
            of["catalogue"],
            of["cache"].as_u64().unwrap_or_default()
        )
    };
    for finding in report["findings"].as_array().into_iter().flatten() {
        let kind = finding["kind"].as_str().unwrap_or_default().replace('_', " ");
        let what = finding["what"].as_str().unwrap_or_default();
        let repaired = match finding["repaired"].as_bool() {
            Some(true) => "repaired",
            _ => "left",
        };
        output.write_line(&format!("{repaired:<8}  {kind}: {what}"))?;
    }
    output.write_line(&format!(
        "{} documents, {} chunks",
        report["documents"], report["chunks"]
    ))?;
    output.write_line(&format!("does not agree: {}", counts("orphans")))?;
    output.write_line(&format!("pending:        {}", counts("pending")))?;
    output.write_line(&format!("repaired:       {}", report["repaired"]))?;
    if left > 0 {
        print_message(
            "hint: `ragstone fsck --repair` removes what no row explains and is old enough, and makes again what is missing",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_with_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "d", "1", "1w", "-1d", "1.5h", "1ü", "99999999999999999d"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
    }
}
