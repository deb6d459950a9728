//! An in-memory catalogue built on maps.

pub(super) mod state;
pub(super) mod version;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::lock;
use crate::access::Scope;
use crate::document::{Document, DocumentStatus, Job, JobCounts, JobError, JobKind, JobState, WorkerId};
use crate::id::{DocumentId, JobId, SourceName, TenantId};
use crate::rank::{TermId, TermStatistics};
use crate::seam::catalogue::{
    BeginOutcome, Catalogue, CatalogueError, CatalogueResult, ClaimedJob, ClockReading, ConcurrentJobs, DocumentAccess,
    DocumentFilter, DocumentLabel, DocumentPatch, FailedDocuments, JobFilter, JobLease, JobProgress, ListPage,
    NewVersion, OriginalLocation, PageRequest, PublishOutcome, PublishedVersion, RequeueOutcome, RetryDelay,
    check_writer,
};
use state::{Entry, State, Task};
use version::made_again;

/// Documents and jobs in memory.
#[derive(Debug, Default)]
pub struct MemoryCatalogue {
    pub(super) state: Mutex<State>,
}

type Key = (i128, Uuid);

fn paged<T: Clone>(
    mut items: Vec<(Key, T)>,
    page: &PageRequest,
    is_after: impl Fn(&Key, &Key) -> bool,
) -> CatalogueResult<ListPage<T>> {
    if let Some(cursor) = &page.cursor {
        let (at, id) = cursor.split_once('-').ok_or(CatalogueError::BadCursor)?;
        let at = at.parse().map_err(|_| CatalogueError::BadCursor)?;
        let key = (at, id.parse().map_err(|_| CatalogueError::BadCursor)?);
        items.retain(|(item, _)| is_after(item, &key));
    }
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let last = items.last().map(|((at, id), _)| format!("{at}-{id}"));
    Ok(ListPage {
        next_cursor: last.filter(|_| more),
        items: items.into_iter().map(|(_, item)| item).collect(),
    })
}

#[async_trait]
impl Catalogue for MemoryCatalogue {
    async fn begin_version(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome> {
        let mut state = lock(&self.state);
        let id = version.document_id();
        let living = state.documents.get(&id);
        let living = living.filter(|entry| entry.document.status != DocumentStatus::Deleting);
        version.check_may_overwrite(scope, living.map(|entry| &entry.document))?;
        state.put(version, |acl| scope.admits(acl), job, now)
    }

    async fn queue_reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let mut state = lock(&self.state);
        let live = |task: &Task| task.job.document_id == Some(document) && !task.job.state.is_final();
        let busy = state.jobs.iter().any(live);
        let Some(entry) = state
            .seen(scope, document)
            .filter(|entry| !busy && entry.document.published.is_some())
        else {
            return Ok(None);
        };
        let entry = made_again(&entry, pipeline, now);
        state.save(&entry);
        Ok(Some(state.queue(&entry, job, JobKind::Ingest, None, now)))
    }

    async fn patch_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        patch: DocumentPatch,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Document>> {
        let mut state = lock(&self.state);
        let Some(entry) = state.seen(scope, document) else {
            return Ok(None);
        };
        patch.check_may_patch(scope, &entry.document)?;
        let mut changed = entry.clone().patched(patch);
        if changed != entry {
            changed.document.updated_at = now;
            state.save(&changed);
        }
        Ok(Some(changed.document))
    }

    async fn tombstone_document(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let mut state = lock(&self.state);
        let Some(entry) = state.seen(scope, document) else {
            return Ok(None);
        };
        check_writer(scope, &entry.document)?;
        Ok(Some(state.bury_document(entry, job, now)))
    }

    async fn claim_job(
        &self,
        worker: WorkerId,
        lease: Duration,
        now: ClockReading,
    ) -> CatalogueResult<Option<ClaimedJob>> {
        let mut state = lock(&self.state);
        let ran_out = |task: &Task| task.course.lease_until.is_some_and(|until| until <= now.steady);
        state.bury(ran_out, |task| task.course.concurrent_jobs(), now);
        let drawn = state.draw();
        let Some(task) = state.next(now) else {
            return Ok(None);
        };
        task.course.start_attempt(&mut task.job, worker, lease, now);
        if task.job.kind == JobKind::Ingest {
            task.job.generation = drawn;
        }
        let Task { job, course, .. } = task.clone();
        let entry = job.document_id.and_then(|id| state.documents.get(&id)).cloned();
        let entry = entry.ok_or(CatalogueError::Damaged {
            detail: "a job without a document".into(),
        })?;
        Ok(Some(ClaimedJob {
            lease: JobLease {
                job: job.id,
                attempt: course.claims,
                document: entry.document.id,
                generation: job.generation,
            },
            job,
            failures: course.failures,
            poisoned: course.poisoned_error(),
            original: original(&entry),
            document: entry.document,
            name: entry.begun.name,
            given_title: entry.begun.title,
            declared_media_type: entry.begun.declared_media_type,
        }))
    }

