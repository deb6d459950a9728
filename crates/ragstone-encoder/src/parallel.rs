//! Parallel work on scoped threads that exist only during one call.
//!
//! There is no pool and no queue shared by calls, so a question never waits for a batch of passages; a single job runs
//! on the caller's thread. Starting a thread costs some twenty microseconds, a job some tens of milliseconds.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `work` on every job with at most `threads` threads and returns the results in the order of the jobs.
pub(super) fn map_parallel<J: Sync, R: Send, S>(
    threads: usize,
    jobs: &[J],
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&J, &mut S) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut scratch = scratch();
        let mut done = Vec::new();
        while let Some((index, job)) = take_job(&next, jobs) {
            done.push((index, work(job, &mut scratch)));
        }
        done
    };
    let mut results = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads.min(jobs.len())).map(|_| scope.spawn(worker)).collect();
        let mut results = worker();
        for helper in helpers {
            results.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take_job<'j, J>(next: &AtomicUsize, jobs: &'j [J]) -> Option<(usize, &'j J)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    jobs.get(index).map(|job| (index, job))
}

/// Groups neighbouring texts of these lengths into runs; a run ends as soon as it has at least `tokens` tokens.
pub(super) fn split_into_runs(lengths: impl Iterator<Item = usize>, tokens: usize) -> Vec<std::ops::Range<usize>> {
    let (mut runs, mut start, mut end, mut sum) = (Vec::new(), 0, 0, 0);
    for length in lengths {
        end += 1;
        sum += length;
        if sum >= tokens {
            runs.push(start..end);
            (start, sum) = (end, 0);
        }
    }
    if start < end {
        runs.push(start..end);
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        for threads in [0, 1, 3, 64] {
            let jobs: Vec<usize> = (0..20).collect();
            assert_eq!(
                map_parallel(threads, &jobs, || (), |job, ()| job * 2),
                (0..40).step_by(2).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn one_job_stays_on_the_callers_thread() {
        let here = std::thread::current().id();
        assert_eq!(
            map_parallel(8, &[()], || (), |(), ()| std::thread::current().id()),
            [here]
        );
    }

    #[test]
    fn runs_close_when_they_have_enough() {
        let one: Vec<Range<usize>> = std::iter::once(0..1).collect();
        for (lengths, expected) in [
            (vec![], vec![]),
            (vec![5], one),
            (vec![200, 10, 100, 10, 20], vec![0..1, 1..4, 4..5]),
        ] {
            assert_eq!(split_into_runs(lengths.into_iter(), 120), expected);
        }
    }
}
