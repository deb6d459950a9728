//! A catalogue in maps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::lock;
use crate::access::{Acl, Scope};
use crate::document::{Document, DocumentStatus, Job, JobError, JobKind, JobState, Stage};
use crate::id::{DocumentId, Generation, JobId, TenantId};
use crate::rank::{TermId, TermStatistics};
use crate::seam::catalogue::{
    Begun, Catalogue, CatalogueError, CatalogueResult, Claim, DocumentFilter, DocumentPatch, Flipped,
    JobFilter, Lease, NewVersion, Original, Page, PageRequest, Progress, PublishedVersion, StatisticsDelta,
};

/// Documents and jobs in memory.
#[derive(Debug, Default)]
pub struct MemoryCatalogue {
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    drawn: u64,
    pub(super) documents: BTreeMap<DocumentId, Entry>,
    pub(super) jobs: Vec<Task>,
    pub(super) statistics: BTreeMap<(DocumentId, Generation), (TenantId, StatisticsDelta)>,
    settings: HashMap<String, String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    life: u64,
    pub(super) document: Document,
    pub(super) begun: NewVersion,
    found_title: Option<String>,
    pub(super) newest_failed: bool,
    /// The generation whose final key holds the bytes of the newest begin.
    pub(super) stored: Option<Generation>,
}

impl Entry {
    fn named(mut self) -> Self {
        let title = self.begun.title.as_ref().or(self.found_title.as_ref());
        self.document.title = title.unwrap_or(&self.begun.name).clone();
        self
    }

    fn is_visible(&self, scope: &Scope) -> bool {
        self.document.status != DocumentStatus::Deleting && scope.admits(&self.document.acl)
    }

    fn patched(mut self, patch: DocumentPatch) -> Self {
        let document = &mut self.document;
        if let Some(acl) = patch.acl.filter(|acl| *acl != document.acl) {
            document.acl = acl;
            document.acl_revision += 1;
        }
        document.metadata = patch.metadata.unwrap_or(std::mem::take(&mut document.metadata));
        document.department_id = patch.department_id.unwrap_or(document.department_id.take());
        document.source_url = patch.source_url.unwrap_or(document.source_url.take());
        self.begun.title = patch.title.or(self.begun.title);
        self.named()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) job: Job,
    life: u64,
    acl: Acl,
    not_before: OffsetDateTime,
}

impl Task {
    fn end(&mut self, state: JobState, error: Option<JobError>, now: OffsetDateTime) {
        self.job.state = state;
        self.job.stage = Stage::Done;
        self.job.error = error;
        self.job.updated_at = now;
    }
}

impl State {
    pub(super) fn draw(&mut self) -> Generation {
        self.drawn += 1;
        Generation(self.drawn)
    }

    fn seen(&self, scope: &Scope, document: DocumentId) -> Option<Entry> {
        self.documents
            .get(&document)
            .filter(|entry| entry.is_visible(scope))
            .cloned()
    }

    pub(super) fn save(&mut self, entry: &Entry) {
        for task in &mut self.jobs {
            if task.job.document_id == entry.document.id && task.life == entry.life {
                task.acl = entry.document.acl.clone();
            }
        }
        self.documents.insert(entry.document.id, entry.clone());
    }

    pub(super) fn queue(
        &mut self,
        entry: &Entry,
        id: JobId,
        kind: JobKind,
        generation: Generation,
        now: OffsetDateTime,
    ) -> Job {
        let job = Job {
            id,
            kind,
            document_id: entry.document.id,
            generation,
            state: JobState::Queued,
            stage: Stage::Queued,
            done: 0,
            total: 0,
            attempts: 0,
            error: None,
            created_at: now,
            updated_at: now,
        };
        self.jobs.push(Task {
            job: job.clone(),
            life: entry.life,
            acl: entry.document.acl.clone(),
            not_before: now,
        });
        job
    }

