//! Rules for importing and exporting published versions, independent of the database.

use ragstone_core::access::Scope;
use ragstone_core::document::{Document, DocumentStatus};
use ragstone_core::seam::catalogue::{CatalogueError, PublishedVersion, StatisticsDelta};
use ragstone_core::seam::manifest::DocumentManifest;
use ragstone_core::seam::portable::ExportedVersion;

use super::stored::{NewestVersionState, StoredDocument, VersionFile};

/// What an imported version finds in its place.
#[derive(Debug)]
pub enum ImportTarget {
    /// No document, or a tombstoned one.
    Free,
    /// The same bytes, begun and never published; the value is the incarnation.
    Unfinished(u64),
    /// The same version, published.
    Same,
    /// Another document or version.
    Taken,
}

/// What `packed` finds in its place. A document that the caller may not see gives only [`CatalogueError::UriTaken`].
pub fn find_import_target(
    found: Option<&StoredDocument>,
    scope: &Scope,
    packed: &ExportedVersion,
) -> Result<ImportTarget, CatalogueError> {
    let living = found.filter(|stored| stored.document.status != DocumentStatus::Deleting);
    if packed.acl.tenant != *scope.tenant() || living.is_some_and(|stored| !scope.admits(&stored.document.acl)) {
        return Err(CatalogueError::UriTaken);
    }
    Ok(match living {
        None => ImportTarget::Free,
        Some(stored) => match build_exported_version(stored.clone(), StatisticsDelta::default()) {
            Some(held) if held.is_same(packed) => ImportTarget::Same,
            Some(_) => ImportTarget::Taken,
            None if stored.document.content_hash == packed.content_hash => ImportTarget::Unfinished(stored.incarnation),
            None => ImportTarget::Taken,
        },
    })
}

/// The published version of a document; `None` if there is none, or if a newer `begin` replaced its file in the row.
pub fn build_exported_version(stored: StoredDocument, statistics: StatisticsDelta) -> Option<ExportedVersion> {
    let document = stored.document;
    let generation = document
        .published
        .filter(|_| document.status != DocumentStatus::Deleting)?;
    let newest = || VersionFile {
        content_hash: document.content_hash,
        bytes: document.bytes,
        name: stored.name.clone(),
        declared_media_type: stored.declared_media_type.clone(),
    };
    let is_newest = stored.newest == NewestVersionState::Published;
    let file = stored.published_file.or_else(|| is_newest.then(newest))?;
    Some(ExportedVersion {
        id: document.id,
        collection: document.collection,
        source: document.source,
        uri: document.uri,
        name: file.name,
        given_title: stored.given_title,
        title: stored.published_title.unwrap_or(document.title),
        declared_media_type: file.declared_media_type,
        media_type: document.media_type,
        version: document.version,
        content_hash: file.content_hash,
        bytes: file.bytes,
        pages: document.pages,
        chunks: document.chunks,
        acl: document.acl,
        acl_revision: document.acl_revision,
        metadata: document.metadata,
        department_id: document.department_id,
        source_url: document.source_url,
        warnings: document.warnings,
        pipeline: stored.published_pipeline.unwrap_or_default(),
        statistics,
        generation,
        created_at: document.created_at,
        updated_at: document.updated_at,
    })
}

/// The row of an imported document before its version is published.
pub fn imported_document_row(packed: &ExportedVersion, life: u64, incoming: &str) -> StoredDocument {
    let packed = packed.clone();
    let mut stored = StoredDocument {
        document: Document {
            id: packed.id,
            collection: packed.collection,
            source: packed.source,
            uri: packed.uri,
            title: String::new(),
            media_type: packed.declared_media_type.clone().unwrap_or_default(),
            status: DocumentStatus::Pending,
            version: packed.version,
            published: None,
            content_hash: packed.content_hash,
            bytes: packed.bytes,
            pages: None,
            chunks: 0,
            acl: packed.acl,
            acl_revision: packed.acl_revision,
            brought_by: None,
            metadata: packed.metadata,
            department_id: packed.department_id,
            source_url: packed.source_url,
            last_error: None,
            warnings: Vec::new(),
            created_at: packed.created_at,
            updated_at: packed.updated_at,
        },
        incarnation: life,
        newest: NewestVersionState::Pending,
        published_title: None,
        published_pipeline: None,
        published_file: None,
        name: packed.name,
        given_title: packed.given_title,
        declared_media_type: packed.declared_media_type,
        incoming: incoming.to_owned(),
        stored_generation: None,
        pipeline: packed.pipeline,
    };
    stored.update_title();
    stored
}

/// The row of a published document recovered from its manifest, with incarnation `life`.
pub fn recovered_document_row(manifest: &DocumentManifest, life: u64) -> StoredDocument {
    let packed = &manifest.document;
    let mut stored = imported_document_row(packed, life, "");
    stored.document.brought_by.clone_from(&manifest.brought_by);
    let version = PublishedVersion {
        title: packed.title.clone(),
        media_type: packed.media_type.clone(),
        pages: packed.pages,
        chunks: packed.chunks,
        warnings: packed.warnings.clone(),
        pipeline: packed.pipeline.clone(),
        statistics: StatisticsDelta::default(),
    };
    stored.stored_generation = Some(packed.generation);
    stored.mark_published(packed.generation, version, packed.updated_at);
    stored.update_title();
    stored
}
