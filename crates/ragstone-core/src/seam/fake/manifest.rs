//! Manifests of the in-memory catalogue.

use async_trait::async_trait;

use super::MemoryCatalogue;
use super::catalogue::state::{Entry, State};
use super::lock;
use crate::document::{Document, DocumentStatus};
use crate::id::{DocumentId, Generation};
use crate::seam::catalogue::{CatalogueResult, NewVersion, StatisticsDelta};
use crate::seam::manifest::{DocumentManifest, ManifestStore};
use crate::seam::portable::ExportedVersion;

#[async_trait]
impl ManifestStore for MemoryCatalogue {
    async fn get_manifest(&self, document: DocumentId) -> CatalogueResult<Option<DocumentManifest>> {
        let state = lock(&self.state);
        let entry = state.documents.get(&document);
        let brought_by = entry.and_then(|entry| entry.document.brought_by.clone());
        Ok(entry.and_then(pack).map(|packed| DocumentManifest {
            library: String::new(),
            brought_by,
            attached_to: state.attached.get(&document).map(|(mail, _)| *mail),
            document: packed,
        }))
    }

    async fn recover_document(&self, manifest: &DocumentManifest) -> CatalogueResult<bool> {
        let mut state = lock(&self.state);
        let id = manifest.document.id;
        if state.documents.contains_key(&id) {
            return Ok(false);
        }
        let life = state.draw().0;
        let mut entry = entry(&manifest.document, life);
        entry.document.brought_by.clone_from(&manifest.brought_by);
        state.documents.insert(id, entry);
        if let Some(mail) = manifest.attached_to {
            state.attached.insert(id, (mail, Generation(0)));
        }
        Ok(true)
    }

    async fn raise_generation(&self, to: Generation) -> CatalogueResult<()> {
        lock(&self.state).raise(to);
        Ok(())
    }
}

impl State {
    fn raise(&mut self, to: Generation) {
        while self.highest_drawn() < to {
            self.draw();
        }
    }
}

fn pack(entry: &Entry) -> Option<ExportedVersion> {
    let document = &entry.document;
    let generation = document
        .published
        .filter(|_| document.status != DocumentStatus::Deleting)?;
    let file = entry.published_of.as_ref()?;
    Some(ExportedVersion {
        id: document.id,
        collection: document.collection.clone(),
        source: document.source.clone(),
        uri: document.uri.clone(),
        name: file.name.clone(),
        given_title: entry.begun.title.clone(),
        title: entry.found_title.clone().unwrap_or_else(|| document.title.clone()),
        declared_media_type: file.declared_media_type.clone(),
        media_type: document.media_type.clone(),
        version: document.version,
        content_hash: file.content_hash,
        bytes: file.bytes,
        pages: document.pages,
        chunks: document.chunks,
        acl: document.acl.clone(),
        acl_revision: document.acl_revision,
        metadata: document.metadata.clone(),
        department_id: document.department_id.clone(),
        source_url: document.source_url.clone(),
        warnings: document.warnings.clone(),
        pipeline: entry.made_by.clone().unwrap_or_default(),
        statistics: StatisticsDelta::default(),
        generation,
        created_at: document.created_at,
        updated_at: document.updated_at,
    })
}

fn entry(packed: &ExportedVersion, life: u64) -> Entry {
    let packed = packed.clone();
    let begun = NewVersion {
        collection: packed.collection.clone(),
        source: packed.source.clone(),
        uri: packed.uri.clone(),
        brought_by: None,
        may_replace: true,
        name: packed.name,
        title: packed.given_title,
        declared_media_type: packed.declared_media_type,
        acl: packed.acl.clone(),
        department_id: packed.department_id.clone(),
        metadata: packed.metadata.clone(),
        source_url: packed.source_url.clone(),
        content_hash: packed.content_hash,
        bytes: packed.bytes,
        incoming: String::new(),
        pipeline: packed.pipeline.clone(),
        batch: None,
    };
    let document = Document {
        id: packed.id,
        collection: packed.collection,
        source: packed.source,
        uri: packed.uri,
        brought_by: None,
        title: String::new(),
        media_type: packed.media_type,
        status: DocumentStatus::Published,
        version: packed.version,
        published: Some(packed.generation),
        content_hash: packed.content_hash,
        bytes: packed.bytes,
        pages: packed.pages,
        chunks: packed.chunks,
        acl: packed.acl,
        acl_revision: packed.acl_revision,
        metadata: packed.metadata,
        department_id: packed.department_id,
        source_url: packed.source_url,
        last_error: None,
        warnings: packed.warnings,
        created_at: packed.created_at,
        updated_at: packed.updated_at,
    };
    Entry {
        life,
        document,
        published_of: Some(begun.clone()),
        begun,
        found_title: Some(packed.title),
        made_by: Some(packed.pipeline),
        newest_failed: false,
        stored: Some(packed.generation),
    }
    .named()
}
