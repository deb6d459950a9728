//! `eval report`: a kept run as a page, as JUnit XML, or as numbers.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::kept::Kept;
use super::page::{Page, Since, junit};
use super::report::Report;
use crate::cli::Context;
use crate::cli::client::Door;
use crate::wiring::ModelFetch;

/// Writes a kept run as a page, as JUnit XML, or as numbers
#[derive(Debug, Args)]
pub struct Write {
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

impl Write {
    pub async fn run(self, context: Context) -> anyhow::Result<()> {
        let door = Door::open(&context.settings, ModelFetch::Never).await?;
        let read = self.read(&door).await;
        door.close().await;
        let (run, baseline) = read?;
        let mut report = Report::of(&run.name, &run.outcomes);
        if let Some(baseline) = &baseline {
            let changed = baseline.changes(&run.fingerprint)?;
            baseline.hold_against(&mut report, &run.outcomes, changed);
        }
        if let Some(path) = &self.html {
            let compared = baseline.as_ref().zip(report.compared.as_ref());
            let page = Page {
                run: &run.name,
                metrics: &report.metrics,
                outcomes: &run.outcomes,
                since: compared.map(|(baseline, metrics)| Since {
                    baseline: &baseline.name,
                    metrics,
                    changed: report.changed.as_deref().unwrap_or_default(),
                    outcomes: &baseline.outcomes,
                }),
            };
            write(path, &page.html())?;
        }
        if let Some(path) = &self.junit {
            write(path, &junit(&run.name, &report.metrics, report.compared.as_ref()))?;
        }
        report.show(context.output)
    }

    async fn read(&self, door: &Door) -> anyhow::Result<(Kept, Option<Kept>)> {
        let run = Kept::read(door, &self.run).await?;
        Ok(match &self.baseline {
            Some(name) => (run, Some(Kept::read(door, name).await?)),
            None => (run, None),
        })
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
