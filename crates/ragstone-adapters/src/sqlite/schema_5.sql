-- The file of the published version: what is made again by another pipeline after a newer version failed.
alter table documents add column published_hash     blob;
alter table documents add column published_bytes    integer;
alter table documents add column published_name     text;
alter table documents add column published_declared text;

-- Where a newer version waits or failed, only that one's file is known.
update documents
set published_hash = content_hash, published_bytes = bytes, published_name = name, published_declared = declared_media_type
where published is not null and newest = 'published';
