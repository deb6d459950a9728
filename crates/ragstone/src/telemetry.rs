//! Logs to stderr, and the audit log. Metrics are in `http`.
//!
//! Invariant: a `SecretSetting` cannot be logged, because its `Debug` and `Display` do not show it.

pub mod audit;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::sections::{LogFormat, TelemetrySection};

/// Default log filter of commands that are no servers; they print failures themselves, so `ragstone::failure` is off.
const QUIET: &str = "warn,ragstone::failure=off";

/// Starts logging. With `wanted` the `log` setting applies; without it only warnings and errors are logged, unless
/// the setting was changed from `info`.
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
