//! Manifests of published versions, and rows made of them.

use async_trait::async_trait;
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::catalogue::{CatalogueResult, StatisticsDelta};
use ragstone_core::seam::manifest::{Manifest, Manifests};

use super::PostgresCatalogue;
use super::database::{Mode, Session, transact};
use super::error::Failure;
use super::row::{Hold, document, draw_generation, id, insert_document, whole};
use crate::catalogue::moved;

#[async_trait]
impl Manifests for PostgresCatalogue {
    async fn manifest(&self, document: DocumentId) -> CatalogueResult<Option<Manifest>> {
        Ok(transact!(self.database, Mode::Snapshot, |t| manifest(&t, document))?)
    }

    async fn recover(&self, manifest: &Manifest) -> CatalogueResult<bool> {
        Ok(transact!(self.database, Mode::Synced, |t| recover(&t, manifest))?)
    }

    async fn raise_generation(&self, to: Generation) -> CatalogueResult<()> {
        let (session, to) = (self.database.session().await?, whole(to.0)?);
        // Numbers that others draw meanwhile are below it or above the sequence's own.
        let raise = "select setval('generations', greatest($1, last_value)) from generations where $1 > 0";
        session.all(raise, &[&to]).await?;
        Ok(())
    }
}

async fn manifest(t: &Session, of: DocumentId) -> Result<Option<Manifest>, Failure> {
    let Some(stored) = document(t, of, Hold::No).await? else {
        return Ok(None);
    };
    let mail = "select mail from attachments where document = $1";
    let mail = t.first(mail, &[&of.0]).await?;
    let mail = mail.map(|row| id(&row, "mail")).transpose()?;
    let brought_by = stored.document.brought_by.clone();
    let packed = moved::pack(stored, StatisticsDelta::default());
    Ok(packed.map(|document| Manifest {
        library: String::new(),
        brought_by,
        document,
        attached_to: mail.map(DocumentId),
    }))
}

async fn recover(t: &Session, manifest: &Manifest) -> Result<bool, Failure> {
    let packed = &manifest.document;
    if document(t, packed.id, Hold::Row).await?.is_some() {
        return Ok(false);
    }
    let stored = moved::recovered(manifest, draw_generation(t).await?.0);
    insert_document(t, &stored).await?;
    if let Some(mail) = manifest.attached_to {
        // By no generation of its mail: the next version of that brings it again, or loses it.
        t.run(
            "insert into attachments (document, mail, brought) values ($1, $2, 0)
             on conflict (document) do update set mail = $2, brought = 0",
            &[&packed.id.0, &mail.0],
        )
        .await?;
    }
    Ok(true)
}
