//! State machine of a job's attempts: the rules of the job ledger, shared by all catalogues.
//!
//! Invariant: a job gets closer to being given up only by errors whose [`RetryDelay`] counts them, and by deaths of a
//! process in which nothing else ran. Within an attempt progress never decreases.

use std::time::Duration;

use time::OffsetDateTime;

use super::ledger::{
    ClockReading, ConcurrentJobs, JobProgress, MAX_DEATHS, RetryDelay, build_poisoned_error, suspect_wait,
};
use crate::document::{Job, JobError, JobKind, JobStage, JobState, WorkerId};

/// What a ledger stores about a job's attempts beside the job itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptState {
    /// Number of claims; never reset, so that no two leases of a job are equal.
    pub claims: u32,
    /// Attempts that failed by themselves; outages are not counted.
    pub failures: u32,
    /// Deaths of its process while the job ran alone, since an attempt last got past `died`.
    pub deaths: u32,
    /// The furthest point at which its process died: stage, and units done in it.
    pub died: Option<(JobStage, u64)>,
    /// Whether its process died and no attempt got past that point since: the job is claimed after all others, and
    /// nothing is claimed beside it.
    pub suspect: bool,
    /// Units done by this attempt in its current stage.
    pub reached: u64,
    /// Steady time of the last recorded progress.
    pub noted_at: Duration,
    /// Start of the rate measurement: steady time, and units done by then.
    pub timed: Option<(Duration, u64)>,
    /// Steady time at which the lease expires; `None` unless a worker holds it.
    pub lease_until: Option<Duration>,
    /// Steady time before which the job is not claimed; zero means at once.
    pub due: Duration,
    /// Length of the last delay, and its end in wall-clock time; a restarted process derives `due` from it.
    pub wait: Option<(Duration, OffsetDateTime)>,
}

impl AttemptState {
    /// A worker claims the job.
    pub fn start_attempt(&mut self, job: &mut Job, worker: WorkerId, lease: Duration, now: ClockReading) {
        self.claims += 1;
        self.reached = 0;
        self.timed = None;
        self.noted_at = now.steady;
        self.lease_until = Some(now.steady + lease);
        (self.due, self.wait) = (Duration::ZERO, None);
        job.state = JobState::Running;
        job.stage = match job.kind {
            JobKind::Purge => JobStage::Purge,
            _ => JobStage::Load,
        };
        job.attempts += 1;
        job.worker = Some(worker);
        job.updated_at = now.wall;
    }

    /// Renews the lease; returns the time since the last recorded progress.
    pub fn extend_lease(&mut self, extend: Duration, now: ClockReading) -> Duration {
        self.lease_until = Some(now.steady + extend);
        now.steady.saturating_sub(self.noted_at)
    }

    /// Records the worker's progress. An outdated report changes nothing.
    pub fn record_progress(&mut self, job: &mut Job, progress: JobProgress, now: ClockReading) {
        let goes_on = progress.stage > job.stage;
        if progress.stage < job.stage || !goes_on && progress.done < self.reached {
            return;
        }
        if goes_on || progress.done > self.reached {
            self.noted_at = now.steady;
        }
        if goes_on {
            (job.stage, self.timed) = (progress.stage, None);
        }
        self.reached = progress.done;
        match progress.total > 1 {
            true => self.count_units(job, progress, goes_on, now),
            false if job.total <= 1 => {
                job.done = job.done.max(progress.done);
                job.total = job.total.max(progress.total);
            }
            false => {}
        }
        // `died` is kept: a job that dies a bit further on each time gets as many extra attempts as it has stages and
        // units, not infinitely many.
        if self.died.is_some_and(|died| (job.stage, self.reached) > died) {
            (self.deaths, self.suspect) = (0, false);
        }
        job.updated_at = now.wall;
    }

    fn count_units(&mut self, job: &mut Job, progress: JobProgress, goes_on: bool, now: ClockReading) {
        // With the same total, earlier attempts or stages have already done a part of these units.
        let before = if goes_on && job.total != progress.total {
            0
        } else {
            job.done
        };
        job.done = before.max(progress.done);
        job.total = progress.total.max(job.done);
        let (since, from) = *self.timed.get_or_insert((now.steady, progress.done));
        let elapsed = now.steady.saturating_sub(since).as_secs_f64();
        let units = progress.done.saturating_sub(from) as f64;
        job.rate = (elapsed > 0.0 && units > 0.0).then(|| units / elapsed);
    }

