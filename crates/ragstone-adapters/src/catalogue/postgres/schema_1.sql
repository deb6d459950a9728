-- Times are nanoseconds since 1970 in UTC, sets and maps JSON as text, which keeps what jsonb would change. Names are
-- compared byte by byte, so that orders and cursors do not hang on a locale.

create table settings (
    key   text collate "C" primary key,
    value text not null
);

-- Numbers that only ever grow, also over documents that come and go. A sequence is drawn from without a lock, and what
-- a transaction drew before it failed is drawn by nobody else.
create sequence generations;

-- The place of the job claimed last.
create sequence turns minvalue 0 start 0;

-- Whoever holds this row does the upkeep; others go on without.
create table upkeep (held boolean primary key);
insert into upkeep values (true);

create table documents (
    id                  uuid primary key,
    tenant              text collate "C" not null,
    collection          text collate "C" not null,
    source              text collate "C" not null,
    uri                 text collate "C" not null,
    -- Drawn when the URI was begun; jobs of an earlier life carry another one.
    life                bigint not null,
    status              text not null,
    -- Whether the newest begin is pending, published or failed.
    newest              text not null,
    version             bigint not null,
    -- The published generation and what is known of it.
    published           bigint,
    published_pipeline  text,
    published_title     text,
    -- Its file: what is made again by another pipeline after a newer version failed.
    published_hash      bytea,
    published_bytes     bigint,
    published_name      text,
    published_declared  text,
    media_type          text not null,
    pages               bigint,
    chunks              bigint not null,
    warnings            text not null,
    -- The newest begin.
    name                text not null,
    given_title         text,
    declared_media_type text,
    content_hash        bytea not null,
    bytes               bigint not null,
    -- Where its bytes wait, until the generation in `stored` has them at its final key.
    incoming            text not null,
    stored              bigint,
    pipeline            text not null,
    acl                 text not null,
    acl_revision        bigint not null,
    metadata            text not null,
    department_id       text,
    source_url          text,
    last_error          text,
    created_at          bigint not null,
    updated_at          bigint not null
);

create index documents_by_age on documents (tenant, created_at, id);
-- By its hash: a URI may be longer than a B-tree takes.
create index documents_by_uri on documents using hash (uri);

create table jobs (
    id          uuid primary key,
    -- The order in which they were queued.
    sequence    bigint generated always as identity,
    kind        text not null,
    -- None for a batch.
    document    uuid,
    parent      uuid,
    life        bigint not null,
    -- Its document's, kept so that a purge can be followed to its end.
    tenant      text collate "C" not null,
    source      text collate "C" not null,
    acl         text not null,
    generation  bigint not null,
    state       text not null,
    stage       text not null,
    done        bigint not null,
    total       bigint not null,
    rate        double precision,
    attempts    bigint not null,
    error       text,
    created_at  bigint not null,
    updated_at  bigint not null,
    -- Its turn among tenants and sources.
    place       bigint not null,
    -- Time by this server's clock before which it is not claimed: 0 at once, -1 never (a batch).
    due         bigint not null,
    -- Length of the wait that `due` ends, and its end by its worker's clock.
    wait        bigint,
    wait_until  bigint,
    -- Who works on it: whose process (see `PostgresOptions`), and the time by this server's clock at which the lease
    -- runs out.
    holder      uuid,
    process     bigint,
    worker      bigint,
    lease_until bigint,
    -- Claims, ever; errors and deaths since it was queued or driven again.
    claims      bigint not null,
    failures    bigint not null,
    deaths      bigint not null,
    died_stage  text,
    died_at     bigint,
    -- Of this attempt: units in its stage, time of its last progress, and since when and from where it counts.
    reached     bigint not null,
    noted_at    bigint not null,
    timed_since bigint,
    timed_from  bigint
);

create index jobs_by_document on jobs (document, sequence);
create index jobs_by_age on jobs (tenant, created_at, id);
create index jobs_by_state on jobs (tenant, state, created_at, id) where kind <> 'batch';
create index jobs_of_batches on jobs (tenant, created_at, id) where kind = 'batch';
create index jobs_by_parent on jobs (parent, created_at, id) where parent is not null;
create index jobs_ready on jobs (place, sequence) where state = 'queued' and due = 0;
create index jobs_in_lane on jobs (tenant, source, place) where state = 'queued' and due = 0;
create index jobs_waiting on jobs (due, sequence) where state = 'queued' and due > 0;
create index jobs_leased on jobs (lease_until) where lease_until is not null;
create index jobs_held on jobs (holder) where holder is not null;

-- Whoever queues a job of a tenant and source holds its row, so that no two jobs of a lane get one place.
create table lanes (
    tenant text collate "C" not null,
    source text collate "C" not null,
    primary key (tenant, source)
);

-- How many jobs of a tenant are in each state, and how the children of a batch stand: totals, and changes that are not
-- in the totals yet. Changes are only ever added, so that no job's transaction waits for another one's.
create table job_totals (
    tenant text collate "C" not null,
    state  text not null,
    jobs   bigint not null,
    primary key (tenant, state)
);

