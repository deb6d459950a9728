//! Which documents came in a mail, and where in it.

use crate::id::DocumentId;
use crate::seam::Catalogue;

/// Files that are taken out of one mail: out of one that came by itself, out of one in it. A mail in that one is read,
/// and nothing is taken out of it.
pub(super) const MAX_ATTACHMENTS_BY_DEPTH: [usize; 2] = [100, 20];

/// What is attached to a mail, and to that, the mail's own first.
pub(super) async fn list_nested_attachments(catalogue: &dyn Catalogue, mail: DocumentId) -> Vec<DocumentId> {
    let (mut found, mut next) = (Vec::new(), vec![mail]);
    for _ in 0..=MAX_ATTACHMENTS_BY_DEPTH.len() {
        let mut below = Vec::new();
        for &document in &next {
            match catalogue.list_attachments(document).await {
                Ok(attached) => below.extend(attached.iter().map(|one| one.document)),
                Err(error) => tracing::warn!(%document, %error, "its attachments are not known"),
            }
        }
        found.extend(&below);
        next = below;
    }
    found
}
