//! Taking documents in: bytes that were received, then one transaction. Changes of what is known of them, and deletes.
//!
//! Invariant: whoever changes readers or deletes notes that first beside the document, writes to the catalogue, and only
//! then to manifest and points; where it is not known whether a write was done, what was noted is left to the sweep.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;

use super::arrival::{AcceptError, IncomingFiles, ReceivedFile};
use super::attachment_tree::list_nested_attachments;
use super::context::IngestContext;
use super::manifest::{ClosingNote, ManifestWriter};
use super::names::usable_uri;
use super::point_access::PointAccess;
use crate::access::{Acl, Principal, Scope};
use crate::document::{ATTACHMENT_MARK, BoundedMetadata, Document, DocumentUri, Job, SourceUrl};
use crate::id::{CollectionName, DocumentId, JobId, SourceName};
use crate::seam::CatalogueError;
use crate::seam::catalogue::{BeginOutcome, DocumentPatch, NewVersion};

/// Longest title, in bytes.
pub const MAX_TITLE_BYTES: usize = 1024;

/// What comes with the bytes of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadMetadata {
    /// The collection.
    pub collection: CollectionName,
    /// The source.
    pub source: SourceName,
    /// The document's name within the source.
    pub uri: DocumentUri,
    /// Whether other bytes may take the place of those that the document of this name has.
    pub may_replace: bool,
    /// The file name, which with the bytes decides the type.
    pub name: String,
    /// A title, where the caller knows a better one than the file.
    pub title: Option<String>,
    /// What the sender says the bytes are; a hint.
    pub declared_media_type: Option<String>,
    /// Who may read it (`Grants`).
    pub acl: Acl,
    /// The department it was given to, if any.
    pub department_id: Option<String>,
    /// The caller's key-value pairs.
    pub metadata: BoundedMetadata,
    /// Where a person can open it.
    pub source_url: Option<SourceUrl>,
    /// The batch its job is part of; the first upload that names it begins it.
    pub batch: Option<JobId>,
}

/// Takes documents in, changes what is known of them, and deletes them.
pub struct Uploads {
    pub(super) context: Arc<IngestContext>,
    pub(super) incoming: Arc<IncomingFiles>,
    pub(super) manifests: Arc<ManifestWriter>,
    pub(super) access: Arc<PointAccess>,
}