    async fn extend_lease(&self, lease: &JobLease, extend: Duration, now: ClockReading) -> CatalogueResult<Duration> {
        let mut state = lock(&self.state);
        Ok(state.leased(lease)?.course.extend_lease(extend, now))
    }

    async fn requeue_interrupted_jobs(&self, now: ClockReading) -> CatalogueResult<u64> {
        let mut state = lock(&self.state);
        let waiting = |task: &&mut Task| task.job.state == JobState::Queued && task.course.wait.is_some();
        for task in state.jobs.iter_mut().filter(waiting) {
            task.course.resume_wait(now);
        }
        let company = ConcurrentJobs::from_job_count(state.running());
        Ok(state.bury(|_| true, |_| company, now))
    }

    async fn release_job(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let task = state.leased(lease)?;
        task.course.release_job(&mut task.job, now);
        Ok(())
    }

    async fn mark_original_stored(&self, lease: &JobLease) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        state.leased(lease)?;
        if let Some(entry) = state.documents.get_mut(&lease.document) {
            entry.stored = Some(lease.generation);
        }
        Ok(())
    }

    async fn locate_original(&self, document: DocumentId) -> CatalogueResult<Option<OriginalLocation>> {
        let state = lock(&self.state);
        let entry = state.documents.get(&document);
        let living = entry.filter(|entry| entry.document.status != DocumentStatus::Deleting);
        Ok(living.map(original))
    }

    async fn record_progress(&self, lease: &JobLease, progress: JobProgress, now: ClockReading) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let task = state.leased(lease)?;
        task.course.record_progress(&mut task.job, progress, now);
        Ok(())
    }

    async fn publish_version(
        &self,
        lease: &JobLease,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> CatalogueResult<PublishOutcome> {
        let mut state = lock(&self.state);
        state.leased(lease)?.end(JobState::Succeeded, None, now);
        let mut entry = state
            .documents
            .get(&lease.document)
            .cloned()
            .ok_or(CatalogueError::Stale)?;
        let replaced = version.mark_published(&mut entry.document, lease.generation, now);
        entry.published_of = Some(entry.begun.clone());
        entry.found_title = Some(version.title);
        entry.made_by = Some(version.pipeline);
        if let Some(replaced) = replaced {
            state.statistics.remove(&(lease.document, replaced));
        }
        let tenant = entry.document.acl.tenant.clone();
        state
            .statistics
            .insert((lease.document, lease.generation), (tenant, version.statistics));
        let entry = entry.named();
        state.save(&entry);
        Ok(PublishOutcome {
            replaced,
            acl_revision: entry.document.acl_revision,
        })
    }

    async fn fail_job(&self, lease: &JobLease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let task = state.leased(lease)?;
        task.end(JobState::Failed, Some(error.clone()), now);
        let task = task.clone();
        state.give_up(&task, error, now);
        Ok(())
    }

    async fn schedule_retry(
        &self,
        lease: &JobLease,
        error: JobError,
        wait: RetryDelay,
        now: ClockReading,
    ) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let task = state.leased(lease)?;
        task.course.schedule_retry(&mut task.job, error, wait, now);
        Ok(())
    }

    async fn finish_purge(&self, lease: &JobLease, now: OffsetDateTime) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let task = state.leased(lease)?;
        if task.job.kind != JobKind::Purge {
            return Err(CatalogueError::Stale);
        }
        task.end(JobState::Succeeded, None, now);
        state.statistics.remove(&(lease.document, lease.generation));
        let purges = |task: &Task| {
            let job = &task.job;
            job.document_id == Some(lease.document) && job.kind == JobKind::Purge && !job.state.is_final()
        };
        if !state.jobs.iter().any(purges)
            && state
                .documents
                .get(&lease.document)
                .is_some_and(|e| e.document.status == DocumentStatus::Deleting)
        {
            state.documents.remove(&lease.document);
        }
        Ok(())
    }

    async fn requeue_job(
        &self,
        scope: &Scope,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<RequeueOutcome>> {
        let mut state = lock(&self.state);
        let Some(task) = state.found(scope, job) else {
            return Ok(None);
        };
        let shown = state.shown(&task);
        if !matches!(shown.state, JobState::Failed | JobState::Cancelled) {
            return Ok(Some(RequeueOutcome::NotEnded(shown)));
        }
        let mut again = match task.job.kind {
            JobKind::Batch => state.children(scope, job),
            _ => vec![task],
        };
        again.retain(|task| {
            matches!(task.job.state, JobState::Failed | JobState::Cancelled) && !state.is_superseded(task)
        });
        if again.is_empty() {
            return Ok(Some(RequeueOutcome::Superseded(shown)));
        }
        for task in again {
            state.redrive(task.job.id, now);
        }
        if let Some(batch) = state.jobs.iter_mut().find(|task| task.job.id == job) {
            batch.stopped = false;
        }
        let queued = state.found(scope, job).map(|task| state.shown(&task));
        Ok(queued.map(RequeueOutcome::Queued))
    }

    async fn cancel_job(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Job>> {
        let mut state = lock(&self.state);
        let Some(task) = state.found(scope, job) else {
            return Ok(None);
        };
        if task.job.kind == JobKind::Batch && !state.shown(&task).state.is_final() {
            for child in state.children(scope, job) {
                state.cancel(child.job.id, now);
            }
            if let Some(batch) = state.jobs.iter_mut().find(|task| task.job.id == job) {
                batch.stopped = true;
            }
        }
        state.cancel(job, now);
        Ok(state.found(scope, job).map(|task| state.shown(&task)))
    }

    async fn get_document(&self, scope: &Scope, document: DocumentId) -> CatalogueResult<Option<Document>> {
        Ok(lock(&self.state).seen(scope, document).map(|entry| entry.document))
    }

    async fn list_documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> CatalogueResult<ListPage<Document>> {
        let state = lock(&self.state);
        let made = |entry: &Entry| {
            let (one, other) = (filter.made_by.as_ref(), filter.not_made_by.as_ref());
            one.is_none_or(|one| entry.made_by.as_ref() == Some(one))
                && other.is_none_or(|other| entry.made_by.as_ref().is_some_and(|made_by| made_by != other))
        };
        let fits = |document: &Document| {
            filter.uri.as_ref().is_none_or(|uri| *uri == document.uri)
                && filter.source.as_ref().is_none_or(|source| *source == document.source)
                && filter
                    .collection
                    .as_ref()
                    .is_none_or(|collection| *collection == document.collection)
                && filter.status.is_none_or(|status| status == document.status)
        };
        let seen = state.documents.values().filter(|entry| entry.is_visible(scope));
        let fitting = seen
            .filter(|entry| made(entry))
            .map(|entry| &entry.document)
            .filter(|document| fits(document));
        let mut items: Vec<_> = fitting
            .map(|document| (document_key(document), document.clone()))
            .collect();
        items.sort_by_key(|(key, _)| *key);
        paged(items, page, |item, cursor| item > cursor)
    }

    async fn list_failed_documents(
        &self,
        tenant: &TenantId,
        source: &SourceName,
        limit: usize,
    ) -> CatalogueResult<FailedDocuments> {
        let state = lock(&self.state);
        let of_source = |document: &&Document| {
            document.acl.tenant == *tenant && document.source == *source && document.status != DocumentStatus::Deleting
        };
        let documents = state.documents.values().map(|entry| &entry.document);
        let mut failed: Vec<_> = documents
            .filter(of_source)
            .filter_map(|document| Some((document, document.last_error.clone()?)))
            .collect();
        failed.sort_by_key(|(document, _)| document_key(document));
        Ok(FailedDocuments {
            count: failed.len() as u64,
            first: failed
                .into_iter()
                .take(limit)
                .map(|(document, error)| (document.uri.clone(), error))
                .collect(),
        })
    }

    async fn list_tenants(&self) -> CatalogueResult<Vec<TenantId>> {
        let state = lock(&self.state);
        let tenants = state.documents.values().map(|entry| entry.document.acl.tenant.clone());
        Ok(tenants.collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn documents_unchecked(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>> {
        let state = lock(&self.state);
        let found = documents.iter().filter_map(|id| state.documents.get(id));
        let lives = |entry: &&Entry| entry.document.status != DocumentStatus::Deleting;
        Ok(found.filter(lives).map(|entry| entry.document.clone()).collect())
    }

    async fn get_document_access(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<DocumentAccess>> {
        let of = |document: Document| DocumentAccess {
            id: document.id,
            acl: Arc::new(document.acl),
            acl_revision: document.acl_revision,
            published: document.published,
        };
        Ok(self.documents_unchecked(documents).await?.into_iter().map(of).collect())
    }

    async fn get_document_labels(
        &self,
        scope: &Scope,
        documents: &[DocumentId],
    ) -> CatalogueResult<Vec<DocumentLabel>> {
        let mut standing = self.documents_unchecked(documents).await?;
        standing.retain(|document| scope.admits(&document.acl));
        let of = |document: Document| DocumentLabel {
            id: document.id,
            title: document.title,
            uri: document.uri,
            source_url: document.source_url,
        };
        Ok(standing.into_iter().map(of).collect())
    }

    async fn get_job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>> {
        let state = lock(&self.state);
        Ok(state.found(scope, job).map(|task| state.shown(&task)))
    }

    async fn list_jobs(&self, scope: &Scope, filter: &JobFilter, page: &PageRequest) -> CatalogueResult<ListPage<Job>> {
        let fits = |job: &Job| {
            filter.state.is_none_or(|state| state == job.state)
                && filter.kind.is_none_or(|kind| kind == job.kind)
                && (filter.parent.is_none() || filter.parent == job.parent)
                && (filter.document.is_none() || filter.document == job.document_id)
        };
        let listed = lock(&self.state).listed(scope);
        let key = |job: &Job| (job.created_at.unix_timestamp_nanos(), job.id.0);
        let items = listed.into_iter().filter(fits).map(|job| (key(&job), job));
        paged(items.collect(), page, |item, cursor| item < cursor)
    }

    async fn remove_ended_jobs(&self, before: OffsetDateTime, most: usize) -> CatalogueResult<u64> {
        Ok(lock(&self.state).remove_ended_jobs(before, most))
    }

    async fn count_jobs(&self, tenant: &TenantId) -> CatalogueResult<JobCounts> {
        let state = lock(&self.state);
        let mut counts = JobCounts::default();
        let of_tenant = |task: &&Task| task.acl.tenant == *tenant && task.job.kind != JobKind::Batch;
        state
            .jobs
            .iter()
            .filter(of_tenant)
            .for_each(|task| *counts.count_mut(task.job.state) += 1);
        Ok(counts)
    }

    async fn term_statistics(&self, tenant: &TenantId, terms: &[TermId]) -> CatalogueResult<TermStatistics> {
        let state = lock(&self.state);
        let mut statistics = TermStatistics::default();
        for delta in state.counted(tenant) {
            statistics.documents += delta.chunks;
            for (term, count) in delta.terms.iter().filter(|(term, _)| terms.contains(term)) {
                *statistics.df.entry(*term).or_default() += u64::from(*count);
            }
        }
        Ok(statistics)
    }

    async fn piece_frequencies(&self, tenant: &TenantId, pieces: &[u32]) -> CatalogueResult<Vec<u64>> {
        let state = lock(&self.state);
        let count = |piece: &u32| {
            let of_piece = state
                .counted(tenant)
                .flat_map(|delta| &delta.pieces)
                .filter(|(id, _)| id == piece);
            of_piece.map(|(_, count)| u64::from(*count)).sum()
        };
        Ok(pieces.iter().map(count).collect())
    }

    async fn get_setting(&self, key: &str) -> CatalogueResult<Option<String>> {
        Ok(lock(&self.state).settings.get(key).cloned())
    }

    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()> {
        lock(&self.state).settings.insert(key.into(), value.into());
        Ok(())
    }
}

fn original(entry: &Entry) -> OriginalLocation {
    match entry.stored {
        Some(generation) => OriginalLocation::Stored(generation),
        None => OriginalLocation::Incoming(entry.begun.incoming.clone()),
    }
}

fn document_key(document: &Document) -> Key {
    (document.created_at.unix_timestamp_nanos(), document.id.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::seam::contract::catalogue_contract;

    #[tokio::test]
    async fn keeps_the_contract() {
        catalogue_contract(|| async { Arc::new(MemoryCatalogue::default()) as Arc<dyn Catalogue> }).await;
    }
}
