//! Checks hits against the catalogue, which decides what a scope may see.

use std::sync::atomic::Ordering;

use super::{Library, LibraryError};
use crate::access::Scope;
use crate::id::DocumentId;
use crate::seam::catalogue::DocumentAccess;
use crate::seam::index::{DocumentGeneration, IndexHit};

/// Hits that passed, and the generations of outdated hits.
pub(super) struct AdmittedHits {
    pub hits: Vec<IndexHit>,
    pub stale: Vec<DocumentGeneration>,
}

/// Result of the check of one hit.
enum HitVerdict {
    Admitted,
    /// It belongs to a replaced or deleted generation, or the index filtered it by an older ACL.
    Stale,
    /// The index has the current ACL, which refuses the caller, and returned the hit all the same.
    Leaked,
}

/// The catalogue's entries for the documents of some hits, sorted by id, and whether the scope admits each.
struct AccessVerdicts(Vec<(DocumentAccess, bool)>);

impl Library {
    /// Checks all hits with one call to the catalogue: published generation, tombstone, ACL.
    pub(super) async fn admit_hits(
        &self,
        scope: &Scope,
        mut hits: Vec<IndexHit>,
    ) -> Result<AdmittedHits, LibraryError> {
        let mut ids: Vec<DocumentId> = hits.iter().map(|hit| hit.document).collect();
        ids.sort_unstable();
        ids.dedup();
        let known = AccessVerdicts::new(scope, self.catalogue.get_document_access(&ids).await?);
        let (mut stale, mut leaks) = (Vec::new(), 0);
        hits.retain(|hit| match known.judge_hit(hit) {
            HitVerdict::Admitted => true,
            HitVerdict::Stale => {
                stale.push((hit.document, hit.generation));
                false
            }
            HitVerdict::Leaked => {
                leaks += 1;
                false
            }
        });
        self.alarms.record_leaks(leaks);
        self.alarms.stale.fetch_add(stale.len() as u64, Ordering::Relaxed);
        stale.sort_unstable();
        stale.dedup();
        Ok(AdmittedHits { hits, stale })
    }
}

impl AccessVerdicts {
    fn new(scope: &Scope, mut documents: Vec<DocumentAccess>) -> Self {
        documents.sort_unstable_by_key(|document| document.id);
        let judged = |document: DocumentAccess| {
            let admits = scope.admits(&document.acl);
            (document, admits)
        };
        Self(documents.into_iter().map(judged).collect())
    }

    fn judge_hit(&self, hit: &IndexHit) -> HitVerdict {
        let place = self.0.binary_search_by_key(&hit.document, |(document, _)| document.id);
        let Ok(place) = place else {
            return HitVerdict::Stale;
        };
        let (document, admits) = &self.0[place];
        match (admits, document.acl_revision == hit.acl_revision) {
            _ if document.published != Some(hit.generation) => HitVerdict::Stale,
            (true, _) => HitVerdict::Admitted,
            (false, true) => HitVerdict::Leaked,
            (false, false) => HitVerdict::Stale,
        }
    }
}
