//! What a begin makes of a document.

use time::OffsetDateTime;

use super::state::Entry;
use crate::document::{Document, DocumentStatus};
use crate::seam::catalogue::{DocumentPatch, NewVersion};

pub fn born(version: NewVersion, life: u64, now: OffsetDateTime) -> Entry {
    let begun = version.clone();
    let document = Document {
        id: version.document_id(),
        collection: version.collection,
        source: version.source,
        uri: version.uri,
        title: String::new(),
        media_type: version.declared_media_type.unwrap_or_default(),
        status: DocumentStatus::Pending,
        version: 1,
        published: None,
        content_hash: version.content_hash,
        bytes: version.bytes,
        pages: None,
        chunks: 0,
        acl: version.acl,
        acl_revision: 1,
        metadata: version.metadata,
        department_id: version.department_id,
        source_url: version.source_url,
        last_error: None,
        warnings: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    Entry {
        life,
        document,
        begun,
        found_title: None,
        made_by: None,
        newest_failed: false,
        stored: None,
    }
    .named()
}

/// `version` over the entry that has its place, with everything beside the bytes in force.
pub fn amended(entry: &Entry, version: NewVersion) -> Entry {
    let patch = DocumentPatch {
        title: None,
        metadata: Some(version.metadata.clone()),
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
    let document = &mut entry.document;
    document.version += 1;
    document.content_hash = version.content_hash;
    document.bytes = version.bytes;
    document.last_error = None;
    document.updated_at = now;
    if document.published.is_none() {
        document.status = DocumentStatus::Pending;
        document.media_type = version.declared_media_type.clone().unwrap_or_default();
    }
    entry.begun = version;
    entry.stored = None;
    entry.named()
}
