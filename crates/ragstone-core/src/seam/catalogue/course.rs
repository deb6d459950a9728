//! How a job's attempts go: the rules of the ledger, shared by everything that stores one.
//!
//! Invariant: only an error that its [`RetryDelay`] says so of and the deaths of a process in which nothing else ran spend
//! anything; within an attempt progress never goes back.

use std::time::Duration;

use time::OffsetDateTime;

use super::ledger::{
    ClockReading, ConcurrentJobs, JobProgress, MAX_DEATHS, RetryDelay, build_poisoned_error, suspect_wait,
};
use crate::document::{Job, JobError, JobKind, JobStage, JobState, WorkerId};

/// What a ledger keeps of a job's attempts beside the job itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttemptState {
    /// Claims so far; never counted anew, so that no two leases are alike.
    pub claims: u32,
    /// Attempts that ended with an error of their own.
    pub failures: u32,
    /// Deaths of its process while it ran alone, with no attempt between them that got past `died`.
    pub deaths: u32,
    /// The furthest place at which its process died: the stage, and the units it had done.
    pub died: Option<(JobStage, u64)>,
    /// Whether its process died and no attempt got past that place since: it is claimed after all others, and nothing
    /// is claimed beside it.
    pub suspect: bool,
    /// Units that this attempt has done in its stage.
    pub reached: u64,
    /// Steady time of the last progress.
    pub noted_at: Duration,
    /// Steady time from which this attempt's units are counted, and how many there were then.
    pub timed: Option<(Duration, u64)>,
    /// Steady time at which the lease runs out; none unless a worker has it.
    pub lease_until: Option<Duration>,
    /// Steady time before which it is not claimed; zero means at once.
    pub due: Duration,
    /// How long its last wait was to be, and until when by the wall.
    pub wait: Option<(Duration, OffsetDateTime)>,
}

impl AttemptState {
    /// A worker takes the job.
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

    /// The worker lives; says how long ago it last noted progress.
    pub fn extend_lease(&mut self, extend: Duration, now: ClockReading) -> Duration {
        self.lease_until = Some(now.steady + extend);
        now.steady.saturating_sub(self.noted_at)
    }

    /// The worker says how far it is. A note that comes late changes nothing.
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
        // `died` stays: a job that dies further on each time gets no more chances than it has places.
        if self.died.is_some_and(|died| (job.stage, self.reached) > died) {
            (self.deaths, self.suspect) = (0, false);
        }
        job.updated_at = now.wall;
    }

    fn count_units(&mut self, job: &mut Job, progress: JobProgress, goes_on: bool, now: ClockReading) {
        // Of the same total an earlier attempt or stage did a part already.
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

    /// What runs beside the job while it is at work, as far as its own row tells: nothing beside a suspect.
    pub fn concurrent_jobs(&self) -> ConcurrentJobs {
        match self.suspect {
            true => ConcurrentJobs::None,
            false => ConcurrentJobs::Others,
        }
    }

    /// Its process is gone. The job is queued again as a suspect, after a wait that grows with each death that it is
    /// blamed for. Once it is [`Self::poisoned_error`] it does not wait: whoever claims it ends it.
    pub fn record_death(&mut self, job: &mut Job, company: ConcurrentJobs, now: ClockReading) {
        let place = (job.stage, self.reached);
        self.died = self.died.max(Some(place));
        self.suspect = true;
        self.queue_job(job, now.wall);
        // Who died in company is blamed for nothing yet, and its turn comes after the others' anyway.
        if company == ConcurrentJobs::None {
            self.deaths += 1;
            if self.deaths < MAX_DEATHS {
                self.set_delay(suspect_wait(self.deaths), now);
            }
        }
    }

    /// Why the job is not to be carried out any more, if its process died too often over it.
    pub fn poisoned_error(&self) -> Option<JobError> {
        let (stage, reached) = self.died.filter(|_| self.deaths >= MAX_DEATHS)?;
        Some(build_poisoned_error(stage, reached))
    }

    /// The worker is told to stop: the job waits in its old place.
    pub fn release_job(&mut self, job: &mut Job, now: OffsetDateTime) {
        job.attempts = job.attempts.saturating_sub(1);
        self.queue_job(job, now);
    }

    /// The attempt ended with an error; the next one comes after `wait`.
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

    /// Driven again by hand: everything is counted anew. A suspect stays one, so it cannot take others along.
    pub fn requeue_job(&mut self, job: &mut Job, now: OffsetDateTime) {
        *self = Self {
            claims: self.claims,
            suspect: self.suspect,
            ..Self::default()
        };
        self.queue_job(job, now);
        (job.done, job.total, job.attempts, job.error) = (0, 0, 0, None);
    }

    /// The job ends. One that failed keeps the stage in which it did.
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

    /// A new process counts a wait that an earlier one began: what is left of it by the wall, and never more than it
    /// was, whatever the wall says.
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
