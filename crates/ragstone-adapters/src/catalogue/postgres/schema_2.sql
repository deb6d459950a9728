-- Evaluation runs, and what each question of one came to.
create table evaluation_runs (
    tenant      text collate "C" not null,
    name        text collate "C" not null,
    fingerprint text not null,
    finished    boolean not null,
    -- Seconds since 1970.
    started_at  bigint not null,
    primary key (tenant, name)
);

create table evaluation_outcomes (
    tenant   text collate "C" not null,
    run      text collate "C" not null,
    question text collate "C" not null,
    outcome  text not null,
    primary key (tenant, run, question),
    foreign key (tenant, run) references evaluation_runs (tenant, name) on delete cascade
);
