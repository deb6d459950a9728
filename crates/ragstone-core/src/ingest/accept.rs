//! Accepting bytes: streamed to the blob store while they are hashed, then one transaction.
//!
//! Invariant: a file is never whole in memory, and an upload that is cut off leaves nothing.

use bytes::Bytes;
use futures::{Stream, StreamExt, pin_mut};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::Ingestor;
use super::arrival::{IncomingGuard, UploadWriter, lock_uploads};
use super::manifest::ClosingNote;
use super::names::usable_uri;
use crate::access::{Acl, Principal, Scope};
use crate::document::{BoundedMetadata, Document, DocumentUri, Job, SourceUrl};
use crate::id::{CollectionName, ContentHash, DocumentId, JobId, SourceName};
use crate::seam::CatalogueError;
use crate::seam::audit::DocumentRefs;
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

/// Bytes that are stored and belong to no document yet.
#[derive(Debug)]
#[must_use = "bytes that are neither begun nor discarded wait for the sweep"]
pub struct ReceivedFile {
    pub(super) incoming: IncomingGuard,
    pub(super) content_hash: ContentHash,
    pub(super) bytes: u64,
}

impl ReceivedFile {
    /// Names the bytes.
    pub fn content_hash(&self) -> ContentHash {
        self.content_hash
    }

    /// Where they wait.
    pub(super) fn incoming_key(&self) -> &str {
        self.incoming.key.as_ref()
    }
}

/// Why bytes were not accepted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcceptError {
    /// The file is over the limit.
    #[error("{name} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        name: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Something that came with it is not usable.
    #[error("{0}")]
    Invalid(String),
    /// The sender stopped before the end.
    #[error("the upload of {name} broke off: {detail}")]
    Interrupted {
        /// The file.
        name: String,
        /// What was seen.
        detail: String,
    },
    /// The bytes could not be kept.
    #[error("the blob store failed: {0}")]
    Store(String),
    /// There is no room for them.
    #[error("the disk of the data directory is full: {0}")]
    Full(String),
    /// The catalogue refused or failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<object_store::Error> for AcceptError {
    fn from(error: object_store::Error) -> Self {
        match is_disk_full(&error) {
            true => Self::Full(error.to_string()),
            false => Self::Store(error.to_string()),
        }
    }
}

