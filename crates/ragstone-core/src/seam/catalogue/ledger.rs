//! The job ledger's types: leases, claims, progress, retries, and when a job is given up.
//!
//! Invariant: when a job may run and when a lease expires is decided by [`ClockReading::steady`] alone, so setting the
//! wall clock neither loses nor stalls a job.

use std::time::Duration;

use time::OffsetDateTime;

use crate::document::{Document, Job, JobCounts, JobError, JobKind, JobStage, JobState};
use crate::id::{DocumentId, Generation, JobId};

/// After so many deaths of its process while the job ran alone, without progress past them, the job is `poisoned`.
pub const MAX_DEATHS: u32 = 5;
/// After so many claims of other jobs a suspect no longer waits for them, so that a queue that never empties does not
/// starve it.
pub const SUSPECT_TURNS: u64 = 1_000;
/// Delay of a suspect after the first death that is attributed to it.
const SUSPECT_WAIT: Duration = Duration::from_secs(1);
/// Factor by which each further delay grows. The delays add up to over two minutes, so a process that something else
/// kills every second or so for that long does not poison a job.
const SUSPECT_WAIT_GROWTH: u32 = 5;

/// Which jobs ran in the same process when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcurrentJobs {
    /// No other job: the death is attributed to this job.
    None,
    /// Other jobs, or it is unknown.
    Others,
}

impl ConcurrentJobs {
    /// The value for each of `jobs` jobs that ran in one process.
    pub fn from_job_count(jobs: usize) -> Self {
        match jobs {
            0 | 1 => Self::None,
            _ => Self::Others,
        }
    }
}

/// Delay of a suspect after the `deaths`-th death that is attributed to it.
pub fn suspect_wait(deaths: u32) -> Duration {
    let growth = SUSPECT_WAIT_GROWTH.saturating_pow(deaths.saturating_sub(1));
    SUSPECT_WAIT.saturating_mul(growth)
}

/// The current time as one process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// Wall-clock time, for display: it may step back or jump.
    pub wall: OffsetDateTime,
    /// Time since the process started, for leases and delays. It never decreases and is meaningless to other processes.
    pub steady: Duration,
}

/// The right to write for one job; stale once another attempt, a cancellation or a newer version exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLease {
    /// Id of the job.
    pub job: JobId,
    /// Number of the claim; no two claims of a job share one.
    pub attempt: u32,
    /// Id of the job's document.
    pub document: DocumentId,
    /// The generation that this attempt writes, drawn at the claim.
    pub generation: Generation,
}

/// Delay before the next attempt of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryDelay {
    /// The job is not claimed before this time has passed.
    pub delay: Duration,
    /// Whether the attempt counts as a failure; false if an external service was unavailable.
    pub counts_as_failure: bool,
}

impl RetryDelay {
    /// Delay after an attempt that failed by itself; counts as a failure.
    pub fn after_failure(time: Duration) -> Self {
        Self {
            delay: time,
            counts_as_failure: true,
        }
    }

    /// Delay after an attempt that found an external service unavailable or busy; does not count as a failure.
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
    /// The lease to write under.
    pub lease: JobLease,
    /// The job as it is stored.
    pub job: Job,
    /// Number of attempts so far that ended with an error.
    pub failures: u32,
    /// Set if the job must be failed instead of run, because its process died too often during it.
    pub poisoned: Option<JobError>,
    /// The document in its current state.
    pub document: Document,
    /// File name of the version.
    pub name: String,
    /// Title given by the caller, if any.
    pub given_title: Option<String>,
    /// Media type declared by the sender, if any.
    pub declared_media_type: Option<String>,
    /// Location of the original: at its incoming key until the first attempt moves it to its generation's final key.
    pub original: OriginalLocation,
}

impl ClaimedJob {
    /// The file name without its extension.
    pub fn file_stem(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(stem, _)| stem)
    }
}

/// Where a job finds the original bytes of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginalLocation {
    /// At this blob key, where they were accepted.
    Incoming(String),
    /// At the final key of this generation.
    Stored(Generation),
}

/// Progress of a job. A stage with at most one unit does not change the count of earlier stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobProgress {
    /// The stage that the job is in.
    pub stage: JobStage,
    /// Units done in this stage.
    pub done: u64,
    /// Total units of this stage; 0 while unknown.
    pub total: u64,
}

/// Conditions for listing jobs; `None` does not restrict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobFilter {
    /// Only jobs in this state.
    pub state: Option<JobState>,
    /// Only jobs of this kind.
    pub kind: Option<JobKind>,
    /// Only children of this batch.
    pub parent: Option<JobId>,
    /// Only jobs of this document.
    pub document: Option<DocumentId>,
}

/// Result of queueing a job again.
#[derive(Debug, Clone, PartialEq)]
pub enum RequeueOutcome {
    /// The job is queued again.
    Queued(Job),
    /// The job waits, runs or succeeded: there is nothing to repeat.
    NotEnded(Job),
    /// A newer version of its document was begun, or the document was deleted.
    Superseded(Job),
}

/// The error of a job whose process died [`MAX_DEATHS`] times while it ran alone; only a person can retry it.
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

/// State and counts of a batch, from its children; `stopped` if the batch was cancelled.
///
/// A batch runs while some children run, or some have ended and some wait. It has ended when all its children so far
/// have ended, and resumes when a child is added or retried. Its units are its children.
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
