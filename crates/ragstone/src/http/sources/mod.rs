//! `/api/v1/sources`: places that documents come from.
//!
//! Invariant: a caller sees and changes sources of its own tenant only, and of those only the ones to whose readers it
//! may grant itself; any other one is as if it were not there. No credential is kept or shown.

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

/// A source.
#[derive(Serialize, ToSchema)]
#[schema(as = Source)]
pub(super) struct SourceBody {
    id: Uuid,
    /// What people call it; its documents name it as their `source`.
    name: String,
    /// `folder`, `confluence`, `s3` or `web`.
    kind: String,
    /// What the kind wants to know.
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
    /// The collection of its documents.
    collection: String,
    /// Who may read its documents; a Confluence narrows them, page by page.
    readers: Vec<String>,
    /// When it is synced by itself, in cron's form, UTC.
    schedule: Option<String>,
    /// Whether it rests.
    paused: bool,
    /// Whether it is being synced.
    running: bool,
    /// Who made it.
    created_by: String,
    /// RFC 3339.
    created_at: String,
    /// How the last sync went, or goes.
    last_sync: Option<SyncBody>,
}

/// How a sync went.
#[derive(Serialize, ToSchema)]
#[schema(as = Sync)]
pub(super) struct SyncBody {
    /// RFC 3339.
    started_at: String,
    /// RFC 3339; null while it runs, or if its process died.
    ended_at: Option<String>,
    /// `running` (or its process died), `succeeded`, `held` (deletions were held back) or `failed` (it was not carried out).
    /// Single items may have failed in each of them.
    state: &'static str,
    /// The batch whose children are the jobs of its documents; null if it began none.
    job: Option<Uuid>,
    /// Seen for the first time.
    new: u64,
    /// With other bytes, in another place, or for other readers.
    changed: u64,
    /// As they were.
    unchanged: u64,
    /// Gone from the source, and so from the library.
    deleted: u64,
    /// Documents that the source no longer lists and that were kept, for they are unusually many or the source could not be
    /// listed. `POST …/sync` with `allow_deletions` lets them go; a sync that finds them again resolves it.
    held: u64,
    /// How many could not be taken in: items of the source that failed, what could not be listed, and documents whose jobs
    /// failed. They stay until a sync, or their job, succeeds.
    failed: u64,
    /// What could not be taken in, the first hundred.
    failures: Vec<FailureBody>,
    /// Why it did not do all of its work; nothing was deleted then.
    #[schema(value_type = Option<Object>)]
    error: Option<JobError>,
}

/// What could not be taken in.
#[derive(Serialize, ToSchema)]
#[schema(as = SyncFailure)]
pub(super) struct FailureBody {
    uri: String,
    #[schema(value_type = Object)]
    error: JobError,
}

impl SourceBody {
    /// A source, with the failures of its last sync and those of the jobs of its documents.
    async fn from_record(record: SourceRecord, app: &RouterState) -> Result<Self, ApiProblem> {
        let running = app.syncer.is_running(record.id);
        // What was read before a sync ended does not say how it ended.
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
                // One thing that failed twice counts once.
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

/// Whether a caller may see and change a source of its tenant.
fn is_manager(principal: &Principal, source: &SourceRecord) -> bool {
    source.tenant == *principal.tenant() && source.readers.iter().all(|reader| principal.may_grant(reader))
}

/// The source of this id, if the caller manages it.
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
