//! Bytes that were accepted, or are on their way, and have no row yet.
//!
//! Invariant: a key that nothing will name is abandoned, and removed soon.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::path::Path;

use super::Ingestor;
use super::accept::{AcceptError, ReceivedFile};
use crate::id::ContentHash;
use crate::library::blob::BlobWriter;
use crate::library::layout::INCOMING_PREFIX;

/// Bytes on their way: while this lives, neither `fsck` nor the sweep takes them for an orphan. Dropped before a row may
/// name them or they were removed, they are abandoned.
#[derive(Debug)]
pub(super) struct IncomingGuard {
    pub(super) key: Path,
    all: SharedUploads,
    is_settled: bool,
}

/// The uploads of this process that are not begun yet.
pub(super) type SharedUploads = Arc<Mutex<IncomingUploads>>;

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

pub(super) fn lock_uploads(arrivals: &Mutex<IncomingUploads>) -> MutexGuard<'_, IncomingUploads> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file on its way, hashed and counted as it comes.
pub(super) struct UploadWriter<'a> {
    ingestor: &'a Ingestor,
    name: String,
    incoming: IncomingGuard,
    blob: BlobWriter<'a>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> UploadWriter<'a> {
    /// A file that is called `name`.
    pub(super) fn start_upload(ingestor: &'a Ingestor, name: &str) -> Self {
        let key = Path::from_iter([INCOMING_PREFIX, &(ingestor.new_id)().to_string()]);
        let incoming = IncomingGuard::new(key, &ingestor.in_flight);
        Self {
            ingestor,
            name: name.to_owned(),
            blob: BlobWriter::new(ingestor.stores.blobs.as_ref(), incoming.key.clone()),
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
        let limit = self.ingestor.settings.max_bytes;
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
            self.ingestor.remove_incoming(&self.incoming.key).await;
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