create table batches (
    id         uuid primary key,
    stopped    boolean not null default false,
    queued     bigint not null default 0,
    running    bigint not null default 0,
    succeeded  bigint not null default 0,
    failed     bigint not null default 0,
    cancelled  bigint not null default 0,
    -- When a child changed last.
    changed_at bigint not null default 0
);

create table job_changes (
    sequence bigint generated always as identity primary key,
    tenant   text collate "C" not null,
    parent   uuid,
    state    text not null,
    jobs     bigint not null,
    at       bigint not null
);

create index job_changes_of_tenant on job_changes (tenant);
create index job_changes_of_batch on job_changes (parent) where parent is not null;

create function note_new_job() returns trigger language plpgsql as $$
begin
    insert into job_changes (tenant, parent, state, jobs, at)
    values (new.tenant, new.parent, new.state, 1, new.updated_at);
    return null;
end $$;

create function note_moved_job() returns trigger language plpgsql as $$
begin
    insert into job_changes (tenant, parent, state, jobs, at)
    values (new.tenant, new.parent, old.state, -1, new.updated_at),
           (new.tenant, new.parent, new.state, 1, new.updated_at);
    return null;
end $$;

create trigger jobs_counted_in after insert on jobs for each row
when (new.kind <> 'batch') execute function note_new_job();

create trigger jobs_counted_on after update of state on jobs for each row
when (new.kind <> 'batch' and new.state <> old.state) execute function note_moved_job();

-- How each batch stands. The states are those of the seam's `summed`.
create view batch_standing as
select s.*, case
        when running > 0 or queued > 0 and succeeded + failed + cancelled > 0 then 'running'
        when queued > 0 then 'queued'
        when stopped then 'cancelled'
        when failed > 0 then 'failed'
        when cancelled > 0 then 'cancelled'
        else 'succeeded' end as state
from (
    select b.id, b.stopped, b.queued + c.queued as queued, b.running + c.running as running,
           b.succeeded + c.succeeded as succeeded, b.failed + c.failed as failed,
           b.cancelled + c.cancelled as cancelled, greatest(b.changed_at, c.changed_at) as changed_at
    from batches b cross join lateral (
        select coalesce(sum(jobs) filter (where x.state = 'queued'), 0)::bigint as queued,
               coalesce(sum(jobs) filter (where x.state = 'running'), 0)::bigint as running,
               coalesce(sum(jobs) filter (where x.state = 'succeeded'), 0)::bigint as succeeded,
               coalesce(sum(jobs) filter (where x.state = 'failed'), 0)::bigint as failed,
               coalesce(sum(jobs) filter (where x.state = 'cancelled'), 0)::bigint as cancelled,
               coalesce(max(x.at), 0) as changed_at
        from job_changes x where x.parent = b.id
    ) c
) s;

-- What each published generation adds to its tenant's statistics.
create table statistics (
    document   uuid not null,
    generation bigint not null,
    tenant     text collate "C" not null,
    delta      bytea not null,
    primary key (document, generation)
);

-- Changes that are not in the totals yet. Processes follow them by the transaction that wrote them: what is below the
-- oldest one that runs is all there.
create table statistics_changes (
    sequence bigint generated always as identity primary key,
    xact     bigint not null default pg_current_xact_id()::text::bigint,
    tenant   text collate "C" not null,
    sign     bigint not null,
    delta    bytea not null
);

create index statistics_changes_by_transaction on statistics_changes (xact);

create table statistics_totals (
    tenant text collate "C" primary key,
    total  bytea not null
);

-- One row. Another epoch means that changes went into the totals: whoever follows the changes begins again.
create table statistics_epoch (epoch bigint not null);
insert into statistics_epoch values (0);

-- API keys. Rows are never removed: that there ever was a key keeps the API closed to callers without.
create table api_keys (
    id           text collate "C" primary key,
    -- BLAKE3 of the key's text, keyed by the setting `api_key_pepper`.
    hash         bytea not null,
    name         text not null,
    tenant       text collate "C" not null,
    role         text not null,
    readers      text not null,
    subject      text not null,
    created_at   bigint not null,
    expires_at   bigint,
    revoked_at   bigint,
    last_used_at bigint,
    -- The key that took its place.
    successor    text collate "C"
);

create index api_keys_by_age on api_keys (created_at, id);
create index api_keys_of_tenant_by_age on api_keys (tenant, created_at, id);

-- Tokens that callers spent of the chat model, by day: days since 1970 in UTC.
create table token_usage (
    tenant  text collate "C" not null,
    day     bigint not null,
    subject text collate "C" not null,
    tokens  bigint not null,
    primary key (tenant, day, subject)
);

-- What requests with an idempotency key were answered.
create table answered_keys (
    sequence    bigint generated always as identity,
    tenant      text collate "C" not null,
    subject     text collate "C" not null,
    key         text collate "C" not null,
    fingerprint bytea not null,
    status      bigint not null,
    body        text not null,
    answered_at bigint not null,
    primary key (tenant, subject, key)
);

create index answered_keys_by_age on answered_keys (answered_at);
create index answered_keys_of_caller on answered_keys (tenant, subject, answered_at, sequence);
