-- The subject of the writer who brought a document's first version; null where an administrator or a source did, or where
-- nobody noted it.
alter table documents add column brought_by text;
