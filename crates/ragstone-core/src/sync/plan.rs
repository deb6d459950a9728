//! What a sync has to do about each item, and what it does about all of them first: whoever lost the right to read
//! something loses it before any bytes are asked for.

use super::one::Sync;
use super::trouble;
use crate::document::{JobError, SourceUrl};
use crate::id::DocumentId;
use crate::seam::CatalogueError;
use crate::seam::catalogue::DocumentPatch;
use crate::seam::source::{Access, Content, Item, Source, SourceError};

/// What is to be done about an item, once everybody who lost it has lost it.
pub(super) enum Plan {
    /// Its bytes are wanted; `moved` if its document says already what else is new.
    Fetch { moved: bool },
    /// Its bytes are as they were.
    Keep { moved: bool },
    /// Nobody may read it, for who may is not known.
    Closed(JobError),
}

impl Sync<'_> {
    /// Tells the documents that are there who may read them and where they are, before any bytes are asked for: who
    /// lost the right to one does not keep it for as long as a sync takes.
    pub(super) async fn tell_access(&self, items: &[Item]) -> Result<Vec<Plan>, CatalogueError> {
        let mut plans = Vec::with_capacity(items.len());
        for item in items {
            let known = self.before.get(&item.key);
            // An item that a sync which was cut off took in is not known, but its document is there.
            let uri = match known {
                Some(known) => Some(&known.uri),
                None => Some(&item.uri).filter(|uri| !self.taken.contains(*uri)),
            };
            let (is_there, moved) = match uri {
                Some(uri) => self.tell_document(self.id(uri), item).await?,
                None => (false, false),
            };
            let is_same = known.is_some_and(|known| known.marker.is_some() && known.marker == item.marker);
            plans.push(match &item.access {
                Access::Unknown(error) => Plan::Closed(trouble(error)),
                _ if is_there && is_same => Plan::Keep { moved },
                _ => Plan::Fetch { moved },
            });
        }
        Ok(plans)
    }

    /// Whether an item's document is there, and whether it was told something new.
    async fn tell_document(&self, id: DocumentId, item: &Item) -> Result<(bool, bool), CatalogueError> {
        let found = self.syncer.catalogue.document(&self.principal.scope(), id).await?;
        let Some(document) = found else {
            return Ok((false, false));
        };
        let acl = self.acl(item);
        let title = item.title.as_ref().filter(|title| **title != document.title);
        let source_url = SourceUrl::of_text(item.source_url.as_deref());
        let patch = DocumentPatch {
            title: title.cloned(),
            source_url: (document.source_url != source_url).then_some(source_url),
            acl: (document.acl != acl).then_some(acl),
            ..DocumentPatch::default()
        };
        let moved = patch != DocumentPatch::default();
        if moved {
            self.syncer.ingestor.patch(&self.principal, id, patch).await?;
        }
        Ok((true, moved))
    }
}

/// The bytes of an item, if they are wanted.
pub(super) async fn fetched(source: &dyn Source, item: &Item, plan: &Plan) -> Option<Result<Content, SourceError>> {
    match plan {
        Plan::Fetch { .. } => Some(source.fetch(item).await),
        Plan::Keep { .. } | Plan::Closed(_) => None,
    }
}
