//! Manifests of published versions, and rows recovered from them.

use async_trait::async_trait;
use ragstone_core::id::{DocumentId, Generation};
use ragstone_core::seam::catalogue::{CatalogueResult, StatisticsDelta};
use ragstone_core::seam::manifest::{DocumentManifest, ManifestStore};

use super::PostgresCatalogue;
use super::database::{PostgresSession, TransactionMode, transact};
use super::error::PostgresTransactionError;
use super::row::{RowLock, draw_generation, get_uuid, insert_document, load_document, to_bigint};
use crate::catalogue::moved;

#[async_trait]
impl ManifestStore for PostgresCatalogue {
    async fn get_manifest(&self, document: DocumentId) -> CatalogueResult<Option<DocumentManifest>> {
        Ok(transact!(self.database, TransactionMode::Snapshot, |t| {
            load_manifest(&t, document)
        })?)
    }

    async fn recover_document(&self, manifest: &DocumentManifest) -> CatalogueResult<bool> {
        Ok(transact!(self.database, TransactionMode::Synced, |t| {
            recover_document(&t, manifest)
        })?)
    }

    async fn raise_generation(&self, to: Generation) -> CatalogueResult<()> {
        let (session, to) = (self.database.open_session().await?, to_bigint(to.0)?);
        // Safe beside concurrent draws: a number drawn meanwhile is below `to`, or above the last value.
        let raise = "select setval('generations', greatest($1, last_value)) from generations where $1 > 0";
        session.query_all(raise, &[&to]).await?;
        Ok(())
    }
}

async fn load_manifest(
    t: &PostgresSession,
    of: DocumentId,
) -> Result<Option<DocumentManifest>, PostgresTransactionError> {
    let Some(stored) = load_document(t, of, RowLock::Unlocked).await? else {
        return Ok(None);
    };
    let mail = "select mail from attachments where document = $1";
    let mail = t.query_first(mail, &[&of.0]).await?;
    let mail = mail.map(|row| get_uuid(&row, "mail")).transpose()?;
    let brought_by = stored.document.brought_by.clone();
    let packed = moved::build_exported_version(stored, StatisticsDelta::default());
    Ok(packed.map(|document| DocumentManifest {
        library: String::new(),
        brought_by,
        document,
        attached_to: mail.map(DocumentId),
    }))
}

async fn recover_document(t: &PostgresSession, manifest: &DocumentManifest) -> Result<bool, PostgresTransactionError> {
    let packed = &manifest.document;
    if load_document(t, packed.id, RowLock::ForUpdate).await?.is_some() {
        return Ok(false);
    }
    let stored = moved::recovered_document_row(manifest, draw_generation(t).await?.0);
    insert_document(t, &stored).await?;
    if let Some(mail) = manifest.attached_to {
        // Generation 0 matches no generation of the mail: the mail's next version contains the attachment again, or it
        // is removed.
        t.execute_statement(
            "insert into attachments (document, mail, brought) values ($1, $2, 0)
             on conflict (document) do update set mail = $2, brought = 0",
            &[&packed.id.0, &mail.0],
        )
        .await?;
    }
    Ok(true)
}
