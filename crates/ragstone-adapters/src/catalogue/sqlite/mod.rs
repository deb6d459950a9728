//! The catalogue in a SQLite database.
//!
//! Invariant: each call is one transaction; an acknowledged call survives power loss, except progress, which is not
//! synced.

mod attachments;
mod audit;
mod begin;
mod documents;
mod ended;
mod evaluations;
mod feedback;
mod idempotency;
mod job_row;
mod jobs;
mod keys;
mod lease;
mod manifest;
mod portable;
mod queue;
mod row;
mod sources;
mod statistics;
#[cfg(test)]
mod tests;
mod usage;

pub use keys::file_has_keys;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ragstone_core::access::Scope;
use ragstone_core::document::{Document, DocumentStatus, Job, JobCounts, JobError, WorkerId};
use ragstone_core::id::{DocumentId, JobId, SourceName, TenantId};
use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::{
    BeginOutcome, Catalogue, CatalogueError, CatalogueResult, ClaimedJob, ClockReading, DocumentAccess, DocumentFilter,
    DocumentLabel, DocumentPatch, FailedDocuments, JobFilter, JobLease, JobProgress, ListPage, NewVersion,
    OriginalLocation, PageRequest, PublishOutcome, PublishedVersion, RequeueOutcome, RetryDelay,
};
use ragstone_core::seam::source::SyncLeases;
use rusqlite::{Connection, OptionalExtension, Transaction};
use time::OffsetDateTime;

use crate::catalogue::value::DamagedValue;
use crate::sqlite::{Durability, SqliteDatabase, SqliteError};
use statistics::{SqliteTermStatistics, StatisticsChange};

/// Catalogue of documents and jobs in a SQLite database.
pub struct SqliteCatalogue {
    database: SqliteDatabase,
    statistics: Arc<SqliteTermStatistics>,
    /// Sync leases, held in memory because one process alone uses the database.
    turns: SyncLeases,
}

impl SqliteCatalogue {
    /// Opens the catalogue of `database`; loads the term statistics into memory. Blocks.
    pub fn open(database: SqliteDatabase) -> Result<Self, CatalogueError> {
        let statistics = Arc::new(SqliteTermStatistics::load_sums(&database)?);
        Ok(Self {
            database,
            statistics,
            turns: SyncLeases::default(),
        })
    }

    async fn run_write<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, SqliteTransactionError> + Send + 'static,
    ) -> CatalogueResult<T> {
        Ok(self.database.write(durability, work).await?)
    }

    /// Runs a write that also changes the statistics; the memory is updated after the commit.
    async fn run_statistics_write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut Vec<StatisticsChange>) -> Result<T, SqliteTransactionError>
        + Send
        + 'static,
    ) -> CatalogueResult<T> {
        let work = move |t: &Transaction<'_>| {
            let mut changes = Vec::new();
            work(t, &mut changes).map(|value| (value, changes))
        };
        let statistics = self.statistics.clone();
        let follow = move |(_, changes): &mut (T, Vec<StatisticsChange>)| statistics.apply_changes(changes);
        let (value, _) = self.database.write_then(Durability::Synced, work, follow).await?;
        self.statistics.fold_if_due(&self.database).await;
        Ok(value)
    }

    async fn run_read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, SqliteTransactionError> + Send + 'static,
    ) -> CatalogueResult<T> {
        Ok(self.database.read(work).await?)
    }
}

/// Error of a transaction: from the database, or from a rule of the catalogue.
#[derive(Debug)]
pub(super) enum SqliteTransactionError {
    Database(SqliteError),
    Rule(CatalogueError),
}

impl From<SqliteError> for SqliteTransactionError {
    fn from(error: SqliteError) -> Self {
        Self::Database(error)
    }
}

impl From<rusqlite::Error> for SqliteTransactionError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<DamagedValue> for SqliteTransactionError {
    fn from(damaged: DamagedValue) -> Self {
        Self::Database(SqliteError::Damaged(damaged.0))
    }
}

impl From<CatalogueError> for SqliteTransactionError {
    fn from(error: CatalogueError) -> Self {
        Self::Rule(error)
    }
}