/// Whether the disk, or the quota on it, is what the store ran out of.
fn is_disk_full(error: &object_store::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(StorageFull | QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Ingestor {
    /// Stores the bytes and begins a version of the document, with its job.
    pub async fn accept_upload<E: std::fmt::Display>(
        &self,
        principal: &Principal,
        upload: UploadMetadata,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<BeginOutcome, AcceptError> {
        check_upload(principal, &upload)?;
        let received = self.receive_file(&upload.name, bytes).await?;
        self.begin_version(principal, upload, received).await
    }

    /// Stores the bytes, to be followed by [`Ingestor::begin_version`] or [`Ingestor::discard_received`]: for senders that say
    /// what the bytes are only after them.
    pub async fn receive_file<E: std::fmt::Display>(
        &self,
        name: &str,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<ReceivedFile, AcceptError> {
        let mut arriving = UploadWriter::start_upload(self, name);
        pin_mut!(bytes);
        while let Some(next) = bytes.next().await {
            let taken = match next {
                Ok(next) => arriving.write(&next).await,
                Err(error) => Err(AcceptError::Interrupted {
                    name: name.into(),
                    detail: error.to_string(),
                }),
            };
            if let Err(error) = taken {
                arriving.abort().await;
                return Err(error);
            }
        }
        arriving.finish().await
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
                self.discard_received(received).await?;
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
            pipeline: self.pipeline().fingerprint().to_owned(),
            batch: upload.batch,
        };
        let (id, job, now) = (version.document_id(), JobId((self.new_id)()), (self.clock)());
        let catalogue = &self.stores.catalogue;
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
                self.remove_waiting_uploads(&before).await;
                if document.version > 1 {
                    self.update_attachment_access(document.id).await;
                }
                // Other changes come into the manifest with the new version.
                if closing.is_some() {
                    self.update_changed_manifests(id, closing).await;
                }
            }
            Ok(BeginOutcome::Updated(document)) => {
                self.update_point_access(document).await;
                self.update_attachment_access(document.id).await;
                self.update_changed_manifests(id, closing).await;
                self.discard_received(received).await?;
            }
            Ok(BeginOutcome::Unchanged(_)) => {
                if closing.is_some() {
                    self.update_changed_manifests(id, closing).await;
                }
                self.discard_received(received).await?;
            }
            // Whether it was done is not known: what was noted is left to the sweep.
            Err(_) => self.discard_if_unreferenced(id, received).await,
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
        match self.stores.catalogue.get_document(scope, document).await? {
            Some(document) => self.note_closing_if_changed(&document, acl).await,
            None => Ok(None),
        }
    }

    /// An answer may have been lost after the rows were written, so they are asked. Where they do not answer, the sweep
    /// decides.
    pub(super) async fn discard_if_unreferenced(&self, document: DocumentId, received: ReceivedFile) {
        let key = &received.incoming.key;
        let Ok(rows) = self.stores.catalogue.get_document_refs(&[document]).await else {
            return;
        };
        if !rows.iter().any(|row| row.incoming_key() == Some(key.as_ref())) {
            self.remove_incoming(key).await;
        }
    }

    /// Best effort; the sweep finds the rest.
    pub(super) async fn remove_incoming(&self, key: &Path) {
        if let Err(error) = self.remove_blob(key).await {
            tracing::warn!(%key, %error, "accepted bytes wait for the sweep");
        }
    }

    /// Removes the accepted bytes that these rows named: what they waited for was cancelled.
    pub(super) async fn remove_waiting_uploads(&self, rows: &[DocumentRefs]) {
        for key in rows.iter().filter_map(DocumentRefs::incoming_key) {
            self.remove_incoming(&Path::from(key)).await;
        }
    }

    /// Whether these bytes are on their way and not begun yet.
    pub(super) fn is_receiving(&self, key: &Path) -> bool {
        lock_uploads(&self.in_flight).is_receiving(key)
    }

    /// Removes the bytes of uploads whose senders left before anything could name them.
    pub async fn remove_abandoned(&self) {
        let abandoned = lock_uploads(&self.in_flight).take_abandoned();
        for key in abandoned {
            self.remove_incoming(&key).await;
        }
    }

    /// Removes received bytes that no document will have.
    pub async fn discard_received(&self, mut received: ReceivedFile) -> Result<(), AcceptError> {
        self.stores.blobs.delete(&received.incoming.key).await?;
        received.incoming.disarm();
        Ok(())
    }

    /// Changes what touches no bytes, in the catalogue and then in the manifest and the index. None if the caller may not
    /// read it.
    pub async fn patch_document(
        &self,
        principal: &Principal,
        document: DocumentId,
        patch: DocumentPatch,
    ) -> Result<Option<Document>, CatalogueError> {
        let (catalogue, scope) = (&self.stores.catalogue, principal.scope());
        let closing = match &patch.acl {
            Some(acl) => self.note_closing_for_acl(&scope, document, acl).await?,
            None => None,
        };
        let patched = catalogue
            .patch_document(&scope, document, patch, (self.clock)())
            .await?;
        if let Some(document) = &patched {
            self.update_changed_manifests(document.id, closing).await;
            self.update_point_access(document).await;
            self.update_attachment_access(document.id).await;
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
        let catalogue = &self.stores.catalogue;
        let Some(found) = catalogue.get_document(scope, document).await? else {
            return Ok(None);
        };
        let tenant = &found.acl.tenant;
        // It goes whatever becomes of the note: a store that takes none is no reason to keep it.
        let closing = match found.published {
            Some(_) => self.write_closing_note(tenant, document).await.ok(),
            None => None,
        };
        let job = JobId((self.new_id)());
        let purge = catalogue
            .tombstone_document(scope, document, job, (self.clock)())
            .await?;
        if let Some(purge) = &purge {
            self.write_deletion_note(tenant, purge).await;
        }
        if let Some(closing) = closing {
            self.remove_closing_note(closing).await;
        }
        Ok(purge)
    }

    /// Queues a version of the same bytes for the current pipeline; none if there is nothing to do.
    pub async fn queue_reingest(
        &self,
        principal: &Principal,
        document: DocumentId,
    ) -> Result<Option<Job>, CatalogueError> {
        let (job, pipeline) = (JobId((self.new_id)()), self.pipeline());
        let scope = principal.scope();
        self.stores
            .catalogue
            .queue_reingest(&scope, document, pipeline.fingerprint(), job, (self.clock)())
            .await
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
