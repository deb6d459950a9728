-- Finds the documents of a source whose newest version could not be published.
create index documents_with_error on documents (tenant, source) where last_error is not null;