    /// Whether other jobs may have run beside this one, as far as its own row shows: none beside a suspect.
    pub fn concurrent_jobs(&self) -> ConcurrentJobs {
        match self.suspect {
            true => ConcurrentJobs::None,
            false => ConcurrentJobs::Others,
        }
    }

    /// Records that the process died. The job is queued again as a suspect, with a delay that grows with each death
    /// that is attributed to it. Once [`Self::poisoned_error`] is set it is not delayed: the worker that claims it
    /// fails it.
    pub fn record_death(&mut self, job: &mut Job, company: ConcurrentJobs, now: ClockReading) {
        let place = (job.stage, self.reached);
        self.died = self.died.max(Some(place));
        self.suspect = true;
        self.queue_job(job, now.wall);
        // A death beside other jobs is attributed to none of them, and as a suspect the job is claimed after all others
        // anyway.
        if company == ConcurrentJobs::None {
            self.deaths += 1;
            if self.deaths < MAX_DEATHS {
                self.set_delay(suspect_wait(self.deaths), now);
            }
        }
    }

    /// The error to end the job with, if its process died too often during it.
    pub fn poisoned_error(&self) -> Option<JobError> {
        let (stage, reached) = self.died.filter(|_| self.deaths >= MAX_DEATHS)?;
        Some(build_poisoned_error(stage, reached))
    }

    /// The worker shuts down: the job keeps its place, and the attempt is not counted.
    pub fn release_job(&mut self, job: &mut Job, now: OffsetDateTime) {
        job.attempts = job.attempts.saturating_sub(1);
        self.queue_job(job, now);
    }

    /// The attempt ended with an error; the next one starts after `wait`.
    pub fn schedule_retry(&mut self, job: &mut Job, error: JobError, wait: RetryDelay, now: ClockReading) {
        self.failures += u32::from(wait.counts_as_failure);
        self.queue_job(job, now.wall);
        job.error = Some(error);
        self.set_delay(wait.delay, now);
    }

    fn set_delay(&mut self, wait: Duration, now: ClockReading) {
        self.due = now.steady + wait;
        self.wait = Some((wait, now.wall + wait));
    }

    /// Retry requested by a person: all counts are reset. A suspect stays one, so that its next death affects no other
    /// job.
    pub fn requeue_job(&mut self, job: &mut Job, now: OffsetDateTime) {
        *self = Self {
            claims: self.claims,
            suspect: self.suspect,
            ..Self::default()
        };
        self.queue_job(job, now);
        (job.done, job.total, job.attempts, job.error) = (0, 0, 0, None);
    }

    /// Ends the job. A failed job keeps the stage in which it failed.
    pub fn end_job(&mut self, job: &mut Job, state: JobState, error: Option<JobError>, now: OffsetDateTime) {
        self.clear_lease(job, now);
        job.state = state;
        job.error = error;
        if state != JobState::Failed {
            job.stage = JobStage::Done;
        }
        if state == JobState::Succeeded {
            self.suspect = false;
            job.total = job.total.max(1);
            job.done = job.total;
        }
    }

    /// A new process restarts the delay that an earlier one began: the rest by the wall clock, at most the original
    /// length, so that a changed wall clock cannot stall the job.
    pub fn resume_wait(&mut self, now: ClockReading) {
        let left = self.wait.map(|(wait, until)| {
            let left = Duration::try_from(until - now.wall).unwrap_or_default();
            left.min(wait)
        });
        self.due = left.map_or(Duration::ZERO, |left| now.steady + left);
    }

    fn queue_job(&mut self, job: &mut Job, now: OffsetDateTime) {
        self.clear_lease(job, now);
        job.state = JobState::Queued;
        job.stage = JobStage::Queued;
    }

    fn clear_lease(&mut self, job: &mut Job, now: OffsetDateTime) {
        (self.lease_until, self.timed) = (None, None);
        (self.due, self.wait) = (Duration::ZERO, None);
        (job.worker, job.rate, job.updated_at) = (None, None, now);
    }
}

#[cfg(test)]
mod tests;
