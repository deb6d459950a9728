//! Manifests beside the originals: written before a version is published, and after every change of its document.
//!
//! Invariant: no manifest is more open than the catalogue. Whoever takes rights away, or deletes, first leaves a note
//! beside the document that it is closed, then writes to the catalogue, then the manifest, and then takes the note away.
//! Who dies in between leaves the note: a recovery gives such a document to the operator alone, and the sweep brings the
//! manifest up to the catalogue and takes the note away. Of several manifests the one with the newest readers counts; an
//! older version's is removed only after the newer version's is up to date.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use time::OffsetDateTime;

use super::attachment_tree::list_nested_attachments;
use super::context::IngestContext;
use super::trouble::StepError;
use crate::access::Acl;
use crate::document::{ATTACHMENT_MARK, Document, Job};
use crate::id::{DocumentId, TenantId};
use crate::library::layout::{BlobKey, closing_key, deleted_key, manifest_key};
use crate::seam::CatalogueError;
use crate::seam::catalogue::{ClaimedJob, PublishedVersion, StatisticsDelta};
use crate::seam::manifest::DocumentManifest;
use crate::seam::portable::ExportedVersion;

/// Why a manifest was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ManifestError {
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The blob store failed.
    #[error("the blob store failed: {0}")]
    Blobs(String),
}

impl From<object_store::Error> for ManifestError {
    fn from(error: object_store::Error) -> Self {
        Self::Blobs(error.to_string())
    }
}

impl From<ManifestError> for StepError {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::Catalogue(error) => error.into(),
            ManifestError::Blobs(detail) => Self::outage("blob_store_failed", detail, None),
        }
    }
}

/// A document that is noted as closed.
pub(super) struct ClosingNote {
    /// The note; none where there was no room for one, and the manifests were removed instead.
    note: Option<Path>,
}

/// Writes manifests, and the notes that a document is closed or deleted.
pub(super) struct ManifestWriter {
    pub(super) context: Arc<IngestContext>,
}

impl ManifestWriter {
    /// Writes the manifest of the version that is about to be published at `now`.
    pub(super) async fn put_manifest(
        &self,
        claim: &ClaimedJob,
        version: &PublishedVersion,
        now: OffsetDateTime,
    ) -> Result<DocumentManifest, StepError> {
        let standing = self
            .context
            .stores
            .catalogue
            .documents_unchecked(&[claim.lease.document])
            .await?;
        let Some(document) = standing.into_iter().next() else {
            return Err(CatalogueError::Stale.into());
        };
        let manifest = DocumentManifest {
            library: self.context.settings.library.clone(),
            brought_by: document.brought_by.clone(),
            attached_to: containing_mail_id(&document),
            document: published_document(document, claim, version, now),
        };
        self.write_manifest(&manifest).await?;
        Ok(manifest)
    }

    /// Brings the manifest of a version that was just published up to what was changed since it was written.
    pub(super) async fn confirm_manifest(&self, written: &DocumentManifest) -> Result<(), ManifestError> {
        let id = written.document.id;
        match self.load_manifest(id).await? {
            Some(manifest) if manifest != *written => self.replace_manifest(&manifest).await,
            _ => Ok(()),
        }
    }

