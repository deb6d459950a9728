//! The catalogue in SQLite.
//!
//! Invariant: each call is one transaction; what a call acknowledged survives power loss, but for progress, which is
//! worth no disk write.

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
use ragstone_core::document::{Document, DocumentStatus, Job, JobCounts, JobError, Worker};
use ragstone_core::id::{DocumentId, JobId, SourceName, TenantId};
use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::{
    Begun, Catalogue, CatalogueError, CatalogueResult, Claim, DocumentAccess, DocumentFilter, DocumentLabel,
    DocumentPatch, FailedDocuments, Flipped, JobFilter, Lease, Moment, NewVersion, Original, Page, PageRequest,
    Progress, PublishedVersion, Redriven, Wait,
};
use ragstone_core::seam::source::Turns;
use rusqlite::{Connection, OptionalExtension, Transaction};
use time::OffsetDateTime;

use crate::catalogue::value::Damaged;
use crate::sqlite::{Database, DatabaseError, Durability};
use statistics::{Change, Statistics};

/// Documents and jobs in a SQLite database.
pub struct SqliteCatalogue {
    database: Database,
    statistics: Arc<Statistics>,
    /// Of this process, which alone has the database.
    turns: Turns,
}

impl SqliteCatalogue {
    /// The catalogue of `database`; reads the term statistics into memory. Blocks.
    pub fn open(database: Database) -> Result<Self, CatalogueError> {
        let statistics = Arc::new(Statistics::load(&database)?);
        Ok(Self {
            database,
            statistics,
            turns: Turns::default(),
        })
    }

    async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> CatalogueResult<T> {
        Ok(self.database.write(durability, work).await?)
    }

    /// A write that also moves the statistics, which follow in memory once it is committed.
    async fn write_counted<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut Vec<Change>) -> Result<T, Failure> + Send + 'static,
    ) -> CatalogueResult<T> {
        let work = move |t: &Transaction<'_>| {
            let mut changes = Vec::new();
            work(t, &mut changes).map(|value| (value, changes))
        };
        let statistics = self.statistics.clone();
        let follow = move |(_, changes): &mut (T, Vec<Change>)| statistics.follow(changes);
        let (value, _) = self.database.write_then(Durability::Synced, work, follow).await?;
        self.statistics.fold_if_due(&self.database).await;
        Ok(value)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> CatalogueResult<T> {
        Ok(self.database.read(work).await?)
    }
}

/// What stops a transaction: the database, or a rule of the catalogue.
#[derive(Debug)]
pub(super) enum Failure {
    Database(DatabaseError),
    Rule(CatalogueError),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Damaged> for Failure {
    fn from(damaged: Damaged) -> Self {
        Self::Database(DatabaseError::Damaged(damaged.0))
    }
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        Self::Rule(error)
    }
}

impl From<Failure> for CatalogueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Database(error) => error.into(),
            Failure::Rule(error) => error,
        }
    }
}

impl From<DatabaseError> for CatalogueError {
    fn from(error: DatabaseError) -> Self {
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
    async fn begin(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Begun> {
        let scope = scope.clone();
        self.write(Durability::Synced, move |t| begin::begin(t, &scope, version, job, now))
            .await
    }

    async fn reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let (scope, pipeline) = (scope.clone(), pipeline.to_owned());
        let work = move |t: &Transaction<'_>| begin::reingest(t, &scope, document, &pipeline, job, now);
        self.write(Durability::Synced, work).await
    }

    async fn patch(
        &self,
        scope: &Scope,
        document: DocumentId,
        patch: DocumentPatch,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Document>> {
        let scope = scope.clone();
        self.write(Durability::Synced, move |t| {
            begin::patch(t, &scope, document, patch, now)
        })
        .await
    }

    async fn tombstone(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let scope = scope.clone();
        self.write_counted(move |t, changes| begin::tombstone(t, changes, &scope, document, job, now))
            .await
    }

    async fn claim(&self, worker: Worker, lease: Duration, now: Moment) -> CatalogueResult<Option<Claim>> {
        self.write(Durability::Synced, move |t| queue::claim(t, worker, lease, now))
            .await
    }

    /// Most heartbeats find that the lease holds long enough, and do not wait for the writer.
    async fn heartbeat(&self, lease: &Lease, extend: Duration, now: Moment) -> CatalogueResult<Duration> {
        let held = lease.clone();
        let course = self.read(move |c| Ok(lease::holds(c, &held)?.course)).await?;
        let until = course.lease_until.unwrap_or_default();
        if until >= now.steady + extend / 2 {
            return Ok(now.steady.saturating_sub(course.noted_at));
        }
        let lease = lease.clone();
        self.write(Durability::Ordered, move |t| lease::heartbeat(t, &lease, extend, now))
            .await
    }

    async fn take_back(&self, now: Moment) -> CatalogueResult<u64> {
        self.write(Durability::Synced, move |t| queue::take_back(t, now)).await
    }

    async fn hand_back(&self, lease: &Lease, now: OffsetDateTime) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.write(Durability::Synced, move |t| lease::hand_back(t, &lease, now))
            .await
    }

    async fn stored(&self, lease: &Lease) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.write(Durability::Synced, move |t| lease::stored(t, &lease)).await
    }

