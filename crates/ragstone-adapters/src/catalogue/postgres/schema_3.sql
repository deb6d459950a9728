-- Answers and what their askers said of them; record and rating are JSON. Times are nanoseconds since 1970.
create table answers (
    tenant   text collate "C" not null,
    trace    uuid not null,
    subject  text collate "C" not null,
    asked_at bigint not null,
    record   text not null,
    rating   text,
    rated_at bigint,
    primary key (tenant, trace)
);

create index answers_by_age on answers (tenant, asked_at, trace);
create index answers_by_rating on answers (tenant, rated_at, trace) where rated_at is not null;
