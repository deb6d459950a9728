//! Manifests of published versions, and rows recovered from them.

use async_trait::async_trait;
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::catalogue::{CatalogueResult, StatisticsDelta};
use ragstone_core::seam::manifest::{DocumentManifest, ManifestStore};
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{StoredDocument, draw_generation};
use super::{SqliteCatalogue, SqliteTransactionError};
use crate::catalogue::moved;
use crate::sqlite::Durability;

#[async_trait]
impl ManifestStore for SqliteCatalogue {
    async fn get_manifest(&self, document: DocumentId) -> CatalogueResult<Option<DocumentManifest>> {
        self.run_read(move |c| load_manifest(c, document)).await
    }

    async fn recover_document(&self, manifest: &DocumentManifest) -> CatalogueResult<bool> {
        let manifest = manifest.clone();
        self.run_write(Durability::Synced, move |t| recover_document(t, &manifest))
            .await
    }

    async fn raise_generation(&self, to: Generation) -> CatalogueResult<()> {
        self.run_write(Durability::Synced, move |t| {
            t.prepare_cached("update counters set value = max(value, ?1) where name = 'generation'")?
                .execute([to.0])?;
            Ok(())
        })
        .await
    }
}

fn load_manifest(c: &Connection, id: DocumentId) -> Result<Option<DocumentManifest>, SqliteTransactionError> {
    let Some(stored) = StoredDocument::load_document(c, id)? else {
        return Ok(None);
    };
    let mail: Option<uuid::Uuid> = c
        .prepare_cached("select mail from attachments where document = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    let brought_by = stored.document.brought_by.clone();
    let packed = moved::build_exported_version(stored, StatisticsDelta::default());
    Ok(packed.map(|document| DocumentManifest {
        library: String::new(),
        brought_by,
        document,
        attached_to: mail.map(DocumentId),
    }))
}

fn recover_document(t: &Connection, manifest: &DocumentManifest) -> Result<bool, SqliteTransactionError> {
    let packed = &manifest.document;
    if StoredDocument::load_document(t, packed.id)?.is_some() {
        return Ok(false);
    }
    let stored = moved::recovered_document_row(manifest, draw_generation(t)?.0);
    stored.save_document(t)?;
    if let Some(mail) = manifest.attached_to {
        // Generation 0 matches no generation of the mail: the mail's next version contains the attachment again, or it
        // is removed.
        t.prepare_cached("insert or replace into attachments (document, mail, brought) values (?1, ?2, 0)")?
            .execute(params![packed.id.0, mail.0])?;
    }
    Ok(true)
}