    /// Writes the manifest of a document's published version as the catalogue has it; whether there is one.
    pub(super) async fn update_manifest(&self, document: DocumentId) -> Result<bool, ManifestError> {
        match self.load_manifest(document).await? {
            Some(manifest) => self.replace_manifest(&manifest).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn load_manifest(&self, document: DocumentId) -> Result<Option<DocumentManifest>, ManifestError> {
        let manifest = self.context.stores.catalogue.get_manifest(document).await?;
        Ok(manifest.map(|manifest| DocumentManifest {
            library: self.context.settings.library.clone(),
            ..manifest
        }))
    }

    /// Writes a manifest, and removes the older ones of the same version.
    async fn replace_manifest(&self, manifest: &DocumentManifest) -> Result<(), ManifestError> {
        self.write_manifest(manifest).await?;
        let packed = &manifest.document;
        let generation = packed.generation.to_string();
        let prefix = Path::from_iter([packed.acl.tenant.as_str(), &packed.id.to_string(), &generation]);
        for key in self.list_keys(&prefix).await? {
            if let BlobKey::Manifest(_, _, stamp) = BlobKey::from_path(&key)
                && stamp < manifest.stamp()
            {
                self.context.remove_blob(&key).await?;
            }
        }
        Ok(())
    }

    async fn write_manifest(&self, manifest: &DocumentManifest) -> Result<(), ManifestError> {
        let packed = &manifest.document;
        let (tenant, stamp) = (&packed.acl.tenant, manifest.stamp());
        let key = manifest_key(tenant, packed.id, packed.generation, stamp);
        let json = serde_json::to_vec(manifest).map_err(|error| ManifestError::Blobs(error.to_string()))?;
        self.context.stores.blobs.put(&key, PutPayload::from(json)).await?;
        Ok(())
    }

    async fn list_keys(&self, prefix: &Path) -> object_store::Result<Vec<Path>> {
        let blobs: &dyn ObjectStore = self.context.stores.blobs.as_ref();
        blobs
            .list(Some(prefix))
            .map_ok(|blob| blob.location)
            .try_collect()
            .await
    }

    /// Notes that a document is closed until [`ManifestWriter::remove_closing_note`]. Where nothing more can be written
    /// its manifests are removed, which comes to the same.
    pub(super) async fn write_closing_note(
        &self,
        tenant: &TenantId,
        document: DocumentId,
    ) -> Result<ClosingNote, CatalogueError> {
        let note = closing_key(tenant, document, self.context.new_id());
        match self.context.stores.blobs.put(&note, PutPayload::default()).await {
            Ok(_) => Ok(ClosingNote { note: Some(note) }),
            Err(error) => match self.remove_manifests(tenant, document).await {
                Ok(()) => Ok(ClosingNote { note: None }),
                Err(_) => Err(CatalogueError::Unavailable {
                    detail: format!("the blob store failed: {error}"),
                }),
            },
        }
    }

    /// The manifests are as open as the catalogue. Best effort; the sweep does the rest.
    pub(super) async fn remove_closing_note(&self, closing: ClosingNote) {
        if let Some(note) = closing.note
            && let Err(error) = self.context.remove_blob(&note).await
        {
            tracing::warn!(%note, %error, "a document is noted as closed until the next sweep");
        }
    }

    /// Writes the manifests of a document that was changed and of everything in it, and takes the note away. A document
    /// whose first version is still being made keeps the note until the next sweep: its worker may have read the readers
    /// that it had before.
    pub(super) async fn update_changed_manifests(&self, document: DocumentId, closing: Option<ClosingNote>) {
        match self.update_nested_manifests(document).await {
            Ok(true) => {
                if let Some(closing) = closing {
                    self.remove_closing_note(closing).await;
                }
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%document, %error, "its manifest is written by the next sweep"),
        }
    }

    async fn update_nested_manifests(&self, document: DocumentId) -> Result<bool, ManifestError> {
        let recorded = self.update_manifest(document).await?;
        for attached in list_nested_attachments(self.context.stores.catalogue.as_ref(), document).await {
            self.update_manifest(attached).await?;
        }
        Ok(recorded)
    }

    /// Notes that everything of the document that is older than its purge is deleted, until that has removed it. Where
    /// nothing more can be written, its manifests are removed.
    pub(super) async fn write_deletion_note(&self, tenant: &TenantId, purge: &Job) {
        let Some(document) = purge.document_id else {
            return;
        };
        let note = deleted_key(tenant, document, purge.generation);
        if self
            .context
            .stores
            .blobs
            .put(&note, PutPayload::default())
            .await
            .is_ok()
        {
            return;
        }
        if let Err(error) = self.remove_manifests(tenant, document).await {
            tracing::warn!(%document, %error, "only its purge removes what a recovery would bring back");
        }
    }

    /// Its purge removed everything.
    pub(super) async fn remove_deletion_note(&self, claim: &ClaimedJob) {
        let tenant = &claim.document.acl.tenant;
        let note = deleted_key(tenant, claim.lease.document, claim.lease.generation);
        if let Err(error) = self.context.remove_blob(&note).await {
            tracing::warn!(%note, %error, "a note is left to the sweep");
        }
    }

    async fn remove_manifests(&self, tenant: &TenantId, document: DocumentId) -> object_store::Result<()> {
        let prefix = Path::from_iter([tenant.as_str(), &document.to_string()]);
        for key in self.list_keys(&prefix).await? {
            if let BlobKey::Manifest(..) = BlobKey::from_path(&key) {
                self.context.remove_blob(&key).await?;
            }
        }
        Ok(())
    }

    /// Notes that a document is closed if other readers than `acl` have it and a version of it is published.
    pub(super) async fn note_closing_if_changed(
        &self,
        document: &Document,
        acl: &Acl,
    ) -> Result<Option<ClosingNote>, CatalogueError> {
        match document.acl == *acl {
            true => Ok(None),
            false => self
                .write_closing_note(&document.acl.tenant, document.id)
                .await
                .map(Some),
        }
    }
}

/// The mail that a document came in, by its URI.
fn containing_mail_id(document: &Document) -> Option<DocumentId> {
    let (mail, _) = document.uri.rsplit_once(ATTACHMENT_MARK)?;
    Some(DocumentId::from_uri(
        &document.acl.tenant,
        &document.collection,
        &document.source,
        mail,
    ))
}

/// The document as it will be once the version of `claim` is published.
fn published_document(
    document: Document,
    claim: &ClaimedJob,
    version: &PublishedVersion,
    now: OffsetDateTime,
) -> ExportedVersion {
    ExportedVersion {
        id: document.id,
        collection: document.collection,
        source: document.source,
        uri: document.uri,
        name: claim.name.clone(),
        given_title: claim.given_title.clone(),
        title: version.title.clone(),
        declared_media_type: claim.declared_media_type.clone(),
        media_type: version.media_type.clone(),
        version: document.version,
        content_hash: document.content_hash,
        bytes: document.bytes,
        pages: version.pages,
        chunks: version.chunks,
        acl: document.acl,
        acl_revision: document.acl_revision,
        metadata: document.metadata,
        department_id: document.department_id,
        source_url: document.source_url,
        warnings: version.warnings.clone(),
        pipeline: version.pipeline.clone(),
        statistics: StatisticsDelta::default(),
        generation: claim.lease.generation,
        created_at: document.created_at,
        updated_at: now,
    }
}
