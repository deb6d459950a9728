//! Plans what a sync does with each item, after it has applied the access changes of all items: a revoked reader loses
//! access before any bytes are fetched.

use super::one::SyncRun;
use super::source_job_error;
use crate::document::{JobError, SourceUrl};
use crate::id::DocumentId;
use crate::seam::CatalogueError;
use crate::seam::catalogue::DocumentPatch;
use crate::seam::source::{DocumentSource, ItemAccess, ItemContent, SourceError, SourceItem};

/// What to do with an item once its access changes are applied.
pub(super) enum ItemPlan {
    /// Fetch its bytes; `moved` if its document was already changed in other respects.
    Fetch { moved: bool },
    /// Its bytes are unchanged; `moved` as above.
    Keep { moved: bool },
    /// Nobody may read it, because its access rights are not known.
    Closed(JobError),
}

impl SyncRun<'_> {
    /// Applies changes of access, title and address to existing documents before any bytes are fetched, so that a
    /// revoked reader does not keep access for as long as a sync takes. Returns one plan per item.
    pub(super) async fn apply_access_changes(&self, items: &[SourceItem]) -> Result<Vec<ItemPlan>, CatalogueError> {
        let mut plans = Vec::with_capacity(items.len());
        for item in items {
            let known = self.before.get(&item.key);
            // An item taken in by an interrupted sync has no saved state, but its document exists.
            let uri = match known {
                Some(known) => Some(&known.uri),
                None => Some(&item.uri).filter(|uri| !self.taken.contains(*uri)),
            };
            let (is_there, moved) = match uri {
                Some(uri) => self.apply_item_changes(self.document_id(uri), item).await?,
                None => (false, false),
            };
            let is_same = known.is_some_and(|known| known.marker.is_some() && known.marker == item.marker);
            plans.push(match &item.access {
                ItemAccess::Unknown(error) => ItemPlan::Closed(source_job_error(error)),
                _ if is_there && is_same => ItemPlan::Keep { moved },
                _ => ItemPlan::Fetch { moved },
            });
        }
        Ok(plans)
    }

    /// Applies the changes of one item. Returns whether its document exists, and whether it was changed.
    async fn apply_item_changes(&self, id: DocumentId, item: &SourceItem) -> Result<(bool, bool), CatalogueError> {
        let found = self.syncer.catalogue.get_document(&self.principal.scope(), id).await?;
        let Some(document) = found else {
            return Ok((false, false));
        };
        let acl = self.item_acl(item);
        let title = item.title.as_ref().filter(|title| **title != document.title);
        let source_url = SourceUrl::from_text(item.source_url.as_deref());
        let patch = DocumentPatch {
            title: title.cloned(),
            source_url: (document.source_url != source_url).then_some(source_url),
            acl: (document.acl != acl).then_some(acl),
            ..DocumentPatch::default()
        };
        let moved = patch != DocumentPatch::default();
        if moved {
            self.syncer
                .ingestor
                .uploads()
                .patch_document(&self.principal, id, patch)
                .await?;
        }
        Ok((true, moved))
    }
}

/// Fetches the bytes of an item, if its plan needs them.
pub(super) async fn fetch_content(
    source: &dyn DocumentSource,
    item: &SourceItem,
    plan: &ItemPlan,
) -> Option<Result<ItemContent, SourceError>> {
    match plan {
        ItemPlan::Fetch { .. } => Some(source.fetch_item(item).await),
        ItemPlan::Keep { .. } | ItemPlan::Closed(_) => None,
    }
}
