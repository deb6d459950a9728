//! What a sync has to do about each item, and what it does about all of them first: whoever lost the right to read
//! something loses it before any bytes are asked for.

use super::one::SyncRun;
use super::source_job_error;
use crate::document::{JobError, SourceUrl};
use crate::id::DocumentId;
use crate::seam::CatalogueError;
use crate::seam::catalogue::DocumentPatch;
use crate::seam::source::{DocumentSource, ItemAccess, ItemContent, SourceError, SourceItem};

/// What is to be done about an item, once everybody who lost it has lost it.
pub(super) enum ItemPlan {
    /// Its bytes are wanted; `moved` if its document says already what else is new.
    Fetch { moved: bool },
    /// Its bytes are as they were.
    Keep { moved: bool },
    /// Nobody may read it, for who may is not known.
    Closed(JobError),
}

impl SyncRun<'_> {
    /// Tells the documents that are there who may read them and where they are, before any bytes are asked for: who
    /// lost the right to one does not keep it for as long as a sync takes.
    pub(super) async fn apply_access_changes(&self, items: &[SourceItem]) -> Result<Vec<ItemPlan>, CatalogueError> {
        let mut plans = Vec::with_capacity(items.len());
        for item in items {
            let known = self.before.get(&item.key);
            // An item that a sync which was cut off took in is not known, but its document is there.
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

    /// Whether an item's document is there, and whether it was told something new.
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

/// The bytes of an item, if they are wanted.
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
