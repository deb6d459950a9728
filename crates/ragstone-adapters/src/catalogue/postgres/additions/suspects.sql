-- Jobs whose process died: claimed after all others, and alone.
alter table jobs add column suspect boolean not null default false;

create index jobs_suspected on jobs (state, place, sequence) where suspect;
