//! The ledger's side of the catalogue: leases, claims, progress, and what spends a job's patience.
//!
//! Invariant: when a job may run and when a lease runs out is judged by [`ClockReading::steady`] alone, so a clock that is set
//! back or forward neither loses nor stalls a job.

use std::time::Duration;

use time::OffsetDateTime;

use crate::document::{Document, Job, JobCounts, JobError, JobKind, JobStage, JobState};
use crate::id::{DocumentId, Generation, JobId};

/// Deaths of its process while a job ran alone, with no progress past them, after which it is `poisoned`.
pub const MAX_DEATHS: u32 = 5;
/// Turns of other jobs after which a suspect no longer lets them go first, so that a queue that never empties does not
/// keep it waiting for ever.
pub const SUSPECT_TURNS: u64 = 1_000;
/// Wait of a suspect after the first death that it is blamed for.
const SUSPECT_WAIT: Duration = Duration::from_secs(1);
/// How much longer each further one is. A process that is killed by something else every second or so for two minutes
/// leaves no job time to be blamed five times.
const SUSPECT_WAIT_GROWTH: u32 = 5;

/// What ran beside a job in its process when that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcurrentJobs {
    /// Nothing: the job is blamed for the death.
    None,
    /// Other jobs, or nobody knows.
    Others,
}

impl ConcurrentJobs {
    /// The company of each of `jobs` jobs that ran in one process.
    pub fn from_job_count(jobs: usize) -> Self {
        match jobs {
            0 | 1 => Self::None,
            _ => Self::Others,
        }
    }
}

/// How long a suspect waits after the `deaths`-th death that it is blamed for.
pub fn suspect_wait(deaths: u32) -> Duration {
    let growth = SUSPECT_WAIT_GROWTH.saturating_pow(deaths.saturating_sub(1));
    SUSPECT_WAIT.saturating_mul(growth)
}

/// A moment as one process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// For people: it may step back or jump.
    pub wall: OffsetDateTime,
    /// For leases and waits: time since the process started. It only grows, and means nothing to another process.
    pub steady: Duration,
}

/// The right to write for one job; stale as soon as another attempt, a cancel or a newer version exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLease {
    /// The job.
    pub job: JobId,
    /// Which claim of the job holds it; no two claims of a job share a number.
    pub attempt: u32,
    /// The document.
    pub document: DocumentId,
    /// The generation this attempt writes, drawn when it was claimed.
    pub generation: Generation,
}

/// How long a job waits for its next attempt, and what the last one cost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryDelay {
    /// It is not claimed before this has passed.
    pub delay: Duration,
    /// Whether the attempt counts as a failure; one that found a service away does not.
    pub counts_as_failure: bool,
}

impl RetryDelay {
    /// After an attempt that failed by itself.
    pub fn after_failure(time: Duration) -> Self {
        Self {
            delay: time,
            counts_as_failure: true,
        }
    }

    /// After an attempt that found something outside away or busy.
    pub fn after_outage(time: Duration) -> Self {
        Self {
            delay: time,
            counts_as_failure: false,
        }
    }
}

/// A claimed job with everything its worker needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedJob {
    /// The right to write.
    pub lease: JobLease,
    /// The job.
    pub job: Job,
    /// How many attempts ended with an error so far.
    pub failures: u32,
    /// Why it is to be ended in place of carried out: its process died too often over it.
    pub poisoned: Option<JobError>,
    /// The document as it stands.
    pub document: Document,
    /// File name of the version to ingest.
    pub name: String,
    /// The caller's title, if any.
    pub given_title: Option<String>,
    /// The declared media type, if any.
    pub declared_media_type: Option<String>,
    /// Where the original lies: the accepted bytes until the first attempt moved them, then the generation that has them.
    pub original: OriginalLocation,
}

impl ClaimedJob {
    /// The file name without its extension.
    pub fn file_stem(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem)
    }
}

/// Where a job finds the bytes of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginalLocation {
    /// At this key, where they were accepted.
    Incoming(String),
    /// At the final key of this generation.
    Stored(Generation),
}

/// How far a job is. A stage with one unit or none counts nothing: what was counted before stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobProgress {
    /// What it does.
    pub stage: JobStage,
    /// Units done.
    pub done: u64,
    /// Units in all, 0 while unknown.
    pub total: u64,
}

/// Which jobs are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<JobKind>,
    /// Of this batch.
    pub parent: Option<JobId>,
    /// Of this document.
    pub document: Option<DocumentId>,
}

/// What came of driving a job again.
#[derive(Debug, Clone, PartialEq)]
pub enum RequeueOutcome {
    /// It is queued again.
    Queued(Job),
    /// It waits, runs or succeeded: there is nothing to drive again.
    NotEnded(Job),
    /// Its document was begun again or deleted since.
    Superseded(Job),
}

/// Why a job whose process died [`MAX_DEATHS`] times while it ran alone is not tried again by itself.
pub fn build_poisoned_error(stage: JobStage, reached: u64) -> JobError {
    JobError {
        code: "poisoned".into(),
        detail: format!(
            "the process ended {MAX_DEATHS} times while it worked on this job and on no other, at the furthest in the \
             stage {stage} after {reached} units"
        ),
        hint: "look for what ends the process (too little memory, a crash in its log); once that is mended, `ragstone job \
               retry ID` runs it again, alone"
            .into(),
    }
}

/// A batch as its children stand; `stopped` once it was cancelled.
///
/// It runs while some of its children are at work or some have ended and some wait; it ended when all that it has so far
/// have ended, and goes on when one more is begun or driven again. Its units are its children.
pub fn aggregate_batch(batch: Job, children: JobCounts, stopped: bool) -> Job {
    let live = children.queued + children.running;
    let (state, stage) = match () {
        () if children.running > 0 || live > 0 && children.ended_total() > 0 => (JobState::Running, JobStage::Children),
        () if live > 0 => (JobState::Queued, JobStage::Queued),
        () if stopped => (JobState::Cancelled, JobStage::Done),
        () if children.failed > 0 => (JobState::Failed, JobStage::Done),
        () if children.cancelled > 0 => (JobState::Cancelled, JobStage::Done),
        () => (JobState::Succeeded, JobStage::Done),
    };
    let elapsed = (batch.updated_at - batch.created_at).as_seconds_f64();
    let ended = children.ended_total();
    Job {
        state,
        stage,
        done: ended,
        total: children.total(),
        rate: (state == JobState::Running && ended > 0 && elapsed > 0.0).then(|| ended as f64 / elapsed),
        error: (state == JobState::Failed).then(|| children_failed_error(&children)),
        children: Some(children),
        ..batch
    }
}

fn children_failed_error(children: &JobCounts) -> JobError {
    JobError {
        code: "children_failed".into(),
        detail: format!("{} of {} documents failed", children.failed, children.total()),
        hint: "list them with their reasons: `ragstone job list --parent ID --state failed`".into(),
    }
}
