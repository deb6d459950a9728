-- Finds the jobs whose records are old enough to be removed.
create index ended_jobs_by_age on jobs (updated_at, id) where state in ('succeeded', 'failed', 'cancelled');
