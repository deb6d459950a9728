//! Which hits a scope may see, by the catalogue's word.

use std::sync::atomic::Ordering;

use super::{Library, LibraryError};
use crate::access::Scope;
use crate::id::DocumentId;
use crate::seam::catalogue::DocumentAccess;
use crate::seam::index::{DocumentGeneration, Hit};

/// Hits that passed, and the generations of hits that were out of date.
pub(super) struct Admission {
    pub hits: Vec<Hit>,
    pub stale: Vec<DocumentGeneration>,
}

/// How a hit stands.
enum Verdict {
    Admitted,
    /// Of a replaced or deleted generation, or filtered by an older ACL.
    Stale,
    /// The index knew better and returned it all the same.
    Leaked,
}

/// What the catalogue says of the documents of some hits, by id, and whether the scope admits each.
struct Known(Vec<(DocumentAccess, bool)>);

impl Library {
    /// Checks all hits with one question to the catalogue: published generation, tombstone, ACL.
    pub(super) async fn admit(&self, scope: &Scope, mut hits: Vec<Hit>) -> Result<Admission, LibraryError> {
        let mut ids: Vec<DocumentId> = hits.iter().map(|hit| hit.document).collect();
        ids.sort_unstable();
        ids.dedup();
        let known = Known::new(scope, self.catalogue.access(&ids).await?);
        let (mut stale, mut leaks) = (Vec::new(), 0);
        hits.retain(|hit| match known.judge(hit) {
            Verdict::Admitted => true,
            Verdict::Stale => {
                stale.push((hit.document, hit.generation));
                false
            }
            Verdict::Leaked => {
                leaks += 1;
                false
            }
        });
        self.alarms.note_leaks(leaks);
        self.alarms.stale.fetch_add(stale.len() as u64, Ordering::Relaxed);
        stale.sort_unstable();
        stale.dedup();
        Ok(Admission { hits, stale })
    }
}

impl Known {
    fn new(scope: &Scope, mut documents: Vec<DocumentAccess>) -> Self {
        documents.sort_unstable_by_key(|document| document.id);
        let judged = |document: DocumentAccess| {
            let admits = scope.admits(&document.acl);
            (document, admits)
        };
        Self(documents.into_iter().map(judged).collect())
    }

    fn judge(&self, hit: &Hit) -> Verdict {
        let place = self.0.binary_search_by_key(&hit.document, |(document, _)| document.id);
        let Ok(place) = place else {
            return Verdict::Stale;
        };
        let (document, admits) = &self.0[place];
        match (admits, document.acl_revision == hit.acl_revision) {
            _ if document.published != Some(hit.generation) => Verdict::Stale,
            (true, _) => Verdict::Admitted,
            (false, true) => Verdict::Leaked,
            (false, false) => Verdict::Stale,
        }
    }
}