    fn cancel_ingests(&mut self, document: DocumentId, now: OffsetDateTime) {
        for task in &mut self.jobs {
            let job = &task.job;
            if job.document_id == document && job.kind == JobKind::Ingest && !job.state.is_final() {
                task.end(JobState::Cancelled, None, now);
            }
        }
    }

    fn leased(&mut self, lease: &Lease) -> CatalogueResult<&mut Task> {
        let holds = |task: &&mut Task| {
            let job = &task.job;
            job.state == JobState::Running
                && (job.id, job.attempts) == (lease.job, lease.attempt)
                && (job.document_id, job.generation) == (lease.document, lease.generation)
        };
        self.jobs.iter_mut().find(holds).ok_or(CatalogueError::Stale)
    }

    fn give_up(&mut self, task: &Task, error: JobError, now: OffsetDateTime) {
        if task.job.kind == JobKind::Ingest
            && let Some(entry) = self.documents.get_mut(&task.job.document_id)
        {
            entry.newest_failed = true;
            entry.document.last_error = Some(error);
            entry.document.updated_at = now;
            if entry.document.status == DocumentStatus::Pending {
                entry.document.status = DocumentStatus::Failed;
            }
        }
    }

    fn counted(&self, tenant: &TenantId) -> impl Iterator<Item = &StatisticsDelta> {
        let of_tenant = move |(owner, _): &&(TenantId, StatisticsDelta)| owner == tenant;
        self.statistics.values().filter(of_tenant).map(|(_, delta)| delta)
    }
}

