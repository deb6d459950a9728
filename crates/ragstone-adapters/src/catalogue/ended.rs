//! Which ended jobs are still needed: the SQL condition that both databases use.
//!
//! Invariant: as long as a failed or cancelled job of a document exists, so does the document's newest job; otherwise
//! an old failure would be taken for the newest and could be retried.

/// Jobs `j` that can be retried (the newest of an existing document), or without which an older one would become the
/// newest.
pub const IS_NEEDED: &str = "j.kind = 'ingest'
    and exists (select 1 from documents d where d.id = j.document and d.life = j.life and d.status <> 'deleting')
    and not exists (select 1 from jobs n where n.document = j.document and n.sequence > j.sequence)
    and exists (select 1 from jobs o where o.document = j.document and o.state in ('failed', 'cancelled'))";

/// Jobs `j` in a final state.
pub const HAS_ENDED: &str = "j.state in ('succeeded', 'failed', 'cancelled')";
