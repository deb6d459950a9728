//! Effect of `begin_version` and similar calls on a document's row.

use time::OffsetDateTime;

use super::state::Entry;
use crate::document::BoundedMetadata;
use crate::seam::catalogue::{DocumentPatch, NewVersion};

pub fn born(version: NewVersion, life: u64, now: OffsetDateTime) -> Entry {
    Entry {
        life,
        document: version.to_document(now),
        begun: version,
        found_title: None,
        made_by: None,
        newest_failed: false,
        published_of: None,
        stored: None,
    }
    .named()
}

/// The row with the title, metadata and readers of `version`; its bytes are unchanged.
pub fn amended(entry: &Entry, version: NewVersion) -> Entry {
    let patch = DocumentPatch {
        title: None,
        metadata: Some(BoundedMetadata::from_stored(version.metadata.clone())),
        acl: Some(version.acl.clone()),
        department_id: Some(version.department_id.clone()),
        source_url: Some(version.source_url.clone()),
    };
    let mut entry = entry.clone();
    entry.begun.title = version.title;
    entry.patched(patch)
}

pub fn renewed(entry: &Entry, version: NewVersion, now: OffsetDateTime) -> Entry {
    let mut entry = amended(entry, version.clone());
    entry.newest_failed = false;
    version.begin_next_version(&mut entry.document, now);
    entry.begun = version;
    entry.stored = None;
    entry.named()
}

/// The row with the bytes of the published version as its newest again, for another pipeline.
pub fn made_again(entry: &Entry, pipeline: &str, now: OffsetDateTime) -> Entry {
    let mut entry = entry.clone();
    if let Some(published) = &entry.published_of {
        entry.begun.content_hash = published.content_hash;
        entry.begun.bytes = published.bytes;
        entry.begun.name.clone_from(&published.name);
        entry
            .begun
            .declared_media_type
            .clone_from(&published.declared_media_type);
        entry.document.content_hash = published.content_hash;
        entry.document.bytes = published.bytes;
    }
    entry.stored = entry.document.published;
    entry.begun.pipeline = pipeline.to_owned();
    entry.newest_failed = false;
    entry.document.updated_at = now;
    entry.named()
}
