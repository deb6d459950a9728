-- Runs of evaluation sets; fingerprint and outcome are JSON that only their reader knows. Times are seconds since 1970.
create table evaluation_runs (
    tenant      text not null,
    name        text not null,
    fingerprint text not null,
    finished    integer not null,
    started_at  integer not null,
    primary key (tenant, name)
) without rowid, strict;

create table evaluation_outcomes (
    tenant   text not null,
    run      text not null,
    question text not null,
    outcome  text not null,
    primary key (tenant, run, question),
    foreign key (tenant, run) references evaluation_runs (tenant, name) on delete cascade
) strict;
