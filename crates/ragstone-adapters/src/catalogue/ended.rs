//! Which jobs that ended are still needed: the condition, whatever database evaluates it.
//!
//! Invariant: as long as a failed or cancelled job of a document is there, so is the document's newest job; else an old
//! failure would be taken for the newest and could be driven again.

/// Jobs `j` that may be driven again (the newest of a document that is there), or behind which an older one would be the
/// newest.
pub const IS_NEEDED: &str = "j.kind = 'ingest'
    and exists (select 1 from documents d where d.id = j.document and d.life = j.life and d.status <> 'deleting')
    and not exists (select 1 from jobs n where n.document = j.document and n.sequence > j.sequence)
    and exists (select 1 from jobs o where o.document = j.document and o.state in ('failed', 'cancelled'))";

/// Jobs `j` that are in a final state.
pub const HAS_ENDED: &str = "j.state in ('succeeded', 'failed', 'cancelled')";
