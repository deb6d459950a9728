-- Who syncs a source, and until when (nanoseconds since 1970 by this server's clock) nobody else does.
create table source_turns (
    source  uuid primary key,
    process uuid not null,
    until   bigint not null
);
