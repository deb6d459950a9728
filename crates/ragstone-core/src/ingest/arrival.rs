//! Bytes that were accepted, or are on their way, and have no row yet: streamed to the blob store while they are hashed.
//!
//! Invariant: a file is never whole in memory, and an upload that is cut off leaves nothing; a key that nothing will name
//! is abandoned, and removed soon.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt, pin_mut};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::context::IngestContext;
use crate::id::{ContentHash, DocumentId};
use crate::library::blob::BlobWriter;
use crate::library::layout::INCOMING_PREFIX;
use crate::seam::CatalogueError;
use crate::seam::audit::DocumentRefs;

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

/// Bytes on their way: while this lives, neither `fsck` nor the sweep takes them for an orphan. Dropped before a row may
/// name them or they were removed, they are abandoned.
#[derive(Debug)]
pub(super) struct IncomingGuard {
    pub(super) key: Path,
    all: SharedUploads,
    is_settled: bool,
}

/// The uploads of this process that are not begun yet.
type SharedUploads = Arc<Mutex<IncomingUploads>>;

/// Keys of accepted bytes that no row names.
#[derive(Debug, Default)]
pub(super) struct IncomingUploads {
    receiving: HashSet<Path>,
    /// Whose sender left; nothing will name them.
    abandoned: Vec<Path>,
}

impl IncomingGuard {
    pub(super) fn new(key: Path, all: &SharedUploads) -> Self {
        lock_uploads(all).receiving.insert(key.clone());
        Self {
            key,
            all: all.clone(),
            is_settled: false,
        }
    }

    /// Somebody else knows from now on whether the bytes stay.
    pub(super) fn disarm(&mut self) {
        self.is_settled = true;
    }
}

impl Drop for IncomingGuard {
    fn drop(&mut self) {
        let mut arrivals = lock_uploads(&self.all);
        arrivals.receiving.remove(&self.key);
        if !self.is_settled {
            arrivals.abandoned.push(self.key.clone());
        }
    }
}

impl IncomingUploads {
    /// Whether these bytes are on their way.
    pub(super) fn is_receiving(&self, key: &Path) -> bool {
        self.receiving.contains(key)
    }

    /// Keys that nothing will name, once.
    pub(super) fn take_abandoned(&mut self) -> Vec<Path> {
        std::mem::take(&mut self.abandoned)
    }
}

fn lock_uploads(arrivals: &Mutex<IncomingUploads>) -> MutexGuard<'_, IncomingUploads> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Receives bytes and removes those that no document will have.
pub struct IncomingFiles {
    context: Arc<IngestContext>,
    /// Uploads that are not begun yet.
    in_flight: SharedUploads,
}

impl IncomingFiles {
    pub(super) fn new(context: &Arc<IngestContext>) -> Self {
        Self {
            context: context.clone(),
            in_flight: SharedUploads::default(),
        }
    }

    /// Stores the bytes, to be followed by `Uploads::begin_version` or [`IncomingFiles::discard_received`]: for senders
    /// that say what the bytes are only after them.
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

    /// An answer may have been lost after the rows were written, so they are asked. Where they do not answer, the sweep
    /// decides.
    pub(super) async fn discard_if_unreferenced(&self, document: DocumentId, received: ReceivedFile) {
        let key = &received.incoming.key;
        let Ok(rows) = self.context.stores.catalogue.get_document_refs(&[document]).await else {
            return;
        };
        if !rows.iter().any(|row| row.incoming_key() == Some(key.as_ref())) {
            self.remove_incoming(key).await;
        }
    }

    /// Best effort; the sweep finds the rest.
    pub(super) async fn remove_incoming(&self, key: &Path) {
        if let Err(error) = self.context.remove_blob(key).await {
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
        self.context.stores.blobs.delete(&received.incoming.key).await?;
        received.incoming.disarm();
        Ok(())
    }
}

/// A file on its way, hashed and counted as it comes.
pub(super) struct UploadWriter<'a> {
    files: &'a IncomingFiles,
    name: String,
    incoming: IncomingGuard,
    blob: BlobWriter<'a>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> UploadWriter<'a> {
    /// A file that is called `name`.
    pub(super) fn start_upload(files: &'a IncomingFiles, name: &str) -> Self {
        let key = Path::from_iter([INCOMING_PREFIX, &files.context.new_id().to_string()]);
        let incoming = IncomingGuard::new(key, &files.in_flight);
        Self {
            files,
            name: name.to_owned(),
            blob: BlobWriter::new(files.context.stores.blobs.as_ref(), incoming.key.clone()),
            incoming,
            hasher: blake3::Hasher::new(),
            bytes: 0,
        }
    }

    /// How many bytes have come.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes. After an error it can only be aborted.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), AcceptError> {
        self.bytes += bytes.len() as u64;
        let limit = self.files.context.settings.max_bytes;
        if self.bytes > limit {
            let name = self.name.clone();
            return Err(AcceptError::TooLarge { name, limit });
        }
        self.hasher.update(bytes);
        Ok(self.blob.write(bytes).await?)
    }

    /// All of it has come.
    pub(super) async fn finish(mut self) -> Result<ReceivedFile, AcceptError> {
        if let Err(error) = self.blob.finish().await {
            self.files.remove_incoming(&self.incoming.key).await;
            self.incoming.disarm();
            return Err(error.into());
        }
        Ok(ReceivedFile {
            incoming: self.incoming,
            content_hash: ContentHash(*self.hasher.finalize().as_bytes()),
            bytes: self.bytes,
        })
    }

    /// Leaves nothing.
    pub(super) async fn abort(mut self) {
        self.blob.abort().await;
        self.incoming.disarm();
    }
}
