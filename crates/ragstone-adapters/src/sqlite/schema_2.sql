-- Leases, deaths and turns of jobs, and batches. Steady times are nanoseconds since the process that wrote them
-- started; a new process makes them anew (`take_back`).

create table jobs_with_leases (
    -- The order in which they were queued.
    sequence    integer primary key,
    id          blob not null unique,
    kind        text not null,
    -- None for a batch.
    document    blob,
    parent      blob,
    life        integer not null,
    -- Its document's, kept so that a purge can be followed to its end.
    tenant      text not null,
    source      text not null,
    acl         text not null,
    generation  integer not null,
    state       text not null,
    stage       text not null,
    done        integer not null,
    total       integer not null,
    rate        real,
    attempts    integer not null,
    error       text,
    created_at  integer not null,
    updated_at  integer not null,
    -- Its turn among tenants and sources.
    place       integer not null,
    -- Steady time before which it is not claimed: 0 at once, -1 never (a batch).
    due         integer not null,
    -- Length of the wait that `due` ends, and its end by the wall.
    wait        integer,
    wait_until  integer,
    -- Who works on it, and the steady time at which the lease runs out.
    process     integer,
    worker      integer,
    lease_until integer,
    -- Claims, ever; errors and deaths since it was queued or driven again.
    claims      integer not null,
    failures    integer not null,
    deaths      integer not null,
    died_stage  text,
    died_at     integer,
    -- Of this attempt: units in its stage, steady time of its last progress, and since when and from where it counts.
    reached     integer not null,
    noted_at    integer not null,
    timed_since integer,
    timed_from  integer
) strict;

insert into jobs_with_leases
select sequence, id, kind, document, null, life, tenant, source, acl, generation, state, stage, done, total, null,
       attempts, error, created_at, updated_at,
       case state when 'queued' then row_number() over (partition by tenant, source, state order by sequence) else 0 end,
       0, null, null, null, null, null, attempts,
       -- Attempts were errors and deaths alike.
       case when state in ('queued', 'running') and error is not null then max(attempts - (state = 'running'), 0) else 0 end,
       0, null, null, 0, 0, null, null
from jobs;

drop table jobs;
alter table jobs_with_leases rename to jobs;

create index jobs_by_document on jobs (document, sequence);
create index jobs_by_age on jobs (tenant, created_at, id);
create index jobs_by_state on jobs (tenant, state, created_at, id);
create index jobs_by_parent on jobs (parent, created_at, id) where parent is not null;
create index jobs_ready on jobs (place, sequence) where state = 'queued' and due = 0;
create index jobs_in_lane on jobs (tenant, source, place) where state = 'queued' and due = 0;
create index jobs_waiting on jobs (due) where state = 'queued' and due > 0;
create index jobs_leased on jobs (lease_until) where lease_until is not null;

-- The place of the job claimed last.
insert into counters (name, value) values ('turn', 0);

create table job_counts (
    tenant text not null,
    state  text not null,
    jobs   integer not null,
    primary key (tenant, state)
) without rowid, strict;

insert into job_counts (tenant, state, jobs) select tenant, state, count(*) from jobs group by tenant, state;

-- How the children of a batch stand, and so the batch.
create table batches (
    id        blob primary key,
    stopped   integer not null default 0,
    queued    integer not null default 0,
    running   integer not null default 0,
    succeeded integer not null default 0,
    failed    integer not null default 0,
    cancelled integer not null default 0,
    ended     integer generated always as (succeeded + failed + cancelled) virtual,
    total     integer generated always as (queued + running + succeeded + failed + cancelled) virtual,
    state     text generated always as (case
        when running > 0 or queued > 0 and succeeded + failed + cancelled > 0 then 'running'
        when queued > 0 then 'queued'
        when stopped then 'cancelled'
        when failed > 0 then 'failed'
        when cancelled > 0 then 'cancelled'
        else 'succeeded' end) virtual
) without rowid, strict;

create trigger jobs_counted_in after insert on jobs when new.kind <> 'batch' begin
    insert into job_counts (tenant, state, jobs) values (new.tenant, new.state, 1)
    on conflict (tenant, state) do update set jobs = jobs + 1;
end;

create trigger jobs_counted_on after update of state on jobs when new.kind <> 'batch' and new.state <> old.state begin
    update job_counts set jobs = jobs - 1 where tenant = old.tenant and state = old.state;
    insert into job_counts (tenant, state, jobs) values (new.tenant, new.state, 1)
    on conflict (tenant, state) do update set jobs = jobs + 1;
end;

create trigger jobs_counted_out after delete on jobs when old.kind <> 'batch' begin
    update job_counts set jobs = jobs - 1 where tenant = old.tenant and state = old.state;
end;

create trigger children_counted_in after insert on jobs when new.parent is not null begin
    update batches set
        queued = queued + (new.state = 'queued'), running = running + (new.state = 'running'),
        succeeded = succeeded + (new.state = 'succeeded'), failed = failed + (new.state = 'failed'),
        cancelled = cancelled + (new.state = 'cancelled')
    where id = new.parent;
    update jobs set updated_at = new.updated_at,
        (state, done, total) = (select state, ended, total from batches where id = new.parent)
    where id = new.parent;
end;

create trigger children_counted_on after update of state on jobs
when new.parent is not null and new.state <> old.state begin
    update batches set
        queued = queued + (new.state = 'queued') - (old.state = 'queued'),
        running = running + (new.state = 'running') - (old.state = 'running'),
        succeeded = succeeded + (new.state = 'succeeded') - (old.state = 'succeeded'),
        failed = failed + (new.state = 'failed') - (old.state = 'failed'),
        cancelled = cancelled + (new.state = 'cancelled') - (old.state = 'cancelled')
    where id = new.parent;
    update jobs set updated_at = new.updated_at,
        (state, done, total) = (select state, ended, total from batches where id = new.parent)
    where id = new.parent;
end;

create trigger children_counted_out after delete on jobs when old.parent is not null begin
    update batches set
        queued = queued - (old.state = 'queued'), running = running - (old.state = 'running'),
        succeeded = succeeded - (old.state = 'succeeded'), failed = failed - (old.state = 'failed'),
        cancelled = cancelled - (old.state = 'cancelled')
    where id = old.parent;
    update jobs set (state, done, total) = (select state, ended, total from batches where id = old.parent)
    where id = old.parent;
end;

create trigger batches_stopped after update of stopped on batches when new.stopped <> old.stopped begin
    update jobs set state = new.state where id = new.id;
end;
