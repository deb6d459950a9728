//! The catalogue in PostgreSQL, shared by any number of processes.
//!
//! Invariant: each call is one transaction at `read committed` that locks the rows it decides by, except children of
//! batches, which go one by one; an acknowledged call survives power loss, except progress, which is not synced.
//!
//! *Clocks.* Due times and lease expiry follow the server's clock, which all processes share; [`ClockReading::steady`]
//! is ignored. If that clock is set back (after a failover, say), waits are cut to their length when the next process
//! starts, and leases of dead workers last longer by the difference.
//!
//! *Processes that end.* [`requeue_interrupted_jobs`](Catalogue::requeue_interrupted_jobs) requeues only jobs claimed
//! under this process's `holder` ([`PostgresOptions::new`]), because other processes continue to run. Only one living
//! process may have a given `holder`, such as an id in its locked data directory. Jobs of a process that never
//! restarts are requeued when their leases expire. If two living processes share a `holder`, one may lose a running
//! job: its lease is stale, it writes nothing more, and the work is done twice but published once.
//!
//! *Waiting.* Claims skip locked rows; those of one process run one after another. Job counts, children of batches and
//! term statistics are stored as changes, summed when read and folded at times, so workers do not contend for a row.

mod attachments;
mod audit;
mod begin;
mod database;
mod documents;
mod doorbell;
mod ended;
mod error;
mod evaluations;
mod feedback;
mod idempotency;
mod job_row;
mod jobs;
mod keys;
mod lease;
mod manifest;
mod migrations;
mod options;
mod portable;
mod queue;
mod reach;
mod row;
mod sources;
mod statistics;
#[cfg(test)]
mod tests;
mod tls;
mod usage;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::access::Scope;
use ragstone_core::document::{Document, DocumentStatus, Job, JobCounts, JobError, WorkerId};
use ragstone_core::id::{DocumentId, JobId, SourceName, TenantId};
use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::{
    BeginOutcome, Catalogue, CatalogueResult, ClaimedJob, ClockReading, DocumentAccess, DocumentFilter, DocumentLabel,
    DocumentPatch, FailedDocuments, JobFilter, JobLease, JobProgress, ListPage, NewVersion, OriginalLocation,
    PageRequest, PublishOutcome, PublishedVersion, RequeueOutcome, RetryDelay,
};
use time::OffsetDateTime;
use uuid::Uuid;

use database::{PostgresDatabase, TransactionMode, transact};
use error::PostgresTransactionError;
use row::{RowLock, get_number, get_value};
use statistics::PostgresTermStatistics;

pub use doorbell::start_notifier;
pub use error::PostgresError;
pub use options::{CONNECT_TIMEOUT, POOL_SIZE, PostgresOptions, STATEMENT_TIMEOUT};
pub use reach::{has_keys, server_version};

/// Changes of jobs by this process after which all processes' changes are folded into the totals.
const FOLD_JOBS_AFTER: usize = 512;

/// Server time in nanoseconds since 1970.
const CLOCK: &str = "select (extract(epoch from clock_timestamp()) * 1000000000)::bigint as now";

/// Catalogue of documents and jobs in a PostgreSQL database.
pub struct PostgresCatalogue {
    database: PostgresDatabase,
    statistics: PostgresTermStatistics,
    holder: Uuid,
    /// Held during a claim: while a process runs a suspect, it must claim nothing else.
    claiming: tokio::sync::Mutex<()>,
    /// Number of job changes since the last fold.
    unfolded: AtomicUsize,
    clock: LeaseClock,
}

/// Clock that decides about leases and due times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaseClock {
    /// Clock of the server.
    Server,
    /// Clock of the caller, so that a test need not wait.
    #[cfg(test)]
    Caller,
}

impl PostgresCatalogue {
    /// Opens the catalogue of a database, and migrates it to the newest schema.
    pub async fn open(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let database = PostgresDatabase::new(options)?;
        match migrations::run_migrations(&database).await {
            Ok(()) => Ok(Self {
                database,
                statistics: PostgresTermStatistics::default(),
                holder: options.holder,
                claiming: tokio::sync::Mutex::default(),
                unfolded: AtomicUsize::default(),
                clock: LeaseClock::Server,
            }),
            Err(PostgresTransactionError::Database(error)) => Err(error),
            Err(PostgresTransactionError::Rule(rule)) => Err(PostgresError::Damaged(rule.to_string())),
        }
    }