impl From<SqliteTransactionError> for CatalogueError {
    fn from(failure: SqliteTransactionError) -> Self {
        match failure {
            SqliteTransactionError::Database(error) => error.into(),
            SqliteTransactionError::Rule(error) => error,
        }
    }
}

impl From<SqliteError> for CatalogueError {
    fn from(error: SqliteError) -> Self {
        let detail = error.to_string();
        match error {
            error if error.is_damaged() => Self::Damaged { detail },
            error if error.is_full() => Self::Full { detail },
            _ => Self::Unavailable { detail },
        }
    }
}

#[async_trait]
impl Catalogue for SqliteCatalogue {
    async fn begin_version(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome> {
        let scope = scope.clone();
        self.run_write(Durability::Synced, move |t| {
            begin::begin_version(t, &scope, version, job, now)
        })
        .await
    }

    async fn queue_reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let (scope, pipeline) = (scope.clone(), pipeline.to_owned());
        let work = move |t: &Transaction<'_>| begin::queue_reingest(t, &scope, document, &pipeline, job, now);
        self.run_write(Durability::Synced, work).await
    }

    async fn patch_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        patch: DocumentPatch,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Document>> {
        let scope = scope.clone();
        self.run_write(Durability::Synced, move |t| {
            begin::patch_document(t, &scope, document, patch, now)
        })
        .await
    }