impl Uploads {
    /// Stores the bytes and begins a version of the document, with its job.
    pub async fn accept_upload<E: std::fmt::Display>(
        &self,
        principal: &Principal,
        upload: UploadMetadata,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<BeginOutcome, AcceptError> {
        check_upload(principal, &upload)?;
        let received = self.incoming.receive_file(&upload.name, bytes).await?;
        self.begin_version(principal, upload, received).await
    }

    /// Begins a version of a document whose bytes were received, with its job. Dropped before its end, it leaves it to the
    /// sweep whether the bytes stay: whoever waits for a sender that may leave runs it as a task of its own.
    pub async fn begin_version(
        &self,
        principal: &Principal,
        upload: UploadMetadata,
        mut received: ReceivedFile,
    ) -> Result<BeginOutcome, AcceptError> {
        let uri = match check_upload(principal, &upload) {
            Ok(uri) => uri,
            Err(error) => {
                self.incoming.discard_received(received).await?;
                return Err(error);
            }
        };
        let version = NewVersion {
            collection: upload.collection,
            source: upload.source,
            uri,
            may_replace: upload.may_replace,
            name: upload.name,
            title: upload.title,
            declared_media_type: upload.declared_media_type,
            acl: upload.acl,
            brought_by: principal.scope().creator_subject().map(str::to_owned),
            department_id: upload.department_id,
            metadata: upload.metadata.into_inner(),
            source_url: upload.source_url,
            content_hash: received.content_hash,
            bytes: received.bytes,
            incoming: received.incoming.key.to_string(),
            pipeline: self.context.pipeline().fingerprint().to_owned(),
            batch: upload.batch,
        };
        let (id, job, now) = (version.document_id(), JobId(self.context.new_id()), self.context.now());
        let catalogue = &self.context.stores.catalogue;
        let scope = principal.scope();
        // Where the rows do not answer there may be a document, whose readers must not outlive this change.
        let rows = catalogue.get_document_refs(&[id]).await;
        let closing = match &rows {
            Ok(rows) if rows.is_empty() => None,
            _ => self.note_closing_for_acl(&scope, id, &version.acl).await?,
        };
        let before = rows.unwrap_or_default();
        received.incoming.disarm();
        let begun = catalogue.begin_version(&scope, version, job, now).await;
        match &begun {
            // What the bytes of an older begin wait for was cancelled with it.
            Ok(BeginOutcome::Started(document, _)) => {
                self.incoming.remove_waiting_uploads(&before).await;
                if document.version > 1 {
                    self.access.update_attachment_access(document.id).await;
                }
                // Other changes come into the manifest with the new version.
                if closing.is_some() {
                    self.manifests.update_changed_manifests(id, closing).await;
                }
            }
            Ok(BeginOutcome::Updated(document)) => {
                self.access.update_point_access(document).await;
                self.access.update_attachment_access(document.id).await;
                self.manifests.update_changed_manifests(id, closing).await;
                self.incoming.discard_received(received).await?;
            }
            Ok(BeginOutcome::Unchanged(_)) => {
                if closing.is_some() {
                    self.manifests.update_changed_manifests(id, closing).await;
                }
                self.incoming.discard_received(received).await?;
            }
            // Whether it was done is not known: what was noted is left to the sweep.
            Err(_) => self.incoming.discard_if_unreferenced(id, received).await,
        }
        Ok(begun?)
    }

    /// Notes that a document is closed if it is about to be given to other readers than now by somebody who may do so.
    async fn note_closing_for_acl(
        &self,
        scope: &Scope,
        document: DocumentId,
        acl: &Acl,
    ) -> Result<Option<ClosingNote>, CatalogueError> {
        match self.context.stores.catalogue.get_document(scope, document).await? {
            Some(document) => self.manifests.note_closing_if_changed(&document, acl).await,
            None => Ok(None),
        }
    }

    /// Changes what touches no bytes, in the catalogue and then in the manifest and the index. None if the caller may not
    /// read it.
    pub async fn patch_document(
        &self,
        principal: &Principal,
        document: DocumentId,
        patch: DocumentPatch,
    ) -> Result<Option<Document>, CatalogueError> {
        let (catalogue, scope) = (&self.context.stores.catalogue, principal.scope());
        let closing = match &patch.acl {
            Some(acl) => self.note_closing_for_acl(&scope, document, acl).await?,
            None => None,
        };
        let patched = catalogue
            .patch_document(&scope, document, patch, self.context.now())
            .await?;
        if let Some(document) = &patched {
            self.manifests.update_changed_manifests(document.id, closing).await;
            self.access.update_point_access(document).await;
            self.access.update_attachment_access(document.id).await;
        }
        Ok(patched)
    }

    /// Tombstones a document and what is attached to it: from the answer on nothing returns them. None if the caller may
    /// not read it.
    pub async fn delete_document(
        &self,
        principal: &Principal,
        document: DocumentId,
    ) -> Result<Option<Job>, CatalogueError> {
        let scope = principal.scope();
        let purge = self.tombstone(&scope, document).await?;
        if purge.is_some() {
            self.delete_attachments(&scope, document).await;
        }
        Ok(purge)
    }

    /// Tombstones a document, so that no recovery brings it back.
    pub(super) async fn tombstone(&self, scope: &Scope, document: DocumentId) -> Result<Option<Job>, CatalogueError> {
        let catalogue = &self.context.stores.catalogue;
        let Some(found) = catalogue.get_document(scope, document).await? else {
            return Ok(None);
        };
        let tenant = &found.acl.tenant;
        // It goes whatever becomes of the note: a store that takes none is no reason to keep it.
        let closing = match found.published {
            Some(_) => self.manifests.write_closing_note(tenant, document).await.ok(),
            None => None,
        };
        let job = JobId(self.context.new_id());
        let purge = catalogue
            .tombstone_document(scope, document, job, self.context.now())
            .await?;
        if let Some(purge) = &purge {
            self.manifests.write_deletion_note(tenant, purge).await;
        }
        if let Some(closing) = closing {
            self.manifests.remove_closing_note(closing).await;
        }
        Ok(purge)
    }

    /// Queues a version of the same bytes for the current pipeline; none if there is nothing to do.
    pub async fn queue_reingest(
        &self,
        principal: &Principal,
        document: DocumentId,
    ) -> Result<Option<Job>, CatalogueError> {
        let (job, pipeline) = (JobId(self.context.new_id()), self.context.pipeline());
        let scope = principal.scope();
        self.context
            .stores
            .catalogue
            .queue_reingest(&scope, document, pipeline.fingerprint(), job, self.context.now())
            .await
    }

    /// The mail that brought a document; none if it came by itself.
    pub async fn find_containing_mail(&self, document: &Document) -> Result<Option<DocumentId>, CatalogueError> {
        let Some((mail, _)) = document.uri.rsplit_once(ATTACHMENT_MARK) else {
            return Ok(None);
        };
        let mail = DocumentId::from_uri(&document.acl.tenant, &document.collection, &document.source, mail);
        let within = self.context.stores.catalogue.list_attachments(mail).await?;
        Ok(within.iter().any(|one| one.document == document.id).then_some(mail))
    }

    /// Tombstones at once what its mail's purge would come to: best effort, and the purge does the rest.
    pub(super) async fn delete_attachments(&self, scope: &Scope, mail: DocumentId) {
        for document in list_nested_attachments(self.context.stores.catalogue.as_ref(), mail).await {
            if let Err(error) = self.tombstone(scope, document).await {
                tracing::warn!(%document, %error, "an attachment waits for the purge of its mail");
            }
        }
    }
}

/// The URI under which the upload may be begun, if everything that comes with it fits.
fn check_upload(principal: &Principal, upload: &UploadMetadata) -> Result<String, AcceptError> {
    let bad = |title: &String| title.len() > MAX_TITLE_BYTES || title.chars().any(char::is_control);
    match &upload.title {
        Some(title) if bad(title) => Err(AcceptError::Invalid(format!(
            "a title has at most {MAX_TITLE_BYTES} bytes and no control characters"
        ))),
        _ => Ok(usable_uri(principal, upload.uri.clone())?),
    }
}
