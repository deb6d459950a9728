-- Places that documents come from; record, last sync and memory are JSON that only their reader knows.
create table sources (
    tenant    text collate "C" not null,
    name      text collate "C" not null,
    id        uuid not null,
    record    text not null,
    last_sync text,
    memory    text not null default '{}',
    primary key (tenant, name),
    unique (tenant, id)
);
