//! The catalogue in PostgreSQL, shared by any number of processes.
//!
//! Invariant: each call is one transaction at `read committed` that holds the rows it decides by, but for batches, whose
//! children go one by one; what a call acknowledged survives power loss, but for progress, which is worth no wait.
//!
//! *Clocks.* When a job may run and when a lease runs out is judged by the server's clock, the one that all processes
//! share; [`Moment::steady`] is not looked at. Should that clock be set back (another server took over, say), waits are cut
//! to their length when the next process starts, and leases of workers that died meanwhile last longer by the step.
//!
//! *Processes that end.* Others go on while one starts, so [`take_back`](Catalogue::take_back) takes back the jobs that
//! were claimed under this process's own `holder` ([`PostgresOptions::new`]) and no others: a name that one living process
//! has at a time, such as one that lies in its locked data directory. The jobs of a process that never comes back are
//! taken when their leases run out. Should two living processes share a name all the same, a job may be taken from a worker
//! that lives: its lease is stale, it writes nothing more, and the work is done twice but published once.
//!
//! *Waiting.* Claims pass over what others hold, and those of one process come one after another. What is written often by many (counts of jobs, children of batches, term
//! statistics) is written as changes that are summed when read and folded now and then, so no row makes workers queue.

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
use ragstone_core::document::{Document, DocumentStatus, Job, JobCounts, JobError, Worker};
use ragstone_core::id::{DocumentId, JobId, SourceName, TenantId};
use ragstone_core::rank::{TermId, TermStatistics};
use ragstone_core::seam::catalogue::{
    Begun, Catalogue, CatalogueResult, Claim, DocumentAccess, DocumentFilter, DocumentLabel, DocumentPatch,
    FailedDocuments, Flipped, JobFilter, Lease, Moment, NewVersion, Original, Page, PageRequest, Progress,
    PublishedVersion, Redriven, Wait,
};
use time::OffsetDateTime;
use uuid::Uuid;

use database::{Database, Mode, transact};
use error::Failure;
use row::{Hold, get, number};
use statistics::Statistics;

pub use doorbell::doorbell;
pub use error::PostgresError;
pub use options::{CONNECT_TIMEOUT, POOL_SIZE, PostgresOptions, STATEMENT_TIMEOUT};
pub use reach::{has_keys, version};

/// Changes of jobs by this process after which those of all are put into the totals.
const FOLD_JOBS_AFTER: usize = 512;

/// Nanoseconds since 1970 by the server's clock.
const CLOCK: &str = "select (extract(epoch from clock_timestamp()) * 1000000000)::bigint as now";

/// Documents and jobs in a PostgreSQL database.
pub struct PostgresCatalogue {
    database: Database,
    statistics: Statistics,
    holder: Uuid,
    /// Held by the claim that is under way: beside a suspect a process takes nothing.
    claiming: tokio::sync::Mutex<()>,
    /// Changes of jobs since the last fold.
    unfolded: AtomicUsize,
    clock: Clock,
}

/// Whose time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// The server's.
    Server,
    /// The caller's, so that a test need not wait.
    #[cfg(test)]
    Caller,
}

impl PostgresCatalogue {
    /// The catalogue of a database, which is brought to the newest schema.
    pub async fn open(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let database = Database::new(options)?;
        match migrations::run(&database).await {
            Ok(()) => Ok(Self {
                database,
                statistics: Statistics::default(),
                holder: options.holder,
                claiming: tokio::sync::Mutex::default(),
                unfolded: AtomicUsize::default(),
                clock: Clock::Server,
            }),
            Err(Failure::Database(error)) => Err(error),
            Err(Failure::Rule(rule)) => Err(PostgresError::Damaged(rule.to_string())),
        }
    }

    /// The moment by the clock that counts.
    async fn moment(&self, now: Moment) -> Result<Moment, Failure> {
        match self.clock {
            Clock::Server => {
                let row = self.database.session().await?.one(CLOCK, &[]).await?;
                let steady = Duration::from_nanos(number(&row, "now")?);
                Ok(Moment { steady, ..now })
            }
            #[cfg(test)]
            Clock::Caller => Ok(now),
        }
    }