    async fn original(&self, document: DocumentId) -> CatalogueResult<Option<Original>> {
        self.read(move |c| {
            let stored = row::StoredDocument::load(c, document)?;
            let living = stored.filter(|stored| stored.document.status != DocumentStatus::Deleting);
            Ok(living.map(|stored| stored.original()))
        })
        .await
    }

    async fn progress(&self, lease: &Lease, progress: Progress, now: Moment) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.write(Durability::Ordered, move |t| lease::progress(t, &lease, progress, now))
            .await
    }

    async fn publish(&self, lease: &Lease, version: PublishedVersion, now: OffsetDateTime) -> CatalogueResult<Flipped> {
        let lease = lease.clone();
        self.write_counted(move |t, changes| lease::publish(t, changes, &lease, version, now))
            .await
    }

    async fn fail(&self, lease: &Lease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.write(Durability::Synced, move |t| lease::fail(t, &lease, error, now))
            .await
    }

    async fn retry(&self, lease: &Lease, error: JobError, wait: Wait, now: Moment) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.write(Durability::Synced, move |t| lease::retry(t, &lease, error, wait, now))
            .await
    }

    async fn purged(&self, lease: &Lease, now: OffsetDateTime) -> CatalogueResult<()> {
        let lease = lease.clone();
        self.write(Durability::Synced, move |t| lease::purged(t, &lease, now))
            .await
    }

    async fn redrive(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Redriven>> {
        let scope = scope.clone();
        self.write(Durability::Synced, move |t| jobs::redrive(t, &scope, job, now))
            .await
    }

    async fn cancel(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Job>> {
        let scope = scope.clone();
        self.write(Durability::Synced, move |t| jobs::cancel(t, &scope, job, now))
            .await
    }

    async fn document(&self, scope: &Scope, document: DocumentId) -> CatalogueResult<Option<Document>> {
        let scope = scope.clone();
        self.read(move |c| documents::document(c, &scope, document)).await
    }

    async fn documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> CatalogueResult<Page<Document>> {
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.read(move |c| documents::documents(c, &scope, &filter, &page))
            .await
    }

    async fn failed_documents(
        &self,
        tenant: &TenantId,
        source: &SourceName,
        limit: usize,
    ) -> CatalogueResult<FailedDocuments> {
        let (tenant, source) = (tenant.clone(), source.clone());
        self.read(move |c| documents::failed(c, &tenant, &source, limit)).await
    }

    async fn tenants(&self) -> CatalogueResult<Vec<TenantId>> {
        self.read(documents::tenants).await
    }

    async fn standing(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>> {
        let documents = documents.to_vec();
        self.read(move |c| documents::standing(c, &documents)).await
    }

    async fn access(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentAccess>> {
        Ok(self.database.access(documents).await?)
    }

    async fn labels(&self, scope: &Scope, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentLabel>> {
        let (scope, documents) = (scope.clone(), documents.to_vec());
        self.read(move |c| documents::labels(c, &scope, &documents)).await
    }

    async fn job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>> {
        let scope = scope.clone();
        self.read(move |c| jobs::job(c, &scope, job)).await
    }

    async fn jobs(&self, scope: &Scope, filter: &JobFilter, page: &PageRequest) -> CatalogueResult<Page<Job>> {
        let (scope, filter, page) = (scope.clone(), *filter, page.clone());
        self.read(move |c| jobs::jobs(c, &scope, &filter, &page)).await
    }

    async fn remove_ended_jobs(&self, before: OffsetDateTime, most: usize) -> CatalogueResult<u64> {
        self.write(Durability::Ordered, move |t| ended::remove(t, before, most))
            .await
    }

    async fn job_counts(&self, tenant: &TenantId) -> CatalogueResult<JobCounts> {
        let tenant = tenant.clone();
        self.read(move |c| jobs::counts(c, &tenant)).await
    }

    async fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> CatalogueResult<TermStatistics> {
        Ok(self.statistics.terms(tenant, terms))
    }

    async fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> CatalogueResult<Vec<u64>> {
        Ok(self.statistics.pieces(tenant, pieces))
    }

    async fn setting(&self, key: &str) -> CatalogueResult<Option<String>> {
        let key = key.to_owned();
        self.read(move |c| {
            let mut statement = c.prepare_cached("select value from settings where key = ?1")?;
            Ok(statement.query_row([key], |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.write(Durability::Synced, move |t| {
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