    /// Replaces the steady time by that of the deciding clock.
    async fn current_moment(&self, now: ClockReading) -> Result<ClockReading, PostgresTransactionError> {
        match self.clock {
            LeaseClock::Server => {
                let row = self.database.open_session().await?.query_one(CLOCK, &[]).await?;
                let steady = Duration::from_nanos(get_number(&row, "now")?);
                Ok(ClockReading { steady, ..now })
            }
            #[cfg(test)]
            LeaseClock::Caller => Ok(now),
        }
    }

    /// Counts job changes, and folds them into the totals from time to time.
    async fn note_job_changes(&self, changes: usize) {
        if self.unfolded.fetch_add(changes, Ordering::Relaxed) + changes < FOLD_JOBS_AFTER {
            return;
        }
        self.unfolded.store(0, Ordering::Relaxed);
        // After an error the changes remain for the next attempt.
        if let Err(error) = self.fold_changes().await {
            tracing::warn!(?error, "counts of jobs were not folded");
        }
    }

    async fn fold_changes(&self) -> Result<(), PostgresTransactionError> {
        transact!(self.database, TransactionMode::Synced, |t| jobs::fold_job_counts(&t))
    }
}

#[async_trait]
impl Catalogue for PostgresCatalogue {
    async fn begin_version(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome> {
        let begun = transact!(self.database, TransactionMode::Synced, |t| begin::begin_version(
            &t, scope, &version, job, now
        ))?;
        self.note_job_changes(1).await;
        Ok(begun)
    }

    async fn queue_reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            begin::queue_reingest(&t, scope, document, pipeline, job, now)
        })?)
    }

    async fn patch_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        patch: DocumentPatch,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Document>> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            begin::patch_document(&t, scope, document, patch.clone(), now)
        })?)
    }

    async fn tombstone_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let purge = transact!(self.database, TransactionMode::Synced, |t| {
            begin::tombstone_document(&t, scope, document, job, now)
        })?;
        self.statistics.note_changes(&self.database, 1).await;
        Ok(purge)
    }

    async fn claim_job(
        &self,
        worker: WorkerId,
        lease: Duration,
        now: ClockReading,
    ) -> CatalogueResult<Option<ClaimedJob>> {
        let now = self.current_moment(now).await?;
        let claiming = self.claiming.lock().await;
        let claim = queue::claim_job(&self.database, self.holder, worker, lease, now).await?;
        drop(claiming);
        self.note_job_changes(2 * usize::from(claim.is_some())).await;
        Ok(claim)
    }

    /// Most heartbeats find that the lease is valid long enough, and write nothing.
    async fn extend_lease(&self, lease: &JobLease, extend: Duration, now: ClockReading) -> CatalogueResult<Duration> {
        let now = self.current_moment(now).await?;
        let course = lease::check_lease(&self.database.open_session().await?, lease)
            .await?
            .attempt_state;
        if course.lease_until.unwrap_or_default() >= now.steady + extend / 2 {
            return Ok(now.steady.saturating_sub(course.noted_at));
        }
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            lease::extend_lease(&t, self.holder, lease, extend, now)
        })?)
    }

    async fn requeue_interrupted_jobs(&self, now: ClockReading) -> CatalogueResult<u64> {
        let now = self.current_moment(now).await?;
        Ok(queue::requeue_interrupted_jobs(&self.database, self.holder, now).await?)
    }

    async fn release_job(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            lease::release_job(&t, lease, now)
        })?)
    }

    async fn mark_original_stored(&self, lease: &JobLease) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            lease::mark_original_stored(&t, lease)
        })?)
    }

    async fn locate_original(&self, document: DocumentId) -> CatalogueResult<Option<OriginalLocation>> {
        let session = self.database.open_session().await?;
        let stored = row::load_document(&session, document, RowLock::Unlocked).await?;
        let living = stored.filter(|stored| stored.document.status != DocumentStatus::Deleting);
        Ok(living.map(|stored| stored.original_location()))
    }

    async fn record_progress(&self, lease: &JobLease, progress: JobProgress, now: ClockReading) -> CatalogueResult<()> {
        let now = self.current_moment(now).await?;
        Ok(transact!(self.database, TransactionMode::Ordered, |t| {
            lease::record_progress(&t, self.holder, lease, progress, now)
        })?)
    }

    async fn publish_version(
        &self,
        lease: &JobLease,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> CatalogueResult<PublishOutcome> {
        let flipped = transact!(self.database, TransactionMode::Synced, |t| lease::publish_version(
            &t,
            lease,
            version.clone(),
            now
        ))?;
        self.statistics
            .note_changes(&self.database, 1 + usize::from(flipped.replaced.is_some()))
            .await;
        self.note_job_changes(2).await;
        Ok(flipped)
    }

    async fn fail_job(&self, lease: &JobLease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            lease::fail_job(&t, lease, error.clone(), now)
        })?)
    }

    async fn schedule_retry(
        &self,
        lease: &JobLease,
        error: JobError,
        wait: RetryDelay,
        now: ClockReading,
    ) -> CatalogueResult<()> {
        let now = self.current_moment(now).await?;
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            lease::schedule_retry(&t, lease, error.clone(), wait, now)
        })?)
    }

    async fn finish_purge(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            lease::finish_purge(&t, lease, now)
        })?)
    }

    async fn requeue_job(
        &self,
        scope: &Scope,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<RequeueOutcome>> {
        Ok(jobs::requeue_job(&self.database, scope, job, now).await?)
    }

    async fn cancel_job(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Job>> {
        Ok(jobs::cancel_job(&self.database, scope, job, now).await?)
    }

    async fn get_document(&self, scope: &Scope, document: DocumentId) -> CatalogueResult<Option<Document>> {
        Ok(documents::get_document(&self.database.open_session().await?, scope, document).await?)
    }

    async fn list_documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<Document>> {
        Ok(documents::list_documents(&self.database.open_session().await?, scope, filter, page).await?)
    }

    async fn list_failed_documents(
        &self,
        tenant: &TenantId,
        source: &SourceName,
        limit: usize,
    ) -> CatalogueResult<FailedDocuments> {
        Ok(documents::list_failed_documents(&self.database.open_session().await?, tenant, source, limit).await?)
    }

    async fn list_tenants(&self) -> CatalogueResult<Vec<TenantId>> {
        Ok(documents::list_tenants(&self.database.open_session().await?).await?)
    }

    async fn documents_unchecked(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>> {
        Ok(documents::documents_unchecked(&self.database.open_session().await?, documents).await?)
    }

    async fn get_document_access(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentAccess>> {
        Ok(documents::get_document_access(&self.database.open_session().await?, documents).await?)
    }

    async fn get_document_labels(
        &self,
        scope: &Scope,
        documents: &[DocumentId],
    ) -> CatalogueResult<Vec<DocumentLabel>> {
        Ok(documents::get_document_labels(&self.database.open_session().await?, scope, documents).await?)
    }

    async fn get_job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>> {
        Ok(jobs::get_job(&self.database.open_session().await?, scope, job).await?)
    }

    async fn list_jobs(&self, scope: &Scope, filter: &JobFilter, page: &PageRequest) -> CatalogueResult<ListPage<Job>> {
        Ok(jobs::list_jobs(&self.database.open_session().await?, scope, filter, page).await?)
    }

    async fn remove_ended_jobs(&self, before: OffsetDateTime, most: usize) -> CatalogueResult<u64> {
        let gone = transact!(self.database, TransactionMode::Synced, |t| {
            ended::remove_ended_jobs(&t, before, most)
        })?;
        self.note_job_changes(usize::try_from(gone).unwrap_or(usize::MAX)).await;
        Ok(gone)
    }

    async fn count_jobs(&self, tenant: &TenantId) -> CatalogueResult<JobCounts> {
        Ok(jobs::count_jobs(&self.database.open_session().await?, tenant).await?)
    }

    async fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> CatalogueResult<TermStatistics> {
        Ok(self.statistics.term_statistics(&self.database, tenant, terms).await?)
    }

    async fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> CatalogueResult<Vec<u64>> {
        Ok(self
            .statistics
            .piece_frequencies(&self.database, tenant, pieces)
            .await?)
    }

    async fn get_setting(&self, key: &str) -> CatalogueResult<Option<String>> {
        let session = self.database.open_session().await?;
        let found = session
            .query_first("select value from settings where key = $1", &[&key])
            .await?;
        Ok(found.map(|row| get_value(&row, "value")).transpose()?)
    }

    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()> {
        let session = self.database.open_session().await?;
        session
            .execute_statement(
                "insert into settings (key, value) values ($1, $2)
                 on conflict (key) do update set value = excluded.value",
                &[&key, &value],
            )
            .await?;
        Ok(())
    }
}
