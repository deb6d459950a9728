-- API keys. Rows are never removed: that there ever was a key keeps the API closed to callers without.
create table api_keys (
    id           text primary key,
    -- BLAKE3 of the key's text, keyed by the setting `api_key_pepper`.
    hash         blob not null,
    name         text not null,
    tenant       text not null,
    role         text not null,
    readers      text not null,
    subject      text not null,
    created_at   integer not null,
    expires_at   integer,
    revoked_at   integer,
    last_used_at integer,
    -- The key that took its place.
    successor    text
) without rowid, strict;

create index api_keys_by_age on api_keys (created_at, id);
create index api_keys_of_tenant_by_age on api_keys (tenant, created_at, id);
