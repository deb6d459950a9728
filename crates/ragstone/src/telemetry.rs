//! Logs, to stderr, and the audit log. Metrics are `http`'s.
//!
//! Invariant: nothing of type `Secret` can be logged, because its `Debug` and `Display` do not show it.

pub mod audit;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::sections::{LogFormat, TelemetrySection};

/// What a command that is no server logs, where nobody asked for more. What failed, the command says itself.
const QUIET: &str = "warn,ragstone::failure=off";

/// Starts logging; `wanted` says whether the setting counts, or only what goes wrong is logged.
pub fn start_logging(settings: &TelemetrySection, wanted: bool) -> anyhow::Result<()> {
    let chosen = wanted || settings.log != "info";
    let filter = EnvFilter::try_new(if chosen { settings.log.as_str() } else { QUIET })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
