//! The readers and fields of documents, brought to the points that stand for them.
//!
//! Invariant: no right is taken away here. Admission asks the catalogue; what fails here only delays a grant.

use std::sync::Arc;

use super::attachment_tree::list_nested_attachments;
use super::context::IngestContext;
use crate::document::Document;
use crate::id::DocumentId;
use crate::seam::catalogue::ClaimedJob;

/// Gives points the readers and fields of their documents.
pub(super) struct PointAccess {
    pub(super) context: Arc<IngestContext>,
}

impl PointAccess {
    /// Brings the points of a freshly published version up to an ACL that changed meanwhile.
    pub(super) async fn reload_point_access(&self, claim: &ClaimedJob) {
        self.update_listed_documents(&[claim.lease.document]).await;
    }

    /// Gives the points of the published version the document's readers and fields. A revocation holds without it (admission
    /// asks the catalogue); a grant is found once this is done.
    pub(super) async fn update_point_access(&self, document: &Document) {
        let Some(generation) = document.published else {
            return;
        };
        let fields = document.filter_fields();
        let index = &self.context.stores.index;
        let spread = index
            .set_access(document.id, generation, &document.acl, document.acl_revision, &fields)
            .await;
        if let Err(error) = spread {
            tracing::warn!(document = %document.id, %error, "readers not spread yet");
        }
    }

    /// Gives the points of everything in a mail the readers that it has from its mail.
    pub(super) async fn update_attachment_access(&self, mail: DocumentId) {
        let within = list_nested_attachments(self.context.stores.catalogue.as_ref(), mail).await;
        if !within.is_empty() {
            self.update_listed_documents(&within).await;
        }
    }

    async fn update_listed_documents(&self, listed: &[DocumentId]) {
        match self.context.stores.catalogue.documents_unchecked(listed).await {
            Ok(documents) => {
                for document in &documents {
                    self.update_point_access(document).await;
                }
            }
            Err(error) => tracing::warn!(documents = ?listed, %error, "readers not spread yet"),
        }
    }
}
