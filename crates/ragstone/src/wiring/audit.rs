//! Opens the audit log if the settings name one.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::config::sections::AuditSection;
use crate::telemetry::audit::AuditLog;

/// Opens the log. An error stops the start, because requests could not be audited.
pub fn open_audit_log(settings: &AuditSection) -> anyhow::Result<Option<AuditLog>> {
    if settings.file.as_os_str().is_empty() {
        return Ok(None);
    }
    let opened = AuditLog::open(&settings.file, settings.query_text);
    let named = || format!("setting audit.file: cannot write {}", settings.file.display());
    opened.map(Some).with_context(named)
}

/// Reopens the log at each SIGHUP, after log rotation moved the old file away.
pub fn reopen_on_hangup(log: AuditLog) -> anyhow::Result<JoinHandle<()>> {
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            log.reopen().await;
        }
    }))
}