    /// Counts changes of jobs, and puts them into the totals now and then.
    async fn moved(&self, changes: usize) {
        if self.unfolded.fetch_add(changes, Ordering::Relaxed) + changes < FOLD_JOBS_AFTER {
            return;
        }
        self.unfolded.store(0, Ordering::Relaxed);
        // The changes stand where they are until the next attempt.
        if let Err(error) = self.fold().await {
            tracing::warn!(?error, "counts of jobs were not folded");
        }
    }

    async fn fold(&self) -> Result<(), Failure> {
        transact!(self.database, Mode::Synced, |t| jobs::fold(&t))
    }
}

#[async_trait]
impl Catalogue for PostgresCatalogue {
    async fn begin(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Begun> {
        let begun = transact!(self.database, Mode::Synced, |t| begin::begin(
            &t, scope, &version, job, now
        ))?;
        self.moved(1).await;
        Ok(begun)
    }

    async fn reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        Ok(transact!(self.database, Mode::Synced, |t| begin::reingest(
            &t, scope, document, pipeline, job, now
        ))?)
    }

    async fn patch(
        &self,
        scope: &Scope,
        document: DocumentId,
        patch: DocumentPatch,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Document>> {
        Ok(transact!(self.database, Mode::Synced, |t| begin::patch(
            &t,
            scope,
            document,
            patch.clone(),
            now
        ))?)
    }

    async fn tombstone(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let purge = transact!(self.database, Mode::Synced, |t| begin::tombstone(
            &t, scope, document, job, now
        ))?;
        self.statistics.noted(&self.database, 1).await;
        Ok(purge)
    }

    async fn claim(&self, worker: Worker, lease: Duration, now: Moment) -> CatalogueResult<Option<Claim>> {
        let now = self.moment(now).await?;
        let claiming = self.claiming.lock().await;
        let claim = queue::claim(&self.database, self.holder, worker, lease, now).await?;
        drop(claiming);
        self.moved(2 * usize::from(claim.is_some())).await;
        Ok(claim)
    }

    /// Most heartbeats find that the lease holds long enough, and write nothing.
    async fn heartbeat(&self, lease: &Lease, extend: Duration, now: Moment) -> CatalogueResult<Duration> {
        let now = self.moment(now).await?;
        let course = lease::holds(&self.database.session().await?, lease).await?.course;
        if course.lease_until.unwrap_or_default() >= now.steady + extend / 2 {
            return Ok(now.steady.saturating_sub(course.noted_at));
        }
        Ok(transact!(self.database, Mode::Ordered, |t| lease::heartbeat(
            &t,
            self.holder,
            lease,
            extend,
            now
        ))?)
    }

    async fn take_back(&self, now: Moment) -> CatalogueResult<u64> {
        let now = self.moment(now).await?;
        Ok(queue::take_back(&self.database, self.holder, now).await?)
    }

    async fn hand_back(&self, lease: &Lease, now: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Synced, |t| lease::hand_back(
            &t, lease, now
        ))?)
    }

    async fn stored(&self, lease: &Lease) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Synced, |t| lease::stored(&t, lease))?)
    }

    async fn original(&self, document: DocumentId) -> CatalogueResult<Option<Original>> {
        let session = self.database.session().await?;
        let stored = row::document(&session, document, Hold::No).await?;
        let living = stored.filter(|stored| stored.document.status != DocumentStatus::Deleting);
        Ok(living.map(|stored| stored.original()))
    }

    async fn progress(&self, lease: &Lease, progress: Progress, now: Moment) -> CatalogueResult<()> {
        let now = self.moment(now).await?;
        Ok(transact!(self.database, Mode::Ordered, |t| lease::progress(
            &t,
            self.holder,
            lease,
            progress,
            now
        ))?)
    }

    async fn publish(&self, lease: &Lease, version: PublishedVersion, now: OffsetDateTime) -> CatalogueResult<Flipped> {
        let flipped = transact!(self.database, Mode::Synced, |t| lease::publish(
            &t,
            lease,
            version.clone(),
            now
        ))?;
        self.statistics
            .noted(&self.database, 1 + usize::from(flipped.replaced.is_some()))
            .await;
        self.moved(2).await;
        Ok(flipped)
    }

    async fn fail(&self, lease: &Lease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Synced, |t| lease::fail(
            &t,
            lease,
            error.clone(),
            now
        ))?)
    }

    async fn retry(&self, lease: &Lease, error: JobError, wait: Wait, now: Moment) -> CatalogueResult<()> {
        let now = self.moment(now).await?;
        Ok(transact!(self.database, Mode::Synced, |t| lease::retry(
            &t,
            lease,
            error.clone(),
            wait,
            now
        ))?)
    }

    async fn purged(&self, lease: &Lease, now: OffsetDateTime) -> CatalogueResult<()> {
        Ok(transact!(self.database, Mode::Synced, |t| lease::purged(
            &t, lease, now
        ))?)
    }

    async fn redrive(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Redriven>> {
        Ok(jobs::redrive(&self.database, scope, job, now).await?)
    }

    async fn cancel(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Job>> {
        Ok(jobs::cancel(&self.database, scope, job, now).await?)
    }

    async fn document(&self, scope: &Scope, document: DocumentId) -> CatalogueResult<Option<Document>> {
        Ok(documents::document(&self.database.session().await?, scope, document).await?)
    }

    async fn documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> CatalogueResult<Page<Document>> {
        Ok(documents::documents(&self.database.session().await?, scope, filter, page).await?)
    }

    async fn failed_documents(
        &self,
        tenant: &TenantId,
        source: &SourceName,
        limit: usize,
    ) -> CatalogueResult<FailedDocuments> {
        Ok(documents::failed(&self.database.session().await?, tenant, source, limit).await?)
    }

    async fn tenants(&self) -> CatalogueResult<Vec<TenantId>> {
        Ok(documents::tenants(&self.database.session().await?).await?)
    }

    async fn standing(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>> {
        Ok(documents::standing(&self.database.session().await?, documents).await?)
    }

    async fn access(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentAccess>> {
        Ok(documents::access(&self.database.session().await?, documents).await?)
    }

    async fn labels(&self, scope: &Scope, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentLabel>> {
        Ok(documents::labels(&self.database.session().await?, scope, documents).await?)
    }

    async fn job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>> {
        Ok(jobs::job(&self.database.session().await?, scope, job).await?)
    }

    async fn jobs(&self, scope: &Scope, filter: &JobFilter, page: &PageRequest) -> CatalogueResult<Page<Job>> {
        Ok(jobs::jobs(&self.database.session().await?, scope, filter, page).await?)
    }

    async fn remove_ended_jobs(&self, before: OffsetDateTime, most: usize) -> CatalogueResult<u64> {
        let gone = transact!(self.database, Mode::Synced, |t| ended::remove(&t, before, most))?;
        self.moved(usize::try_from(gone).unwrap_or(usize::MAX)).await;
        Ok(gone)
    }

    async fn job_counts(&self, tenant: &TenantId) -> CatalogueResult<JobCounts> {
        Ok(jobs::counts(&self.database.session().await?, tenant).await?)
    }

    async fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> CatalogueResult<TermStatistics> {
        Ok(self.statistics.terms(&self.database, tenant, terms).await?)
    }

    async fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> CatalogueResult<Vec<u64>> {
        Ok(self.statistics.pieces(&self.database, tenant, pieces).await?)
    }

    async fn setting(&self, key: &str) -> CatalogueResult<Option<String>> {
        let session = self.database.session().await?;
        let found = session
            .first("select value from settings where key = $1", &[&key])
            .await?;
        Ok(found.map(|row| get(&row, "value")).transpose()?)
    }

    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()> {
        let session = self.database.session().await?;
        session
            .run(
                "insert into settings (key, value) values ($1, $2)
                 on conflict (key) do update set value = excluded.value",
                &[&key, &value],
            )
            .await?;
        Ok(())
    }
}
