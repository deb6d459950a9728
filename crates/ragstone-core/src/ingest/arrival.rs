//! Bytes that were accepted, or are on their way, and have no row yet.
//!
//! Invariant: a key that nothing will name is abandoned, and removed soon.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::path::Path;

use super::Ingestor;
use super::accept::{AcceptError, Received};
use crate::id::ContentHash;
use crate::library::blob::BlobWriter;
use crate::library::layout::INCOMING;

/// Bytes on their way: while this lives, neither `fsck` nor the sweep takes them for an orphan. Dropped before a row may
/// name them or they were removed, they are abandoned.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) key: Path,
    all: InFlight,
    is_settled: bool,
}

/// The uploads of this process that are not begun yet.
pub(super) type InFlight = Arc<Mutex<Arrivals>>;

/// Keys of accepted bytes that no row names.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    receiving: HashSet<Path>,
    /// Whose sender left; nothing will name them.
    abandoned: Vec<Path>,
}

impl Receiving {
    pub(super) fn new(key: Path, all: &InFlight) -> Self {
        lock(all).receiving.insert(key.clone());
        Self {
            key,
            all: all.clone(),
            is_settled: false,
        }
    }

    /// Somebody else knows from now on whether the bytes stay.
    pub(super) fn settle(&mut self) {
        self.is_settled = true;
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        let mut arrivals = lock(&self.all);
        arrivals.receiving.remove(&self.key);
        if !self.is_settled {
            arrivals.abandoned.push(self.key.clone());
        }
    }
}

impl Arrivals {
    /// Whether these bytes are on their way.
    pub(super) fn is_receiving(&self, key: &Path) -> bool {
        self.receiving.contains(key)
    }

    /// Keys that nothing will name, once.
    pub(super) fn take_abandoned(&mut self) -> Vec<Path> {
        std::mem::take(&mut self.abandoned)
    }
}

pub(super) fn lock(arrivals: &Mutex<Arrivals>) -> MutexGuard<'_, Arrivals> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file on its way, hashed and counted as it comes.
pub(super) struct Arriving<'a> {
    ingestor: &'a Ingestor,
    name: String,
    incoming: Receiving,
    blob: BlobWriter<'a>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> Arriving<'a> {
    /// A file that is called `name`.
    pub(super) fn begin(ingestor: &'a Ingestor, name: &str) -> Self {
        let key = Path::from_iter([INCOMING, &(ingestor.new_id)().to_string()]);
        let incoming = Receiving::new(key, &ingestor.in_flight);
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
    pub(super) fn bytes(&self) -> u64 {
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
    pub(super) async fn finish(mut self) -> Result<Received, AcceptError> {
        if let Err(error) = self.blob.finish().await {
            self.ingestor.remove_incoming(&self.incoming.key).await;
            self.incoming.settle();
            return Err(error.into());
        }
        Ok(Received {
            incoming: self.incoming,
            content_hash: ContentHash(*self.hasher.finalize().as_bytes()),
            bytes: self.bytes,
        })
    }

    /// Leaves nothing.
    pub(super) async fn abort(mut self) {
        self.blob.abort().await;
        self.incoming.settle();
    }
}
