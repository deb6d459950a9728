-- Answers and what their askers said of them; record and rating are JSON. Times are nanoseconds since 1970.
create table answers (
    tenant   text not null,
    trace    text not null,
    subject  text not null,
    asked_at integer not null,
    record   text not null,
    rating   text,
    rated_at integer,
    primary key (tenant, trace)
) strict;

create index answers_by_age on answers (tenant, asked_at, trace);
create index answers_by_rating on answers (tenant, rated_at, trace) where rated_at is not null;
