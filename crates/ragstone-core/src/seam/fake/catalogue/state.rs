//! State of the in-memory catalogue, and the steps that its methods share.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use time::OffsetDateTime;

use super::version::{amended, born, renewed};
use crate::access::{Acl, Scope};
use crate::document::{BoundedMetadata, Document, DocumentStatus, Job, JobCounts, JobError, JobKind, JobState};
use crate::id::{DocumentId, Generation, JobId, SourceName, TenantId};
use crate::seam::catalogue::{
    AttemptState, BeginOutcome, CatalogueError, CatalogueResult, ClockReading, ConcurrentJobs, DocumentPatch, JobLease,
    NewVersion, SUSPECT_TURNS, StatisticsDelta, aggregate_batch,
};

#[derive(Debug, Default)]
pub struct State {
    drawn: u64,
    /// Queue position of the job claimed last: no job is put before it.
    turn: u64,
    pub documents: BTreeMap<DocumentId, Entry>,
    pub jobs: Vec<Task>,
    pub statistics: BTreeMap<(DocumentId, Generation), (TenantId, StatisticsDelta)>,
    pub settings: HashMap<String, String>,
    /// What a document is attached to, and the generation that brought it last.
    pub attached: BTreeMap<DocumentId, (DocumentId, Generation)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub life: u64,
    pub document: Document,
    pub begun: NewVersion,
    pub found_title: Option<String>,
    /// The pipeline of the published version.
    pub made_by: Option<String>,
    pub newest_failed: bool,
    /// What the published version was begun as.
    pub published_of: Option<NewVersion>,
    /// The generation whose final key holds the bytes of the newest begin.
    pub stored: Option<Generation>,
}

impl Entry {
    pub fn named(mut self) -> Self {
        let title = self.begun.title.as_ref().or(self.found_title.as_ref());
        self.document.title = title.unwrap_or(&self.begun.name).clone();
        self
    }

    pub fn is_visible(&self, scope: &Scope) -> bool {
        self.document.status != DocumentStatus::Deleting && scope.admits(&self.document.acl)
    }

    pub fn patched(mut self, patch: DocumentPatch) -> Self {
        let document = &mut self.document;
        if let Some(acl) = patch.acl.filter(|acl| *acl != document.acl) {
            document.acl = acl;
            document.acl_revision += 1;
        }
        if let Some(metadata) = patch.metadata {
            document.metadata = metadata.into_inner();
        }
        document.department_id = patch.department_id.unwrap_or(document.department_id.take());
        document.source_url = patch.source_url.unwrap_or(document.source_url.take());
        self.begun.title = patch.title.or(self.begun.title);
        self.named()
    }
}

#[derive(Debug, Clone)]
pub struct Task {
    pub job: Job,
    pub course: AttemptState,
    pub life: u64,
    pub source: SourceName,
    pub acl: Acl,
    /// Its turn in the queue.
    place: u64,
    /// Of a batch: whether it was cancelled.
    pub stopped: bool,
}

impl Task {
    pub fn end(&mut self, state: JobState, error: Option<JobError>, now: OffsetDateTime) {
        self.course.end_job(&mut self.job, state, error, now);
    }

    fn is_of(&self, document: DocumentId) -> bool {
        self.job.document_id == Some(document)
    }

    fn waits(&self, now: ClockReading) -> bool {
        self.job.kind != JobKind::Batch && self.job.state == JobState::Queued && self.course.due <= now.steady
    }
}

impl State {
    pub fn draw(&mut self) -> Generation {
        self.drawn += 1;
        Generation(self.drawn)
    }

    pub fn highest_drawn(&self) -> Generation {
        Generation(self.drawn)
    }

    pub fn seen(&self, scope: &Scope, document: DocumentId) -> Option<Entry> {
        self.documents
            .get(&document)
            .filter(|entry| entry.is_visible(scope))
            .cloned()
    }

    pub fn save(&mut self, entry: &Entry) {
        for task in &mut self.jobs {
            if task.is_of(entry.document.id) && task.life == entry.life {
                task.acl = entry.document.acl.clone();
            }
        }
        self.documents.insert(entry.document.id, entry.clone());
        self.hand_down(&entry.document);
    }

