-- Tokens that callers spent of the chat model, by day: days since 1970 in UTC.
create table token_usage (
    tenant  text not null,
    day     integer not null,
    subject text not null,
    tokens  integer not null,
    primary key (tenant, day, subject)
) without rowid, strict;

-- What requests with an idempotency key were answered.
create table answered_keys (
    tenant      text not null,
    subject     text not null,
    key         text not null,
    fingerprint blob not null,
    status      integer not null,
    body        text not null,
    answered_at integer not null,
    primary key (tenant, subject, key)
) strict;

create index answered_keys_by_age on answered_keys (answered_at);
create index answered_keys_of_caller on answered_keys (tenant, subject, answered_at);
