//! Rules of `begin` and `patch` for a document, independent of the database.

use ragstone_core::access::Scope;
use ragstone_core::document::{BoundedMetadata, Document, DocumentStatus};
use ragstone_core::seam::catalogue::{DocumentPatch, NewVersion};
use time::OffsetDateTime;

use super::stored::{NewestVersionState, StoredDocument};

/// Whether `scope` may see `document` at all.
pub fn is_visible(document: &Document, scope: &Scope) -> bool {
    document.status != DocumentStatus::Deleting && scope.admits(&document.acl)
}

/// Whether the newest `begin` already has, or will have, the content of `version`.
pub fn has_same_content(stored: &StoredDocument, version: &NewVersion) -> bool {
    stored.newest != NewestVersionState::Failed
        && stored.document.content_hash == version.content_hash
        && stored.name == version.name
        && stored.pipeline == version.pipeline
}

/// The metadata of an upload, as a patch. Unlike a patch, it can also remove the title.
pub struct MetadataAmendments {
    /// Title given by the caller; `None` removes it.
    pub given_title: Option<String>,
    /// All other metadata of the upload.
    pub patch: DocumentPatch,
}

/// Extracts the metadata of `version`.
pub fn metadata_amendments(version: NewVersion) -> MetadataAmendments {
    MetadataAmendments {
        given_title: version.title,
        patch: DocumentPatch {
            title: None,
            metadata: Some(BoundedMetadata::from_stored(version.metadata)),
            acl: Some(version.acl),
            department_id: Some(version.department_id),
            source_url: Some(version.source_url),
        },
    }
}

/// Row for the first version of a URI, or the first after its deletion; `life` is its incarnation.
pub fn new_document_row(version: NewVersion, life: u64, now: OffsetDateTime) -> StoredDocument {
    StoredDocument {
        document: version.to_document(now),
        incarnation: life,
        newest: NewestVersionState::Pending,
        published_title: None,
        published_pipeline: None,
        published_file: None,
        name: version.name,
        given_title: version.title,
        declared_media_type: version.declared_media_type,
        incoming: version.incoming,
        stored_generation: None,
        pipeline: version.pipeline,
    }
}

/// Row for the next version of an existing document; the published one stays searchable until this one is published.
pub fn next_version_row(mut stored: StoredDocument, version: NewVersion, now: OffsetDateTime) -> StoredDocument {
    version.begin_next_version(&mut stored.document, now);
    stored.newest = NewestVersionState::Pending;
    stored.name.clone_from(&version.name);
    stored.declared_media_type.clone_from(&version.declared_media_type);
    stored.incoming.clone_from(&version.incoming);
    stored.stored_generation = None;
    stored.pipeline.clone_from(&version.pipeline);
    let amendments = metadata_amendments(version);
    stored.given_title = amendments.given_title;
    apply_patch(&mut stored, amendments.patch);
    stored
}

/// Applies a patch, which changes no bytes.
pub fn apply_patch(stored: &mut StoredDocument, patch: DocumentPatch) {
    let document = &mut stored.document;
    if let Some(acl) = patch.acl.filter(|acl| *acl != document.acl) {
        document.acl = acl;
        document.acl_revision += 1;
    }
    if let Some(metadata) = patch.metadata {
        document.metadata = metadata.into_inner();
    }
    if let Some(department_id) = patch.department_id {
        document.department_id = department_id;
    }
    if let Some(source_url) = patch.source_url {
        document.source_url = source_url;
    }
    if patch.title.is_some() {
        stored.given_title = patch.title;
    }
    stored.update_title();
}

/// The document after `amendments`; equal to `stored` except for its time if nothing changes.
pub fn with_amendments(stored: &StoredDocument, amendments: MetadataAmendments) -> StoredDocument {
    let mut changed = stored.clone();
    changed.given_title = amendments.given_title;
    apply_patch(&mut changed, amendments.patch);
    changed
}

/// Sets the published bytes as the next version, to be processed by `pipeline`.
pub fn rebuild_from_published(stored: &mut StoredDocument, pipeline: &str, now: OffsetDateTime) {
    stored.restore_published_file();
    stored.stored_generation = stored.document.published;
    stored.newest = NewestVersionState::Pending;
    stored.pipeline = pipeline.to_owned();
    stored.document.updated_at = now;
}
