//! Manifests of published versions, and rows made of them.

use async_trait::async_trait;
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::catalogue::{CatalogueResult, StatisticsDelta};
use ragstone_core::seam::manifest::{Manifest, Manifests};
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{StoredDocument, draw_generation};
use super::{Failure, SqliteCatalogue};
use crate::catalogue::moved;
use crate::sqlite::Durability;

#[async_trait]
impl Manifests for SqliteCatalogue {
    async fn manifest(&self, document: DocumentId) -> CatalogueResult<Option<Manifest>> {
        self.read(move |c| manifest(c, document)).await
    }

    async fn recover(&self, manifest: &Manifest) -> CatalogueResult<bool> {
        let manifest = manifest.clone();
        self.write(Durability::Synced, move |t| recover(t, &manifest)).await
    }

    async fn raise_generation(&self, to: Generation) -> CatalogueResult<()> {
        self.write(Durability::Synced, move |t| {
            t.prepare_cached("update counters set value = max(value, ?1) where name = 'generation'")?
                .execute([to.0])?;
            Ok(())
        })
        .await
    }
}

fn manifest(c: &Connection, id: DocumentId) -> Result<Option<Manifest>, Failure> {
    let Some(stored) = StoredDocument::load(c, id)? else {
        return Ok(None);
    };
    let mail: Option<uuid::Uuid> = c
        .prepare_cached("select mail from attachments where document = ?1")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    let brought_by = stored.document.brought_by.clone();
    let packed = moved::pack(stored, StatisticsDelta::default());
    Ok(packed.map(|document| Manifest {
        library: String::new(),
        brought_by,
        document,
        attached_to: mail.map(DocumentId),
    }))
}

fn recover(t: &Connection, manifest: &Manifest) -> Result<bool, Failure> {
    let packed = &manifest.document;
    if StoredDocument::load(t, packed.id)?.is_some() {
        return Ok(false);
    }
    let stored = moved::recovered(manifest, draw_generation(t)?.0);
    stored.save(t)?;
    if let Some(mail) = manifest.attached_to {
        // By no generation of its mail: the next version of that brings it again, or loses it.
        t.prepare_cached("insert or replace into attachments (document, mail, brought) values (?1, ?2, 0)")?
            .execute(params![packed.id.0, mail.0])?;
    }
    Ok(true)
}
