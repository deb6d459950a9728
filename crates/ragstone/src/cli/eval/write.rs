//! `eval report`: writes a saved run as an HTML page, as JUnit XML, or as numbers.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::kept::SavedRun;
use super::page::{BaselineComparison, EvalPage, render_junit};
use super::report::EvalReport;
use crate::cli::CommandContext;
use crate::cli::client::ApiClient;
use crate::wiring::ModelFetch;

/// Writes a kept run as a page, as JUnit XML, or as numbers
#[derive(Debug, Args)]
pub struct EvalReportCommand {
    /// The run's name
    run: String,
    /// Compare with this run
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Write one HTML file that needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write JUnit XML: a case a metric, failed where it became worse
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl EvalReportCommand {
    pub async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let door = ApiClient::connect(&context.settings, ModelFetch::Never).await?;
        let read = self.fetch_runs(&door).await;
        door.close().await;
        let (run, baseline) = read?;
        let mut report = EvalReport::from_outcomes(&run.name, &run.outcomes);
        if let Some(baseline) = &baseline {
            let changed = baseline.check_comparable(&run.fingerprint)?;
            baseline.add_comparison(&mut report, &run.outcomes, changed);
        }
        if let Some(path) = &self.html {
            let compared = baseline.as_ref().zip(report.compared.as_ref());
            let page = EvalPage {
                run: &run.name,
                metrics: &report.metrics,
                outcomes: &run.outcomes,
                since: compared.map(|(baseline, metrics)| BaselineComparison {
                    baseline: &baseline.name,
                    metrics,
                    changed: report.changed.as_deref().unwrap_or_default(),
                    outcomes: &baseline.outcomes,
                }),
            };
            write_report(path, &page.render_html())?;
        }
        if let Some(path) = &self.junit {
            write_report(
                path,
                &render_junit(&run.name, &report.metrics, report.compared.as_ref()),
            )?;
        }
        report.show_report(context.output)
    }

    async fn fetch_runs(&self, door: &ApiClient) -> anyhow::Result<(SavedRun, Option<SavedRun>)> {
        let run = SavedRun::fetch_run(door, &self.run).await?;
        Ok(match &self.baseline {
            Some(name) => (run, Some(SavedRun::fetch_run(door, name).await?)),
            None => (run, None),
        })
    }
}

fn write_report(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
