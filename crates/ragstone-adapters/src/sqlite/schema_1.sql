-- Times are nanoseconds since 1970 in UTC, ids 16 bytes, sets and maps JSON.

create table settings (
    key   text primary key,
    value text not null
) without rowid, strict;

-- Numbers that only ever grow, also over documents that come and go.
create table counters (
    name  text primary key,
    value integer not null
) without rowid, strict;

insert into counters (name, value) values ('generation', 0);

create table documents (
    id                  blob primary key,
    tenant              text not null,
    collection          text not null,
    source              text not null,
    uri                 text not null,
    -- Drawn when the URI was begun; jobs of an earlier life carry another one.
    life                integer not null,
    status              text not null,
    -- Whether the newest begin is pending, published or failed.
    newest              text not null,
    version             integer not null,
    -- The published generation and what is known of it.
    published           integer,
    published_pipeline  text,
    published_title     text,
    media_type          text not null,
    pages               integer,
    chunks              integer not null,
    warnings            text not null,
    -- The newest begin.
    name                text not null,
    given_title         text,
    declared_media_type text,
    content_hash        blob not null,
    bytes               integer not null,
    -- Where its bytes wait, until the generation in `stored` has them at its final key.
    incoming            text not null,
    stored              integer,
    pipeline            text not null,
    acl                 text not null,
    acl_revision        integer not null,
    metadata            text not null,
    department_id       text,
    source_url          text,
    last_error          text,
    created_at          integer not null,
    updated_at          integer not null
) strict;

create index documents_by_age on documents (tenant, created_at, id);
create index documents_by_uri on documents (tenant, uri);

create table jobs (
    -- The order in which they were queued.
    sequence    integer primary key,
    id          blob not null unique,
    kind        text not null,
    document    blob not null,
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
    attempts    integer not null,
    error       text,
    not_before  integer not null,
    created_at  integer not null,
    updated_at  integer not null
) strict;

create index jobs_by_document on jobs (document);
create index jobs_by_age on jobs (tenant, created_at, id);
create index jobs_waiting on jobs (sequence) where state = 'queued';
create index jobs_running on jobs (sequence) where state = 'running';

-- What each published generation adds to its tenant's statistics.
create table statistics (
    document   blob not null,
    generation integer not null,
    tenant     text not null,
    delta      blob not null,
    primary key (document, generation)
) without rowid, strict;

-- Changes that are not in the totals yet.
create table statistics_changes (
    sequence integer primary key,
    tenant   text not null,
    sign     integer not null,
    delta    blob not null
) strict;

create table statistics_totals (
    tenant text primary key,
    total  blob not null
) strict;

-- The embedded index. A group is the points of one generation that share everything but their chunk.
create table point_groups (
    id           integer primary key,
    document     blob not null,
    generation   integer not null,
    collection   text not null,
    visible      integer not null,
    acl          text not null,
    acl_revision integer not null,
    fields       text not null
) strict;

create index point_groups_by_generation on point_groups (document, generation);

-- What is searched; opening the index reads these rows and no others.
create table points (
    id          integer primary key,
    point       blob not null unique,
    chunk       blob not null,
    point_group integer not null references point_groups (id),
    ordinal     integer not null,
    gate        real not null,
    dense       blob,
    sparse      blob not null
) strict;

create index points_in_order on points (point_group, ordinal);

-- What is shown.
create table point_texts (
    id          integer primary key references points (id),
    range_start integer not null,
    range_end   integer not null,
    page        integer,
    section     text,
    text        text not null
) strict;

create table point_tokens (
    id     integer primary key references points (id),
    tokens blob not null
) strict;