    async fn tombstone_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let scope = scope.clone();
        self.run_statistics_write(move |t, changes| begin::tombstone_document(t, changes, &scope, document, job, now))
            .await
    }

    async fn claim_job(
        &self,
        worker: WorkerId,
        lease: Duration,
        now: ClockReading,
    ) -> CatalogueResult<Option<ClaimedJob>> {
        self.run_write(Durability::Synced, move |t| queue::claim_job(t, worker, lease, now))
            .await
    }

    /// Most heartbeats find that the lease is valid long enough, and do not wait for the writer.
    async fn extend_lease(&self, lease: &JobLease, extend: Duration, now: ClockReading) -> CatalogueResult<Duration> {
        let held = lease.clone();
        let course = self
            .run_read(move |c| Ok(lease::check_lease(c, &held)?.attempt_state))
            .await?;
        let until = course.lease_until.unwrap_or_default();
        if until >= now.steady + extend / 2 {
            return Ok(now.steady.saturating_sub(course.noted_at));
        }
        let lease = lease.clone();
        self.run_write(Durability::Ordered, move |t| {
            lease::extend_lease(t, &lease, extend, now)
        })
        .await
    }

    async fn requeue_interrupted_jobs(&self, now: ClockReading) -> CatalogueResult<u64> {
        self.run_write(Durability::Synced, move |t| queue::requeue_interrupted_jobs(t, now))
            .await
    }

    async fn release_job(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.run_write(Durability::Synced, move |t| lease::release_job(t, &lease, now))
            .await
    }

    async fn mark_original_stored(&self, lease: &JobLease) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.run_write(Durability::Synced, move |t| lease::mark_original_stored(t, &lease))
            .await
    }

    async fn locate_original(&self, document: DocumentId) -> CatalogueResult<Option<OriginalLocation>> {
        self.run_read(move |c| {
            let stored = row::StoredDocument::load_document(c, document)?;
            let living = stored.filter(|stored| stored.document.status != DocumentStatus::Deleting);
            Ok(living.map(|stored| stored.original_location()))
        })
        .await
    }

    async fn record_progress(&self, lease: &JobLease, progress: JobProgress, now: ClockReading) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.run_write(Durability::Ordered, move |t| {
            lease::record_progress(t, &lease, progress, now)
        })
        .await
    }

    async fn publish_version(
        &self,
        lease: &JobLease,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> CatalogueResult<PublishOutcome> {
        let lease = lease.clone();
        self.run_statistics_write(move |t, changes| lease::publish_version(t, changes, &lease, version, now))
            .await
    }

    async fn fail_job(&self, lease: &JobLease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.run_write(Durability::Synced, move |t| lease::fail_job(t, &lease, error, now))
            .await
    }

    async fn schedule_retry(
        &self,
        lease: &JobLease,
        error: JobError,
        wait: RetryDelay,
        now: ClockReading,
    ) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.run_write(Durability::Synced, move |t| {
            lease::schedule_retry(t, &lease, error, wait, now)
        })
        .await
    }

    async fn finish_purge(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.run_write(Durability::Synced, move |t| lease::finish_purge(t, &lease, now))
            .await
    }

    async fn requeue_job(
        &self,
        scope: &Scope,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<RequeueOutcome>> {
        let scope = scope.clone();
        self.run_write(Durability::Synced, move |t| jobs::requeue_job(t, &scope, job, now))
            .await
    }

    async fn cancel_job(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Job>> {
        let scope = scope.clone();
        self.run_write(Durability::Synced, move |t| jobs::cancel_job(t, &scope, job, now))
            .await
    }

    async fn get_document(&self, scope: &Scope, document: DocumentId) -> CatalogueResult<Option<Document>> {
        let scope = scope.clone();
        self.run_read(move |c| documents::get_document(c, &scope, document))
            .await
    }

    async fn list_documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<Document>> {
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.run_read(move |c| documents::list_documents(c, &scope, &filter, &page))
            .await
    }

    async fn list_failed_documents(
        &self,
        tenant: &TenantId,
        source: &SourceName,
        limit: usize,
    ) -> CatalogueResult<FailedDocuments> {
        let (tenant, source) = (tenant.clone(), source.clone());
        self.run_read(move |c| documents::list_failed_documents(c, &tenant, &source, limit))
            .await
    }

    async fn list_tenants(&self) -> CatalogueResult<Vec<TenantId>> {
        self.run_read(documents::list_tenants).await
    }

    async fn documents_unchecked(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>> {
        let documents = documents.to_vec();
        self.run_read(move |c| documents::documents_unchecked(c, &documents))
            .await
    }

    async fn get_document_access(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentAccess>> {
        Ok(self.database.get_document_access(documents).await?)
    }

    async fn get_document_labels(
        &self,
        scope: &Scope,
        documents: &[DocumentId],
    ) -> CatalogueResult<Vec<DocumentLabel>> {
        let (scope, documents) = (scope.clone(), documents.to_vec());
        self.run_read(move |c| documents::get_document_labels(c, &scope, &documents))
            .await
    }

    async fn get_job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>> {
        let scope = scope.clone();
        self.run_read(move |c| jobs::get_job(c, &scope, job)).await
    }

    async fn list_jobs(&self, scope: &Scope, filter: &JobFilter, page: &PageRequest) -> CatalogueResult<ListPage<Job>> {
        let (scope, filter, page) = (scope.clone(), *filter, page.clone());
        self.run_read(move |c| jobs::list_jobs(c, &scope, &filter, &page)).await
    }

    async fn remove_ended_jobs(&self, before: OffsetDateTime, most: usize) -> CatalogueResult<u64> {
        self.run_write(Durability::Ordered, move |t| ended::remove_ended_jobs(t, before, most))
            .await
    }

    async fn count_jobs(&self, tenant: &TenantId) -> CatalogueResult<JobCounts> {
        let tenant = tenant.clone();
        self.run_read(move |c| jobs::count_jobs(c, &tenant)).await
    }

    async fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> CatalogueResult<TermStatistics> {
        Ok(self.statistics.term_statistics(tenant, terms))
    }

    async fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> CatalogueResult<Vec<u64>> {
        Ok(self.statistics.piece_frequencies(tenant, pieces))
    }

    async fn get_setting(&self, key: &str) -> CatalogueResult<Option<String>> {
        let key = key.to_owned();
        self.run_read(move |c| {
            let mut statement = c.prepare_cached("select value from settings where key = ?1")?;
            Ok(statement.query_row([key], |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.run_write(Durability::Synced, move |t| {
            t.execute(
                "insert into settings (key, value) values (?1, ?2)
                 on conflict (key) do update set value = excluded.value",
                [key, value],
            )?;
            Ok(())
        })
        .await
    }
}
