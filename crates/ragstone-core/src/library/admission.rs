//! Which hits a scope may see, by the catalogue's word.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::{Library, LibraryError};
use crate::access::Scope;
use crate::document::Document;
use crate::id::DocumentId;
use crate::seam::index::{DocumentGeneration, Hit};

/// Hits that passed, their documents, and the generations of hits that were out of date.
pub(super) struct Admission {
    pub documents: HashMap<DocumentId, Document>,
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

impl Library {
    /// Checks all hits with one catalogue query: published generation, tombstone, ACL.
    pub(super) async fn admit(&self, scope: &Scope, hits: Vec<Hit>) -> Result<Admission, LibraryError> {
        let mut ids: Vec<DocumentId> = hits.iter().map(|hit| hit.document).collect();
        ids.sort_unstable();
        ids.dedup();
        let documents = self.catalogue.standing(&ids).await?;
        let documents: HashMap<_, _> = documents
            .into_iter()
            .map(|document| (document.id, document))
            .collect();
        let mut admission = Admission {
            documents,
            hits: Vec::with_capacity(hits.len()),
            stale: Vec::new(),
        };
        let mut leaks = 0;
        for hit in hits {
            match judge(scope, admission.documents.get(&hit.document), &hit) {
                Verdict::Admitted => admission.hits.push(hit),
                Verdict::Stale => admission.stale.push((hit.document, hit.generation)),
                Verdict::Leaked => leaks += 1,
            }
        }
        self.alarms.note_leaks(leaks);
        self.alarms
            .stale
            .fetch_add(admission.stale.len() as u64, Ordering::Relaxed);
        admission.stale.sort_unstable();
        admission.stale.dedup();
        Ok(admission)
    }
}

fn judge(scope: &Scope, document: Option<&Document>, hit: &Hit) -> Verdict {
    match document {
        Some(document) if document.published == Some(hit.generation) => {
            match (
                scope.admits(&document.acl),
                document.acl_revision == hit.acl_revision,
            ) {
                (true, _) => Verdict::Admitted,
                (false, true) => Verdict::Leaked,
                (false, false) => Verdict::Stale,
            }
        }
        _ => Verdict::Stale,
    }
}
