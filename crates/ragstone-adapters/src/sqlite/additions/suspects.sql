-- Jobs whose process died: claimed after all others, and alone.
alter table jobs add column suspect integer not null default 0;

create index jobs_suspected on jobs (state, place, sequence) where suspect = 1;