    /// Copies readers, metadata, department and source URL of a document to its attachments.
    fn hand_down(&mut self, mail: &Document) {
        let of_mail = |(id, (of, _)): (&DocumentId, &(DocumentId, Generation))| (*of == mail.id).then_some(*id);
        let within: Vec<_> = self.attached.iter().filter_map(of_mail).collect();
        for id in within {
            let living = self.documents.get(&id).cloned();
            let Some(entry) = living.filter(|entry| entry.document.status != DocumentStatus::Deleting) else {
                continue;
            };
            let given = entry.clone().patched(DocumentPatch {
                title: None,
                metadata: Some(BoundedMetadata::from_stored(mail.metadata.clone())),
                acl: Some(mail.acl.clone()),
                department_id: Some(mail.department_id.clone()),
                source_url: Some(mail.source_url.clone()),
            });
            if given != entry {
                self.save(&given);
            }
        }
    }

    /// Begins a version over the existing document, or finds that there is nothing to do.
    pub fn put(
        &mut self,
        version: NewVersion,
        admits: impl Fn(&Acl) -> bool,
        job: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<BeginOutcome> {
        let id = version.document_id();
        let living = self.documents.get(&id).cloned();
        let living = living.filter(|entry| entry.document.status != DocumentStatus::Deleting);
        let holds = |entry: &Entry| {
            let (new, old) = (&version, &entry.begun);
            !entry.newest_failed
                && (new.content_hash, &new.name, &new.pipeline) == (old.content_hash, &old.name, &old.pipeline)
        };
        let entry = match living {
            Some(entry) if holds(&entry) => {
                let mut changed = amended(&entry, version);
                if changed == entry {
                    return Ok(BeginOutcome::Unchanged(entry.document));
                }
                changed.document.updated_at = now;
                self.save(&changed);
                return Ok(BeginOutcome::Updated(changed.document));
            }
            Some(entry) => renewed(&entry, version, now),
            None => born(version, self.draw().0, now),
        };
        if let Some(batch) = entry.begun.batch {
            self.join(admits, &entry, batch, now)?;
        }
        self.cancel_ingests(id, now);
        self.save(&entry);
        let job = self.queue(&entry, job, JobKind::Ingest, entry.begun.batch, now);
        Ok(BeginOutcome::Started(entry.document, job))
    }

    /// Tombstones a document and queues its purge.
    pub fn bury_document(&mut self, mut entry: Entry, job: JobId, now: OffsetDateTime) -> Job {
        let document = entry.document.id;
        self.cancel_ingests(document, now);
        entry.document.status = DocumentStatus::Deleting;
        entry.document.updated_at = now;
        let published = entry.document.published.unwrap_or(Generation(0));
        self.statistics.remove(&(document, published));
        self.attached.remove(&document);
        self.save(&entry);
        self.queue(&entry, job, JobKind::Purge, None, now)
    }

    pub fn queue(
        &mut self,
        entry: &Entry,
        id: JobId,
        kind: JobKind,
        parent: Option<JobId>,
        now: OffsetDateTime,
    ) -> Job {
        let generation = self.draw();
        let mut job = Job::new_queued(id, kind, None, now);
        (job.document_id, job.parent, job.generation) = (Some(entry.document.id), parent, generation);
        let mut task = Task {
            job: job.clone(),
            course: AttemptState::default(),
            life: entry.life,
            source: entry.document.source.clone(),
            acl: entry.document.acl.clone(),
            place: 0,
            stopped: false,
        };
        task.place = self.last_place(&task);
        self.jobs.push(task);
        job
    }

    /// Behind everything that waits of the same tenant and source, and behind what was claimed.
    fn last_place(&self, new: &Task) -> u64 {
        let of_lane = |task: &&Task| {
            task.job.state == JobState::Queued
                && task.course.wait.is_none()
                && (&task.acl.tenant, &task.source) == (&new.acl.tenant, &new.source)
        };
        let lane = self.jobs.iter().filter(of_lane).map(|task| task.place).max();
        lane.unwrap_or(0).max(self.turn) + 1
    }

    /// The next job in turn: a suspect after all others, and alone.
    pub fn next(&mut self, now: ClockReading) -> Option<&mut Task> {
        for n in 0..self.jobs.len() {
            let task = &self.jobs[n];
            if task.course.wait.is_some() && task.waits(now) {
                let place = self.last_place(task);
                self.jobs[n].place = place;
                self.jobs[n].course.wait = None;
            }
        }
        let next = self.next_place(now)?;
        let next = &mut self.jobs[next];
        self.turn = self.turn.max(next.place);
        Some(next)
    }

    fn next_place(&self, now: ClockReading) -> Option<usize> {
        let running = |task: &&Task| task.job.kind != JobKind::Batch && task.job.state == JobState::Running;
        if self.jobs.iter().filter(running).any(|task| task.course.suspect) {
            return None;
        }
        let first = |suspect: bool| {
            let ready = |(_, task): &(usize, &Task)| task.waits(now) && task.course.suspect == suspect;
            // Of equal places the first one wins.
            self.jobs
                .iter()
                .enumerate()
                .filter(ready)
                .min_by_key(|(_, task)| task.place)
        };
        let (innocent, suspect) = (first(false).map(|(n, _)| n), first(true));
        match suspect {
            None => innocent,
            Some((_, suspect)) if innocent.is_some() && suspect.place + SUSPECT_TURNS >= self.turn => innocent,
            Some((n, _)) => (!self.jobs.iter().any(|task| running(&task))).then_some(n),
        }
    }

    /// The batch `id` for a caller whom `admits` lets see it, begun if nobody has.
    fn join(
        &mut self,
        admits: impl Fn(&Acl) -> bool,
        entry: &Entry,
        id: JobId,
        now: OffsetDateTime,
    ) -> CatalogueResult<()> {
        let Some(task) = self.jobs.iter().find(|task| task.job.id == id) else {
            self.jobs.push(Task {
                job: Job::new_queued(id, JobKind::Batch, None, now),
                course: AttemptState::default(),
                life: 0,
                source: entry.document.source.clone(),
                acl: entry.document.acl.clone(),
                place: 0,
                stopped: false,
            });
            return Ok(());
        };
        match task.job.kind == JobKind::Batch && !task.stopped && admits(&task.acl) {
            true => Ok(()),
            false => Err(CatalogueError::BatchTaken),
        }
    }

    pub fn cancel_ingests(&mut self, document: DocumentId, now: OffsetDateTime) {
        for task in &mut self.jobs {
            if task.is_of(document) && task.job.kind == JobKind::Ingest && !task.job.state.is_final() {
                task.end(JobState::Cancelled, None, now);
            }
        }
    }

    pub fn leased(&mut self, lease: &JobLease) -> CatalogueResult<&mut Task> {
        let holds = |task: &&mut Task| {
            let job = &task.job;
            job.state == JobState::Running
                && (job.id, task.course.claims) == (lease.job, lease.attempt)
                && (job.document_id, job.generation) == (Some(lease.document), lease.generation)
        };
        self.jobs.iter_mut().find(holds).ok_or(CatalogueError::Stale)
    }

    pub fn give_up(&mut self, task: &Task, error: JobError, now: OffsetDateTime) {
        if task.job.kind == JobKind::Ingest
            && let Some(entry) = task.job.document_id.and_then(|id| self.documents.get_mut(&id))
        {
            entry.newest_failed = true;
            entry.document.last_error = Some(error);
            entry.document.updated_at = now;
            if entry.document.status == DocumentStatus::Pending {
                entry.document.status = DocumentStatus::Failed;
            }
        }
    }

    /// Records the death of workers: their running jobs are queued again as suspects.
    pub fn bury(
        &mut self,
        dead: impl Fn(&Task) -> bool,
        company: impl Fn(&Task) -> ConcurrentJobs,
        now: ClockReading,
    ) -> u64 {
        let mut count = 0;
        for task in &mut self.jobs {
            if task.job.kind == JobKind::Batch || task.job.state != JobState::Running || !dead(task) {
                continue;
            }
            count += 1;
            let company = company(task);
            task.course.record_death(&mut task.job, company, now);
        }
        count
    }

    /// How many jobs are at work.
    pub fn running(&self) -> usize {
        let running = |task: &&Task| task.job.kind != JobKind::Batch && task.job.state == JobState::Running;
        self.jobs.iter().filter(running).count()
    }

    /// Cancels the job if it is an ingestion that has not ended.
    pub fn cancel(&mut self, id: JobId, now: OffsetDateTime) {
        let found = self.jobs.iter_mut().find(|task| task.job.id == id);
        let Some(task) = found.filter(|task| task.job.kind == JobKind::Ingest && !task.job.state.is_final()) else {
            return;
        };
        task.end(JobState::Cancelled, None, now);
        let task = task.clone();
        let error = JobError {
            code: "cancelled".into(),
            detail: "the ingestion was cancelled".into(),
            hint: "`ragstone job retry ID`, or ingest the document again".into(),
        };
        self.give_up(&task, error, now);
    }

    /// Whether the document of a job is still the one that it was for.
    pub fn is_superseded(&self, task: &Task) -> bool {
        if task.job.kind == JobKind::Purge {
            return false;
        }
        let later = |other: &&Task| other.job.document_id == task.job.document_id;
        let newest = self.jobs.iter().rfind(later);
        let entry = task.job.document_id.and_then(|id| self.documents.get(&id));
        newest.is_none_or(|newest| newest.job.id != task.job.id)
            || entry.is_none_or(|entry| entry.life != task.life || entry.document.status == DocumentStatus::Deleting)
    }

    /// Queues a failed or cancelled job again.
    pub fn redrive(&mut self, id: JobId, now: OffsetDateTime) {
        let Some(n) = self.jobs.iter().position(|task| task.job.id == id) else {
            return;
        };
        let place = self.last_place(&self.jobs[n]);
        let task = &mut self.jobs[n];
        task.course.requeue_job(&mut task.job, now);
        task.place = place;
        let document = task.job.document_id;
        if task.job.kind == JobKind::Ingest
            && let Some(entry) = document.and_then(|id| self.documents.get_mut(&id))
        {
            entry.newest_failed = false;
            entry.document.last_error = None;
            entry.document.updated_at = now;
            if entry.document.status == DocumentStatus::Failed {
                entry.document.status = DocumentStatus::Pending;
            }
        }
    }

    /// Removes jobs that ended before `before`, batches with their children.
    pub fn remove_ended_jobs(&mut self, before: OffsetDateTime, most: usize) -> u64 {
        let is_over = |task: &Task| task.job.state.is_final() && task.job.updated_at < before && !self.is_needed(task);
        let is_batch = |task: &&Task| task.job.kind == JobKind::Batch;
        let is_over_whole = |batch: &&Task| {
            let mut children = self.jobs.iter().filter(|child| child.job.parent == Some(batch.job.id));
            batch.job.created_at < before && children.all(is_over)
        };
        let batches = self.jobs.iter().filter(is_batch).filter(is_over_whole);
        let mut gone: Vec<JobId> = batches.take(most).map(|batch| batch.job.id).collect();
        let stays = |id: JobId| self.jobs.iter().any(|task| task.job.id == id) && !gone.contains(&id);
        let alone = |task: &&Task| !task.job.parent.is_some_and(stays);
        let ended = self.jobs.iter().filter(|task| !is_batch(task) && is_over(task));
        let ended: Vec<JobId> = ended.filter(alone).take(most).map(|task| task.job.id).collect();
        gone.extend(ended);
        self.jobs.retain(|task| !gone.contains(&task.job.id));
        gone.len() as u64
    }

    /// Whether an ended job may be retried, or its removal would make an older job appear as the newest.
    fn is_needed(&self, task: &Task) -> bool {
        let is_missed = |task: &Task| matches!(task.job.state, JobState::Failed | JobState::Cancelled);
        let of_document = |other: &&Task| other.job.document_id == task.job.document_id;
        !self.is_superseded(task)
            && task.job.kind == JobKind::Ingest
            && self.jobs.iter().filter(of_document).any(is_missed)
    }

    /// The children of a batch that `scope` admits.
    pub fn children(&self, scope: &Scope, batch: JobId) -> Vec<Task> {
        let of_batch = |task: &&Task| task.job.parent == Some(batch) && scope.admits(&task.acl);
        self.jobs.iter().filter(of_batch).cloned().collect()
    }

    /// The job as others see it.
    pub fn shown(&self, task: &Task) -> Job {
        let job = task.job.clone();
        if job.kind != JobKind::Batch {
            return job;
        }
        let children = || self.jobs.iter().filter(|child| child.job.parent == Some(job.id));
        let updated_at = children().map(|child| child.job.updated_at).max();
        let mut counts = JobCounts::default();
        children().for_each(|child| *counts.count_mut(child.job.state) += 1);
        let job = Job {
            updated_at: updated_at.unwrap_or(job.updated_at),
            ..job
        };
        aggregate_batch(job, counts, task.stopped)
    }

    pub fn found(&self, scope: &Scope, job: JobId) -> Option<Task> {
        let found = self.jobs.iter().find(|task| task.job.id == job);
        found.filter(|task| scope.admits(&task.acl)).cloned()
    }

    /// All jobs that `scope` sees, newest first.
    pub fn listed(&self, scope: &Scope) -> Vec<Job> {
        let seen = self.jobs.iter().filter(|task| scope.admits(&task.acl));
        let mut jobs: Vec<_> = seen.map(|task| self.shown(task)).collect();
        jobs.sort_by_key(|job| Reverse((job.created_at, job.id)));
        jobs
    }

    pub fn counted(&self, tenant: &TenantId) -> impl Iterator<Item = &StatisticsDelta> {
        let of_tenant = move |(owner, _): &&(TenantId, StatisticsDelta)| owner == tenant;
        self.statistics.values().filter(of_tenant).map(|(_, delta)| delta)
    }
}
