//! `/api/v1/sources`: sources, from which documents are synced.
//!
//! Invariant: a caller sees and changes sources of its own tenant only, and of those only the ones whose readers it may
//! grant itself; any other source gives 404. Credentials are neither stored nor shown, only references to them.

pub mod create;
pub mod get;
pub mod list;
pub mod patch;
pub mod remove;
pub mod sync;
#[cfg(test)]
mod tests;

use ragstone_core::access::Principal;
use ragstone_core::document::{JobError, format_timestamp};
use ragstone_core::id::SourceId;
use ragstone_core::seam::catalogue::FailedDocuments;
use ragstone_core::seam::source::{ItemFailure, MAX_FAILURES, SourceRecord, SyncReport};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::RouterState;
use super::extract::parse_id;
use super::problem::{ApiProblem, Code};
use crate::schedule::CronSchedule;

/// A source: a place from which documents are synced.
#[derive(Serialize, ToSchema)]
#[schema(as = Source)]
pub(super) struct SourceBody {
    /// Id of the source.
    id: Uuid,
    /// Name of the source, unique in the tenant; its documents show it as their `source`.
    name: String,
    /// `folder`, `confluence`, `s3` or `web`.
    kind: String,
    /// Settings of the kind, as in `POST /api/v1/sources`.
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// Collection into which its documents are put.
    collection: String,
    /// Readers of its documents; for a Confluence, each page may narrow them further.
    readers: Vec<String>,
    /// When it is synced automatically: a cron expression, in UTC; null for never.
    schedule: Option<String>,
    /// Whether scheduled syncs are paused.
    paused: bool,
    /// Whether a sync is running.
    running: bool,
    /// Subject of the caller that created it.
    created_by: String,
    /// When it was created, RFC 3339.
    created_at: String,
    /// Result of the last sync, or progress of the running one; null before the first.
    last_sync: Option<SyncBody>,
}

/// Result or progress of one sync.
#[derive(Serialize, ToSchema)]
#[schema(as = Sync)]
pub(super) struct SyncBody {
    /// When it started, RFC 3339.
    started_at: String,
    /// When it ended, RFC 3339; null while it runs, or if its process crashed.
    ended_at: Option<String>,
    /// `running` (or its process crashed), `succeeded`, `held` (deletions are held back) or `failed` (it could not be
    /// completed). Single items may have failed in each of these states.
    state: &'static str,
    /// The batch that contains the jobs of its documents; null if it queued none.
    job: Option<Uuid>,
    /// Number of new items.
    new: u64,
    /// Number of items whose content, location or readers changed.
    changed: u64,
    /// Number of items that did not change.
    unchanged: u64,
    /// Number of documents deleted because the source no longer has them.
    deleted: u64,
    /// Number of documents that the source no longer lists but that were kept, because they are unusually many or the
    /// source could not be listed completely. `POST /api/v1/sources/{id}/sync` with `allow_deletions` deletes them;
    /// they are no longer held once a sync finds them again.
    held: u64,
    /// Number of failures: items of the source, parts of it that could not be listed, and documents whose jobs failed.
    /// They are counted until a later sync, or their job, succeeds.
    failed: u64,
    /// The first hundred failures.
    failures: Vec<FailureBody>,
    /// Why the sync could not be completed; null if it was. With an error, nothing was deleted.
    #[schema(value_type = Option<Object>)]
    error: Option<JobError>,
}

/// An item that could not be ingested.
#[derive(Serialize, ToSchema)]
#[schema(as = SyncFailure)]
pub(super) struct FailureBody {
    /// URI of the item.
    uri: String,
    /// Why it failed, with a hint.
    #[schema(value_type = Object)]
    error: JobError,
}

impl SourceBody {
    /// Builds the response of a source, with the failures of its last sync and of its documents' jobs.
    async fn from_record(record: SourceRecord, app: &RouterState) -> Result<Self, ApiProblem> {
        let running = app.syncer.is_running(record.id);
        // `record` may have been read before the sync ended, so it is read again for the final report.
        let record = match running {
            true => record,
            false => {
                let sources = &app.syncer.sources;
                let now = sources.get_source(&record.tenant, record.id).await?;
                now.unwrap_or(record)
            }
        };
        let last_sync = match record.last_sync {
            Some(report) => {
                let failed = app
                    .catalogue
                    .list_failed_documents(&record.tenant, &record.name, MAX_FAILURES);
                Some(SyncBody::from_report(report, failed.await?))
            }
            None => None,
        };
        Ok(Self {
            running,
            id: record.id.0,
            name: record.name.into(),
            kind: record.kind,
            settings: record.settings,
            collection: record.collection.into(),
            readers: record.readers.iter().map(ToString::to_string).collect(),
            schedule: record.schedule,
            paused: record.paused,
            created_by: record.created_by,
            created_at: format_timestamp(record.created_at),
            last_sync,
        })
    }
}

impl SyncBody {
    fn from_report(report: SyncReport, failed: FailedDocuments) -> Self {
        let state = report.state().as_str();
        let mut failures = report.failures;
        let mut failed_count = report.counts.failed + failed.count;
        for (uri, error) in failed.first {
            match failures.iter().any(|failure| failure.uri == uri) {
                // An item with a sync failure and a failed job counts once.
                true => failed_count -= 1,
                false => failures.push(ItemFailure::with_bounded_texts(&uri, error)),
            }
        }
        failures.truncate(MAX_FAILURES);
        let failures = failures.into_iter().map(|failure| FailureBody {
            uri: failure.uri,
            error: failure.error,
        });
        Self {
            started_at: format_timestamp(report.started_at),
            ended_at: report.ended_at.map(format_timestamp),
            state,
            job: report.job.map(|job| job.0),
            new: report.counts.new,
            changed: report.counts.changed,
            unchanged: report.counts.unchanged,
            deleted: report.counts.deleted,
            held: report.held,
            failed: failed_count,
            failures: failures.collect(),
            error: report.error,
        }
    }
}

/// Whether a caller may see and change a source: it may grant all readers of the source.
fn is_manager(principal: &Principal, source: &SourceRecord) -> bool {
    source.tenant == *principal.tenant() && source.readers.iter().all(|reader| principal.may_grant(reader))
}

/// The source with this id; 404 unless the caller manages it.
async fn find_managed(app: &RouterState, principal: &Principal, text: &str) -> Result<SourceRecord, ApiProblem> {
    let id: SourceId = parse_id("source", text)?;
    let found = app.syncer.sources.get_source(principal.tenant(), id).await?;
    let found = found.filter(|source| is_manager(principal, source));
    found.ok_or_else(|| ApiProblem::not_found("source"))
}

fn check_schedule(schedule: Option<String>) -> Result<Option<String>, ApiProblem> {
    match schedule.as_deref().map(str::parse::<CronSchedule>) {
        Some(Err(error)) => Err(ApiProblem::new(Code::BadField, error.to_string()).with_pointer("/schedule")),
        _ => Ok(schedule),
    }
}