fn born(version: NewVersion, life: u64, now: OffsetDateTime) -> Entry {
    let begun = version.clone();
    let document = Document {
        id: version.document_id(),
        collection: version.collection,
        source: version.source,
        uri: version.uri,
        title: String::new(),
        media_type: version.declared_media_type.unwrap_or_default(),
        status: DocumentStatus::Pending,
        version: 1,
        published: None,
        content_hash: version.content_hash,
        bytes: version.bytes,
        pages: None,
        chunks: 0,
        acl: version.acl,
        acl_revision: 1,
        metadata: version.metadata,
        department_id: version.department_id,
        source_url: version.source_url,
        last_error: None,
        warnings: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    Entry {
        life,
        document,
        begun,
        found_title: None,
        newest_failed: false,
        stored: None,
    }
    .named()
}

/// `version` over the entry that has its place, with everything beside the bytes in force.
fn amended(entry: &Entry, version: NewVersion) -> Entry {
    let patch = DocumentPatch {
        title: None,
        metadata: Some(version.metadata.clone()),
        acl: Some(version.acl.clone()),
        department_id: Some(version.department_id.clone()),
        source_url: Some(version.source_url.clone()),
    };
    let mut entry = entry.clone();
    entry.begun.title = version.title;
    entry.patched(patch)
}

fn renewed(entry: &Entry, version: NewVersion, now: OffsetDateTime) -> Entry {
    let mut entry = amended(entry, version.clone());
    entry.newest_failed = false;
    let document = &mut entry.document;
    document.version += 1;
    document.content_hash = version.content_hash;
    document.bytes = version.bytes;
    document.last_error = None;
    document.updated_at = now;
    if document.published.is_none() {
        document.status = DocumentStatus::Pending;
        document.media_type = version.declared_media_type.clone().unwrap_or_default();
    }
    entry.begun = version;
    entry.stored = None;
    entry.named()
}

type Key = (i128, Uuid);

fn paged<T: Clone>(
    mut items: Vec<(Key, T)>,
    page: &PageRequest,
    is_after: impl Fn(&Key, &Key) -> bool,
) -> CatalogueResult<Page<T>> {
    if let Some(cursor) = &page.cursor {
        let (at, id) = cursor.split_once('-').ok_or(CatalogueError::BadCursor)?;
        let at = at.parse().map_err(|_| CatalogueError::BadCursor)?;
        let key = (at, id.parse().map_err(|_| CatalogueError::BadCursor)?);
        items.retain(|(item, _)| is_after(item, &key));
    }
    let more = items.len() > page.limit;
    items.truncate(page.limit);
    let last = items.last().map(|((at, id), _)| format!("{at}-{id}"));
    Ok(Page {
        next_cursor: last.filter(|_| more),
        items: items.into_iter().map(|(_, item)| item).collect(),
    })
}

#[async_trait]
impl Catalogue for MemoryCatalogue {
    async fn begin(
        &self,
        scope: &Scope,
        version: NewVersion,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Begun> {
        let mut state = lock(&self.state);
        let id = version.document_id();
        let living = state.documents.get(&id).cloned();
        let living = living.filter(|entry| entry.document.status != DocumentStatus::Deleting);
        let foreign = living
            .as_ref()
            .is_some_and(|entry| !scope.admits(&entry.document.acl));
        if foreign || version.acl.tenant != *scope.tenant() {
            return Err(CatalogueError::UriTaken);
        }
        let holds = |entry: &Entry| {
            let (new, old) = (&version, &entry.begun);
            !entry.newest_failed
                && (new.content_hash, &new.name, &new.pipeline)
                    == (old.content_hash, &old.name, &old.pipeline)
        };
        let entry = match living {
            Some(entry) if holds(&entry) => {
                let mut changed = amended(&entry, version);
                if changed == entry {
                    return Ok(Begun::Unchanged(entry.document));
                }
                changed.document.updated_at = now;
                state.save(&changed);
                return Ok(Begun::Updated(changed.document));
            }
            Some(entry) => renewed(&entry, version, now),
            None => born(version, state.draw().0, now),
        };
        state.cancel_ingests(id, now);
        state.save(&entry);
        let generation = state.draw();
        let job = state.queue(&entry, job, JobKind::Ingest, generation, now);
        Ok(Begun::Started(entry.document, job))
    }

    async fn reingest(
        &self,
        scope: &Scope,
        document: DocumentId,
        pipeline: &str,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let mut state = lock(&self.state);
        let live = |task: &Task| task.job.document_id == document && !task.job.state.is_final();
        let busy = state.jobs.iter().any(live);
        let Some(mut entry) = state
            .seen(scope, document)
            .filter(|entry| !busy && entry.document.published.is_some())
        else {
            return Ok(None);
        };
        entry.stored = entry.document.published;
        entry.begun.pipeline = pipeline.to_owned();
        entry.newest_failed = false;
        entry.document.updated_at = now;
        state.save(&entry);
        let generation = state.draw();
        Ok(Some(state.queue(&entry, job, JobKind::Ingest, generation, now)))
    }

    async fn patch(
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
        if patch
            .acl
            .as_ref()
            .is_some_and(|acl| acl.tenant != *scope.tenant())
        {
            return Err(CatalogueError::UriTaken);
        }
        let mut changed = entry.clone().patched(patch);
        if changed != entry {
            changed.document.updated_at = now;
            state.save(&changed);
        }
        Ok(Some(changed.document))
    }

    async fn tombstone(
        &self,
        scope: &Scope,
        document: DocumentId,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<Option<Job>> {
        let mut state = lock(&self.state);
        let Some(mut entry) = state.seen(scope, document) else {
            return Ok(None);
        };
        state.cancel_ingests(document, now);
        entry.document.status = DocumentStatus::Deleting;
        entry.document.updated_at = now;
        let published = entry.document.published.unwrap_or(Generation(0));
        state.statistics.remove(&(document, published));
        state.save(&entry);
        let generation = state.draw();
        Ok(Some(state.queue(&entry, job, JobKind::Purge, generation, now)))
    }

    async fn claim(&self, now: OffsetDateTime) -> CatalogueResult<Option<Claim>> {
        let mut state = lock(&self.state);
        let drawn = state.draw();
        let waits = |task: &&mut Task| task.job.state == JobState::Queued && task.not_before <= now;
        let Some(task) = state.jobs.iter_mut().find(waits) else {
            return Ok(None);
        };
        let job = &mut task.job;
        job.state = JobState::Running;
        job.attempts += 1;
        job.updated_at = now;
        (job.stage, job.generation) = match job.kind {
            JobKind::Ingest => (Stage::Load, drawn),
            JobKind::Purge => (Stage::Purge, job.generation),
        };
        let job = job.clone();
        let entry = state.documents.get(&job.document_id).cloned();
        let entry = entry.ok_or(CatalogueError::Damaged {
            detail: "a job without a document".into(),
        })?;
        Ok(Some(Claim {
            lease: Lease {
                job: job.id,
                attempt: job.attempts,
                document: job.document_id,
                generation: job.generation,
            },
            job,
            document: entry.document,
            name: entry.begun.name,
            given_title: entry.begun.title,
            declared_media_type: entry.begun.declared_media_type,
            original: match entry.stored {
                Some(generation) => Original::Stored(generation),
                None => Original::Incoming(entry.begun.incoming),
            },
        }))
    }

    async fn take_back(&self, now: OffsetDateTime) -> CatalogueResult<u64> {
        let mut taken = 0;
        for task in &mut lock(&self.state).jobs {
            if task.job.state == JobState::Running {
                task.job.state = JobState::Queued;
                task.job.stage = Stage::Queued;
                (task.job.done, task.job.total) = (0, 0);
                task.job.updated_at = now;
                taken += 1;
            }
        }
        Ok(taken)
    }

    async fn stored(&self, lease: &Lease) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        state.leased(lease)?;
        if let Some(entry) = state.documents.get_mut(&lease.document) {
            entry.stored = Some(lease.generation);
        }
        Ok(())
    }

    async fn progress(&self, lease: &Lease, progress: Progress, now: OffsetDateTime) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let job = &mut state.leased(lease)?.job;
        (job.stage, job.done, job.total) = (progress.stage, progress.done, progress.total);
        job.updated_at = now;
        Ok(())
    }

    async fn publish(
        &self,
        lease: &Lease,
        version: PublishedVersion,
        now: OffsetDateTime,
    ) -> CatalogueResult<Flipped> {
        let mut state = lock(&self.state);
        state.leased(lease)?.end(JobState::Succeeded, None, now);
        let mut entry = state
            .documents
            .get(&lease.document)
            .cloned()
            .ok_or(CatalogueError::Stale)?;
        let document = &mut entry.document;
        let replaced = document.published.replace(lease.generation);
        document.status = DocumentStatus::Published;
        document.media_type = version.media_type;
        document.pages = version.pages;
        document.chunks = version.chunks;
        document.warnings = version.warnings;
        document.last_error = None;
        document.updated_at = now;
        entry.found_title = Some(version.title);
        if let Some(replaced) = replaced {
            state.statistics.remove(&(lease.document, replaced));
        }
        let tenant = entry.document.acl.tenant.clone();
        state
            .statistics
            .insert((lease.document, lease.generation), (tenant, version.statistics));
        let entry = entry.named();
        state.save(&entry);
        Ok(Flipped {
            replaced,
            acl_revision: entry.document.acl_revision,
        })
    }

    async fn fail(&self, lease: &Lease, error: JobError, now: OffsetDateTime) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let task = state.leased(lease)?;
        task.end(JobState::Failed, Some(error.clone()), now);
        let task = task.clone();
        state.give_up(&task, error, now);
        Ok(())
    }

    async fn retry(
        &self,
        lease: &Lease,
        error: JobError,
        not_before: OffsetDateTime,
        now: OffsetDateTime,
    ) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let task = state.leased(lease)?;
        task.not_before = not_before;
        task.end(JobState::Queued, Some(error), now);
        task.job.stage = Stage::Queued;
        (task.job.done, task.job.total) = (0, 0);
        Ok(())
    }

    async fn purged(&self, lease: &Lease, now: OffsetDateTime) -> CatalogueResult<()> {
        let mut state = lock(&self.state);
        let task = state.leased(lease)?;
        if task.job.kind != JobKind::Purge {
            return Err(CatalogueError::Stale);
        }
        task.end(JobState::Succeeded, None, now);
        state.statistics.remove(&(lease.document, lease.generation));
        let purges = |task: &Task| {
            let job = &task.job;
            job.document_id == lease.document && job.kind == JobKind::Purge && !job.state.is_final()
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

    async fn cancel(&self, scope: &Scope, job: JobId, now: OffsetDateTime) -> CatalogueResult<Option<Job>> {
        let mut state = lock(&self.state);
        let found = state.jobs.iter_mut().find(|task| task.job.id == job);
        let Some(task) = found.filter(|task| scope.admits(&task.acl)) else {
            return Ok(None);
        };
        if task.job.state.is_final() || task.job.kind == JobKind::Purge {
            return Ok(Some(task.job.clone()));
        }
        task.end(JobState::Cancelled, None, now);
        let task = task.clone();
        let error = JobError {
            code: "cancelled".into(),
            detail: "the ingestion was cancelled".into(),
            hint: "ingest the document again".into(),
        };
        state.give_up(&task, error, now);
        Ok(Some(task.job))
    }

    async fn document(&self, scope: &Scope, document: DocumentId) -> CatalogueResult<Option<Document>> {
        Ok(lock(&self.state)
            .seen(scope, document)
            .map(|entry| entry.document))
    }

    async fn documents(
        &self,
        scope: &Scope,
        filter: &DocumentFilter,
        page: &PageRequest,
    ) -> CatalogueResult<Page<Document>> {
        let state = lock(&self.state);
        let fits = |document: &Document| {
            filter.uri.as_ref().is_none_or(|uri| *uri == document.uri)
                && filter
                    .source
                    .as_ref()
                    .is_none_or(|source| *source == document.source)
                && filter
                    .collection
                    .as_ref()
                    .is_none_or(|collection| *collection == document.collection)
                && filter.status.is_none_or(|status| status == document.status)
        };
        let seen = state.documents.values().filter(|entry| entry.is_visible(scope));
        let fitting = seen
            .map(|entry| &entry.document)
            .filter(|document| fits(document));
        let mut items: Vec<_> = fitting
            .map(|document| (document_key(document), document.clone()))
            .collect();
        items.sort_by_key(|(key, _)| *key);
        paged(items, page, |item, cursor| item > cursor)
    }

    async fn standing(&self, documents: &[DocumentId]) -> CatalogueResult<Vec<Document>> {
        let state = lock(&self.state);
        let found = documents.iter().filter_map(|id| state.documents.get(id));
        let lives = |entry: &&Entry| entry.document.status != DocumentStatus::Deleting;
        Ok(found.filter(lives).map(|entry| entry.document.clone()).collect())
    }

    async fn job(&self, scope: &Scope, job: JobId) -> CatalogueResult<Option<Job>> {
        let state = lock(&self.state);
        let found = state
            .jobs
            .iter()
            .find(|task| task.job.id == job && scope.admits(&task.acl));
        Ok(found.map(|task| task.job.clone()))
    }

    async fn jobs(
        &self,
        scope: &Scope,
        filter: &JobFilter,
        page: &PageRequest,
    ) -> CatalogueResult<Page<Job>> {
        let state = lock(&self.state);
        let fits = |task: &&Task| {
            scope.admits(&task.acl)
                && filter.state.is_none_or(|state| state == task.job.state)
                && filter.kind.is_none_or(|kind| kind == task.job.kind)
        };
        let fitting = state.jobs.iter().filter(fits).map(|task| task.job.clone());
        let mut items: Vec<_> = fitting
            .map(|job| ((job.created_at.unix_timestamp_nanos(), job.id.0), job))
            .collect();
        items.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
        paged(items, page, |item, cursor| item < cursor)
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

    async fn setting(&self, key: &str) -> CatalogueResult<Option<String>> {
        Ok(lock(&self.state).settings.get(key).cloned())
    }

    async fn set_setting(&self, key: &str, value: &str) -> CatalogueResult<()> {
        lock(&self.state).settings.insert(key.into(), value.into());
        Ok(())
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
